"""Devices, processes, signals and the console of a running program."""
