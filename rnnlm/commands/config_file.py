"""Read the config that --config names: a Python file with a function get_config, or the config.json of a run."""

import os
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.files import import_file

LIBRARIES = [
    Path(__file__).resolve().parents[1],
    *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")),
]
"""Where code lies that is no user's."""


def load_config(file: str, trust_code: bool = False) -> Any:
    """Load a config as a ConfigDict: what get_config of FILE or FILE:ARGUMENT returns, or what a run has saved.

    A saved config is named by its config.json or by its run folder. Raises UserError where that fails, with the file
    and line of a config file, and where a saved config has a cell of code that is not trusted.
    """
    path = Path(file)
    if path.suffix == ".json" or path.is_dir():
        return load_saved(path / "config.json" if path.is_dir() else path, trust_code)

    from ml_collections import ConfigDict

    name, *argument = file.split(":", 1)
    # A config says `from configs import base`: from where it is called, or from beside the config's own folder, or that
    # above it.
    sys.path[:0] = [os.getcwd(), *map(str, Path(name).resolve().parents[1:3])]
    try:
        module = import_file(name)
        refuse_unknown(file, argument, getattr(module, "PUBLISHED", {}))
        get_config = getattr(module, "get_config", None)
        config = get_config(*argument) if callable(get_config) else None
        if isinstance(config, ConfigDict):
            config.to_dict()  # placeholders without a value raise here
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a config file is a program, so it can fail in any way
        raise UserError(describe_failure(file, error)) from error
    if not callable(get_config):
        raise UserError(f"--config={file} has no function get_config: define one that returns a ConfigDict.")
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={file} is no sound config file (get_config returns {type(config).__name__}): return a "
            "ConfigDict, as that of configs/quickstart.py does."
        )
    return config


def refuse_unknown(file: str, argument: list[str], models: Mapping[str, Any]) -> None:
    """Raise UserError where the argument of a config of published models names none of them."""
    if argument and models and argument[0] not in models:
        named = [name for name in models if name]
        raise UserError(
            f"--config={file} has no model {argument[0]!r}: "
            + (f"it has {', '.join(named)}." if named else "it takes no argument.")
        )


def load_saved(path: Path, trust_code: bool) -> Any:
    """Load a config.json that a run of this version or an older one has saved. Raises UserError."""
    from ml_collections import ConfigDict

    from rnnlm.runs import layout
    from rnnlm.runs.trust import check_trust

    values = layout.read_json(path)
    try:
        config = Config.from_saved(values)
    except UserError as error:
        raise UserError(f"--config={path} is no config of a run: {error}") from None
    check_trust(path, config.model, trust_code)
    return ConfigDict(config.as_dict())


def describe_failure(file: str, error: BaseException) -> str:
    """Say in a sentence why a config file failed, and on which line of the user's code."""
    place = find_line(error)
    if isinstance(error, OSError) and not place:
        reason = error.strerror or error
        return f"--config={file} cannot be read ({reason}): name a config file, configs/X.py."
    if isinstance(error, SystemExit):
        what = "it ends the program by sys.exit"
    else:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        what = f"{type(error).__name__}: {message.strip().splitlines()[-1] if message.strip() else 'without a message'}"
    return f"--config={file} is no sound config file ({place}{what}): fix it, or name one like configs/quickstart.py."


def find_line(error: BaseException) -> str:
    """Return "FILE:LINE: " of the user's code that raised an error last; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{shorten(error.filename)}:{error.lineno}: "
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        library = any(path.resolve().is_relative_to(folder) for folder in LIBRARIES)
        if not library and not frame.filename.startswith("<"):
            return f"{shorten(frame.filename)}:{frame.lineno}: "
    return ""


def shorten(file: str) -> str:
    """Return a path relative to the working directory, if it lies there."""
    path = Path(file)
    return str(path.relative_to(os.getcwd())) if path.is_relative_to(os.getcwd()) else file
