"""Train a model: state, optimizer, training step and loop; only this package updates params."""
