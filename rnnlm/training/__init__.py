"""Train a model: state, optimizer, training step and loop; nothing else changes a run's params."""
