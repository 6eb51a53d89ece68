"""What a model is compared with on the same held-out text."""
