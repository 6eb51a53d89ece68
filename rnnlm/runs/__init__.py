"""Read and write run folders: layout, checkpoints, logs, results, provenance and comparisons."""
