"""Errors that the user can fix: the command line prints them and exits with their code."""


class UserError(Exception):
    """Report bad input in one or two plain sentences: what was given, what was expected, what to do."""

    exit_code = 2


class WriteError(UserError):
    """Report a file that could not be written, and why."""


class LostProcessError(UserError):
    """Report that another process of the run has ended or cannot be reached; started again, the run goes on."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again

    def __init__(self, reason: str = ""):
        super().__init__(
            f"Another process of this run has ended or cannot be reached{f' ({reason})' if reason else ''}, so this "
            "one ends too: see what each of them says, and start all of them again to go on from the last checkpoint."
        )
