"""What `rnnlm <verb>` does: flags to a config to one call, a verb a file. jax is imported only once it is needed."""
