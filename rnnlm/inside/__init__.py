"""What happens inside a model: its states while it reads, for pictures and studies."""
