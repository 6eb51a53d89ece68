"""Errors that the user can fix: the command line prints them and exits with code 2."""


class UserError(Exception):
    """Report bad input in one or two plain sentences: what was given, what was expected, what to do."""


class WriteError(UserError):
    """Report a file that could not be written, and why."""
