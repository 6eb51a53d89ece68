"""Start runs: list the trials of a sweep, and place them on this machine, on Slurm or on a TPU pod."""
