"""From the words of a command line to flags and a config, and what is wrong with them in a sentence."""

import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm.config import flatten, unknown_key_message
from rnnlm.errors import UserError


def parse(verb: str, values: flags.FlagValues, argv: list[str], positional: int = 0) -> list[str]:
    """Parse flags: -> what is left over. Raises UserError, or exits after printing the help."""
    if "--help" in argv or "-h" in argv:
        print(f"rnnlm {verb}\n{values.get_help()}")
        raise SystemExit(0)
    try:
        rest: list[str] = values(["rnnlm", *map(normalize_flag, argv)])[1:]
    except (flags.Error, ValueError) as error:
        raise UserError(f"{' '.join(str(error).split()).rstrip('.')}. rnnlm {verb} --help lists the flags.") from None
    if len(rest) > positional:
        raise UserError(f"{rest[positional]!r} was not expected: flags are written --name=value.")
    return rest


def normalize_flag(word: str) -> str:
    """--symbols-from=5 as --symbols_from=5."""
    name, equals, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else word


def parse_config(verb: str, values: flags.FlagValues, argv: list[str]) -> dict[str, Any]:
    """Parse flags among them --config and its overrides: -> the config as a plain dict."""
    from ml_collections.config_flags import config_flags

    argv = sorted(join_config(argv), key=lambda word: not word.startswith("--config="))
    given = [word for word in argv if word.startswith("--config=")]
    overrides = [word for word in argv if word.startswith("--config.")]
    known = flatten(load(given[0].removeprefix("--config="))) if given else []
    check_names(overrides, [name for name, _ in known])
    config_flags.DEFINE_config_file(
        "config", None, "the config file, configs/X.py", flag_values=values, sys_argv=["rnnlm", *argv]
    )
    try:
        parse(verb, values, argv)
    except UserError as error:
        for name, default in known:
            if f"--config.{name}=" in str(error):
                value = next(word for word in overrides if word.startswith(f"--config.{name}"))
                kind = type(default).__name__
                raise UserError(f"{value} does not fit: it takes {kind}, such as {default!r}.") from None
        raise
    if not given:
        raise UserError("--config is missing: give a config file, as in --config=configs/quickstart.py.")
    return dict(values.config.to_dict())


def load(file: str) -> dict[str, Any]:
    """What a config file gives before anything is overridden."""
    from ml_collections.config_flags import config_flags

    # A config says `from configs import base`: from where it is called, or from beside the config's own folder.
    sys.path[:0] = [os.getcwd(), str(Path(file.split(":")[0]).resolve().parent.parent)]
    values, word = flags.FlagValues(), f"--config={file}"
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=["rnnlm", word])
    try:
        values(["rnnlm", word])
        return dict(values.config.to_dict())
    except OSError as error:
        reason = str(error).split("] ")[-1].strip()
        raise UserError(f"--config={file} cannot be read ({reason}): name a config file, configs/X.py.") from None
    except Exception as error:  # a config file is a program, so it can fail in any way
        reason = str(error).strip().split("\n")[-1]
        raise UserError(
            f"--config={file} is no sound config file ({type(error).__name__}: {reason}): "
            "mend it, or name one like configs/quickstart.py."
        ) from error


def check_names(overrides: list[str], known: list[str]) -> None:
    """Raises UserError for an override of a key that there is not."""
    for word in overrides:
        name = word.removeprefix("--config.").split("=")[0]
        inside = [key for key in known if key.startswith(f"{name}.")]
        if inside:
            raise UserError(f"--config.{name} is a section: set one of its keys, such as --config.{inside[0]}.")
        if name not in known and known:
            raise UserError(unknown_key_message(name, known))


def join_config(argv: list[str]) -> list[str]:
    """`--config X` and `-config=X` as --config=X."""
    words = ["--config" + word[7:] if word == "-config" or word.startswith("-config=") else word for word in argv]
    for i in range(len(words) - 2, -1, -1):
        if words[i] == "--config" and not words[i + 1].startswith("--"):
            words[i : i + 2] = [f"--config={words[i + 1]}"]
    return words
