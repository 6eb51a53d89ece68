"""Parse command lines into flags and a config, with each mistake as a sentence."""

import os
import re
import sys
import textwrap
from typing import Any

from absl import flags

from rnnlm.commands.config_file import load_config
from rnnlm.commands.escapes import unescape
from rnnlm.config import RENAMED, TEXTS, ModelConfig, rename_in_place, unknown_key_message
from rnnlm.errors import UserError
from rnnlm.schema import flatten

RENAMED_FLAGS = {"prime": "prompt", "parts": "split_spec"}
"""Old names of flags, which keep working."""

OVERRIDE = re.compile(r"--?(no)?config\.([^=]*)")


def parse(
    verb: str,
    values: flags.FlagValues,
    argv: list[str],
    positional: int = 0,
    usage: str = "",
    program: str = "rnnlm",
) -> list[str]:
    """Parse flags: -> the positional arguments. Raises UserError, or exits after printing the help.

    The help begins with the program, the verb and its `usage`.
    """
    if "--help" in argv or "-h" in argv:
        print(f"{program} {verb}{usage and ' '}{usage}\n\n{format_help(values)}")
        raise SystemExit(0)
    try:
        rest: list[str] = values(["rnnlm", *rename_flags(values, argv)])[1:]
    except (flags.Error, ValueError) as error:
        raise UserError(f"{describe_flag_error(error)}. {program} {verb} --help lists the flags.") from None
    if len(rest) > positional:
        raise UserError(f"{rest[positional]!r} was not expected: flags are written --name=value.")
    if "trust_code" in values and values.trust_code:
        sys.path.insert(0, os.getcwd())  # where `rnnlm train --config` finds modules, too
    return rest


def describe_flag_error(error: Exception) -> str:
    """Return what absl says of a flag, with Python's words for a number that is none put plainly."""
    text = " ".join(str(error).split()).rstrip(".")
    text = re.sub(r"invalid literal for int\(\) with base 10: .*", "expected a whole number", text)
    return re.sub(r"could not convert string to float: .*", "expected a number", text)


def format_help(values: flags.FlagValues) -> str:
    """Return what each flag does and its default, in lines of at most 80 characters."""
    lines = []
    for name in sorted(set(values) - {"flagfile", "undefok"}):  # absl's own
        flag = values[name]
        default = "" if flag.default in (None, "", False, []) else f" (default: {flag.default})"
        head = f"  --{'[no]' if flag.boolean else ''}{name}"
        about = textwrap.wrap(f"{flag.help}{default}", 56)
        lines += [f"{head:23} {about[0]}"] if len(head) < 23 else [head, f"{'':23} {about[0]}"]
        lines += [f"{'':23} {line}" for line in about[1:]]
    return "\n".join(lines)


