"""The one exception that is the user's to mend: the command line prints it and exits with code 2."""


class UserError(Exception):
    """Bad input, in one or two plain sentences: what was given, what was expected, what to do."""
