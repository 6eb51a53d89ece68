"""Measure speed and memory of rnnlm beside its peers and beside other commits."""
