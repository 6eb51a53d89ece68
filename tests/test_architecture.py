"""Imports go strictly down from package to package, and some functions are used by one file only."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

LADDER = [
    "errors",
    "config files product",
    "cells data baselines",
    "nn runtime",
    "evaluation",
    "runs generation",
    "training",
    "compression",
    "language_model api",
    "commands",
]
LEVEL = {package: level for level, packages in enumerate(LADDER) for package in packages.split()}
NO_JAX = {"errors", "config", "files", "data", "baselines"}
ENTRANCES = {"__init__.py", "__main__.py"}
FILES = [p for p in sorted((ROOT / "rnnlm").rglob("*.py")) if p.relative_to(ROOT / "rnnlm").name not in ENTRANCES]


def package_of(path: Path) -> str:
    return path.relative_to(ROOT / "rnnlm").parts[0].removesuffix(".py")


def imported(path: Path):
    """Yield (module, names) of every import in a file, also of those in functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "rnnlm")))
def test_imports_go_down(path):
    package = package_of(path)
    for module, names in imported(path):
        top = module.partition(".")[0]
        assert top not in ("configs", "experiments", "launch", "tests")
        if package in NO_JAX:
            assert top not in ("jax", "flax", "optax", "orbax")
        if top == "rnnlm":
            for other in [module.split(".")[1]] if "." in module else names:
                if other != package and other not in ("__version__",):
                    assert LEVEL[other] < LEVEL[package], f"{package} imports {other}"


@pytest.mark.parametrize(
    "word, home",
    [("log(2", "evaluation/tally.py"), ("jax.pmap", "runtime/parallel.py"), ("psum", "runtime/parallel.py")],
)
def test_only_one_file_uses_it(word, home):
    files = {
        str(p.relative_to(ROOT / "rnnlm")) for p in FILES if f"{word}" in p.read_text().replace("parallel.psum", "")
    }
    assert files == {home}


def test_nothing_is_pickled_or_given_to_a_shell():
    for folder in ("rnnlm", "configs", "experiments", "launch", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            assert not any(word in source for word in ("pickle", "shell=True", "extractall")), path
