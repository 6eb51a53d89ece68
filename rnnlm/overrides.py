"""From the words of a command line to flags and a config, and what is wrong with them in a sentence."""

import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm.config import flatten, unknown
from rnnlm.errors import UserError


def parse(verb: str, values: flags.FlagValues, argv: list[str], positional: int = 0) -> list[str]:
    """Parse flags: -> what is left over. Raises UserError, or exits after printing the help."""
    if "--help" in argv or "-h" in argv:
        print(f"rnnlm {verb}\n{values.get_help()}")
        raise SystemExit(0)
    try:
        rest: list[str] = values(["rnnlm", *argv])[1:]
    except flags.Error as error:
        raise UserError(f"{' '.join(str(error).split()).rstrip('.')}. rnnlm {verb} --help lists the flags.") from None
    if len(rest) > positional:
        raise UserError(f"{rest[positional]!r} was not expected: flags are written --name=value.")
    return rest


def parse_config(verb: str, values: flags.FlagValues, argv: list[str]) -> dict[str, Any]:
    """Parse flags among them --config and its overrides: -> the config as a plain dict."""
    from ml_collections.config_flags import config_flags

    argv = join_config(argv)
    argv = sorted(argv, key=lambda word: not word.startswith("--config="))
    file = next((word.removeprefix("--config=") for word in argv if word.startswith("--config=")), "")
    # A config says `from configs import base`: from where it is called, or from beside the config's own folder.
    sys.path[:0] = [os.getcwd(), str(Path(file.split(":")[0]).resolve().parent.parent)]
    overrides = [word for word in argv if word.startswith("--config.")]
    config_flags.DEFINE_config_file(
        "config", None, "the config file, configs/X.py", flag_values=values, sys_argv=["rnnlm", *argv]
    )
    try:
        parse(verb, values, argv)
        if values.config is None:
            raise UserError("--config is missing: give a config file, as in --config=configs/quickstart.py.")
        return dict(values.config.to_dict())
    except (UserError, SystemExit):
        raise
    except OSError as error:
        reason = str(error).split("] ")[-1].strip()
        raise UserError(f"--config={file} cannot be read ({reason}): name a config file.") from None
    except Exception as error:  # a config file is a program, so it can fail in any way
        if not overrides:
            reason = str(error).strip().split("\n")[-1]
            raise UserError(f"The config file {file} failed ({type(error).__name__}: {reason}): mend it.") from error
        raise UserError(why_not(overrides, argv, error)) from None


def join_config(argv: list[str]) -> list[str]:
    """`--config X` and `-config=X` as --config=X."""
    words = ["--config" + word[7:] if word == "-config" or word.startswith("-config=") else word for word in argv]
    for i in range(len(words) - 2, -1, -1):
        if words[i] == "--config":
            words[i : i + 2] = [f"--config={words[i + 1]}"]
    return words


def why_not(overrides: list[str], argv: list[str], error: Exception) -> str:
    """The sentence for the override that ml_collections could not take."""
    plain = flags.FlagValues()
    config = parse_config("train", plain, [word for word in argv if word.startswith("--config=")])
    known = [name for name, _ in flatten(config)]
    for word in overrides:
        name = word.removeprefix("--config.").split("=")[0]
        if name not in known:
            return unknown(name, known)
    return f"{' '.join(overrides)} cannot be taken: {' '.join(str(error).split())}."
