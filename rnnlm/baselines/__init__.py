"""Baselines that a model is compared with on a held-out text: character n-grams and general compressors."""
