"""Imports go strictly down, and the data rooms know no jax."""

import ast

import pytest

from tests.conftest import ROOT

LEVELS = [
    "errors score console signals",
    "config files baselines",
    "symbols optim overrides product",
    "corpora windows",
    "dataset",
    "folder cells",
    "record scan",
    "model parallel devices",
    "state",
    "evaluate checkpoint sample step escape",
    "restore",
    "lm train compare dynamic",
    "predict",
    "compress",
    "verbs",
    "cli",
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms.split()}
DATA_ROOMS = LEVELS[0] + " config files symbols corpora dataset windows folder record overrides"
NO_JAX = set(DATA_ROOMS.replace("score", "").split())
FILES = [p for p in sorted((ROOT / "rnnlm").rglob("*.py")) if p != ROOT / "rnnlm/__init__.py"]


def room_of(path):
    return path.relative_to(ROOT / "rnnlm").parts[0].removesuffix(".py")


def imported(path):
    """(module, names) of every import in a file, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "rnnlm")))
def test_imports_go_down(path):
    room = room_of(path)
    for module, names in imported(path):
        assert module.partition(".")[0] not in ("configs", "experiments", "launch", "tests")
        if room in NO_JAX:
            assert module.partition(".")[0] not in ("jax", "flax", "optax", "orbax")
        if module.partition(".")[0] != "rnnlm":
            continue
        for other in [module.split(".")[1]] if "." in module else names:
            if other != room:
                assert LEVEL[other] < LEVEL[room], f"{room} imports {other}"


@pytest.mark.parametrize("word, home", [("log(2", "score.py"), ("jax.pmap", "parallel.py"), ("psum", "parallel.py")])
def test_one_room_owns_it(word, home):
    assert [p.name for p in FILES if word in p.read_text()] == [home]


def test_nothing_is_pickled_or_given_to_a_shell():
    for path in [
        p
        for folder in ("rnnlm", "configs", "experiments", "launch", "benchmarks")
        for p in (ROOT / folder).rglob("*.py")
    ]:
        source = path.read_text()
        assert not any(word in source for word in ("pickle", "shell=True", "extractall")), path
