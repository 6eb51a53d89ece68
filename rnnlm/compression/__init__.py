"""Compress a text with a model: entropy coder, container, escapes and predictors."""
