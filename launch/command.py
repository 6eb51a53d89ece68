"""Run the command of a launcher, and report what is wrong with its arguments in one sentence."""

import sys
from collections.abc import Callable

from rnnlm.errors import UserError


def run_command(name: str, main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a launcher's main function with arguments: -> its exit code, 2 for a UserError."""
    try:
        return main(argv)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
