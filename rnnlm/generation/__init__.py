"""Sampling: the step-by-step model that sampling, `lm.step` and compression share, and the sampler."""
