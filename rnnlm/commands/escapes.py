"""Interpret backslash escapes in what the command line gives as text: prompts and separators."""

import re

from absl import flags

from rnnlm.errors import UserError

ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.?)", re.DOTALL)
NAMED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}


def unescape(text: str, name: str) -> str:
    r"""Replace the escapes of a text: \n, \t, \r, \0, \\, \xHH (a byte) and \uXXXX (a character).

    Only what the command line gives is unescaped; config files and Python have escapes of their own. Raises UserError,
    which calls the text `name`, for any other escape.
    """

    def replace(found: re.Match[str]) -> str:
        escape = found[1]
        if escape in NAMED:
            return NAMED[escape]
        if len(escape) < 2:
            raise UserError(
                f"{name}={text}: {found[0]} is no escape, which are \\n, \\t, \\r, \\0, \\xHH (a byte) and \\uXXXX (a "
                "character); write a backslash itself as \\\\."
            )
        code = int(escape[1:], 16)
        if 0xD800 <= code < 0xE000:
            raise UserError(f"{name}={text}: {found[0]} is no character, but half of one: write the character itself.")
        # A byte that is no ASCII is held as Python holds those of a command line that are no UTF-8.
        return chr(code + 0xDC00) if escape[0] == "x" and code > 127 else chr(code)

    # Bytes that are UTF-8 together become their character.
    return ESCAPE.sub(replace, text).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


class TextParser(flags.ArgumentParser[str]):
    """Parse the value of a text flag."""

    def __init__(self, name: str):
        self.name = name

    def parse(self, argument: str) -> str:
        """Return the text with its escapes replaced. Raises UserError for an unknown one."""
        return unescape(argument, f"--{self.name}")


def text_flag(values: flags.FlagValues, name: str, default: str | None, help_text: str) -> None:
    """Define a flag that takes text, in which escapes are interpreted."""
    flags.DEFINE(TextParser(name), name, default, f"{help_text}; \\n and such are escapes", flag_values=values)
