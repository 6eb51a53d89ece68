"""The commands of `rnnlm`, one file each: parse flags, call the package, print."""