def rename_flags(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Write flags as they are defined: --symbols-from as --symbols_from, old names as new ones.

    Raises UserError where a flag that holds one value is given twice, or a flag under its old and its new name.
    """
    words, given = [], dict[str, str]()
    for word in argv:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            spelled = name[2:].replace("-", "_")
            new = RENAMED_FLAGS.get(spelled, spelled)
            name = new if new in values else spelled
            if name in given and given[name] != spelled:
                former = given[name] if spelled == name else spelled
                raise UserError(f"--{former} is the old name of --{name}: give one of them.")
            if name in given and not (name in values and isinstance(values[name], flags.MultiFlag)):
                raise UserError(f"--{name} is given twice: leave out one of them.")
            given[name] = spelled
            word = f"--{name}{equals}{value}"
        words.append(word)
    return words


def config_flag(values: flags.FlagValues, help_text: str) -> None:
    """Define --config, beside which overrides as --config.section.key=value may stand."""
    flags.DEFINE_string("config", "", f"{help_text}; --config.section.key=value sets a key", flag_values=values)


def parse_overrides(
    verb: str, values: flags.FlagValues, argv: list[str], usage: str = "", program: str = "rnnlm"
) -> list[str]:
    """Parse flags with --config among them: -> the overrides. Raises UserError as `parse` does."""
    argv = list(argv)
    for i, word in enumerate(argv):
        if word in ("--config", "-config") and (i + 1 == len(argv) or argv[i + 1].startswith("-")):
            raise UserError("--config is without a file: give one, as in --config=configs/quickstart.py.")
    overrides: list[str] = []
    others: list[str] = []
    while argv:
        word = argv.pop(0)
        match = OVERRIDE.match(word)
        if match and not match[1] and "=" not in word and argv and not argv[0].startswith("--"):
            word = f"{word}={argv.pop(0)}"
        (overrides if match else others).append(word)
    parse(verb, values, others, usage=usage, program=program)
    return overrides


def read_config(file: str, overrides: list[str], trust_code: bool = False) -> dict[str, Any]:
    """Load the config that --config names and apply overrides: -> a plain dict. Raises UserError as `load_config`."""
    return apply_overrides(load_config(file, trust_code), overrides)


def apply_overrides(config: Any, overrides: list[str]) -> dict[str, Any]:
    """Set the keys of a ConfigDict that overrides name: -> a plain dict.

    Raises UserError for a key that does not exist, a value of another type, or one that would change nothing.
    """
    from ml_collections.config_flags import config_flags

    rename_in_place(config)
    known = flatten(config.to_dict())
    overrides = rename_overrides(overrides, [name for name, _ in known])
    check_names(overrides, [name for name, _ in known])
    refuse_repeated(overrides)
    overrides = [unescape_override(word) for word in overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, "", flag_values=values, sys_argv=["rnnlm", *overrides])
    try:
        values(["rnnlm", *overrides])
    except (flags.Error, ValueError) as error:
        for name, default in known:
            if f"--config.{name}=" in str(error):
                value = next(word for word in overrides if override_name(word) == name)
                kind = type(default).__name__
                raise UserError(f"{value} does not fit: it takes {kind}, such as {default!r}.") from None
        raise UserError(f"{' '.join(str(error).split()).rstrip('.')}.") from None
    changed = dict(values.config.to_dict())
    refuse_ignored(overrides, changed)
    return changed


def refuse_ignored(overrides: list[str], config: dict[str, Any]) -> None:
    """Raise UserError for an override of a width that model.params solves, or of an option of another cell."""
    model = config.get("model", {})
    cell = model.get("cell", ModelConfig().cell)
    ignored = ("model.hidden", *(("model.embedding",) if model.get("tied") else ()))
    for word in overrides:
        name = override_name(word)
        section, *option = name.removeprefix("model.").split(".")
        if option and name.startswith("model.") and section != cell:
            raise UserError(
                f"{word} has no effect beside model.cell={cell}: leave it out, or add --config.model.cell={section}."
            )
        if name in ignored and model.get("params"):
            raise UserError(
                f"{word} has no effect beside model.params={model['params']:g}, which decides the width: leave it out, "
                "or add --config.model.params=0."
            )


def rename_overrides(overrides: list[str], known: list[str]) -> list[str]:
    """Write old names of keys as the present ones. Raises UserError where a key is given under both."""
    names = [override_name(word) for word in overrides]
    for i, old in enumerate(names):
        new = RENAMED.get(old)
        if new in known and old not in known:
            if new in names:
                raise UserError(f"--config.{old} is the old name of --config.{new}: give one of them.")
            overrides = [*overrides[:i], overrides[i].replace(old, new, 1), *overrides[i + 1 :]]
    return overrides


def unescape_override(word: str) -> str:
    """Interpret the escapes of an override whose key holds text. Raises UserError for an unknown one."""
    name, _, value = word.partition("=")
    return f"{name}={unescape(value, name)}" if override_name(word) in TEXTS and value else word


def override_name(word: str) -> str:
    """Return the key that an override sets, such as model.hidden."""
    match = OVERRIDE.match(word)
    assert match is not None
    return match[2]


def refuse_repeated(overrides: list[str]) -> None:
    """Raise UserError for a key that is set twice."""
    given: dict[str, str] = {}
    for word in overrides:
        name = override_name(word)
        if name in given:
            raise UserError(f"{given[name]} and {word} set one key: leave out one of them.")
        given[name] = word


def check_names(overrides: list[str], known: list[str]) -> None:
    """Raise UserError for an override of a section or of a key that does not exist."""
    for word in overrides:
        name = override_name(word)
        keys = [key for key in known if key.startswith(f"{name}.")]
        if keys:
            raise UserError(f"--config.{name} is a section: set one of its keys, such as --config.{keys[0]}.")
        if name not in known:
            if name.startswith("model.options"):
                raise UserError(
                    f"--config.{name} cannot be set here: model.options is a dict, which a config file sets."
                )
            raise UserError(unknown_key_message(name, known))
