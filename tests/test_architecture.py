"""Imports go strictly down from package to package, and some functions are used by one file only."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

LADDER = [
    "errors",
    "schema files product",
    "options",
    "config",
    "cells data baselines",
    "nn runtime",
    "evaluation",
    "runs generation",
    "training",
    "compression planning inside",
    "language_model api",
    "commands",
]
LEVEL = {package: level for level, packages in enumerate(LADDER) for package in packages.split()}
NO_JAX = {"errors", "schema", "options", "config", "files", "data", "baselines"}
ENTRANCES = {"__init__.py", "__main__.py"}
FILES = [p for p in sorted((ROOT / "rnnlm").rglob("*.py")) if p.relative_to(ROOT / "rnnlm").name not in ENTRANCES]


LOG_2 = r"\blog\(\s*2[.0]*\s*\)|\blog2\(|\bln_?2\b|\bLN_?2\b|0\.693|1\.442"
"""The ways in which code may turn nats into bits."""


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
    "pattern, home",
    [
        (LOG_2, "evaluation/tally.py"),
        (r"jax\.pmap", "runtime/parallel.py"),
        (r"(?<!parallel\.)psum", "runtime/parallel.py"),
    ],
)
def test_only_one_file_uses_it(pattern, home):
    files = {str(p.relative_to(ROOT / "rnnlm")) for p in FILES if re.search(pattern, p.read_text())}
    assert files == {home}


@pytest.mark.parametrize("code", ["math.log(2)", "np.log(2.0)", "jnp.log( 2 )", "np.log2(p)", "x / LN2", "0.6931"])
def test_nats_become_bits_in_none_of_these_ways(code):
    assert re.search(LOG_2, code) and not re.search(LOG_2, code.replace("2", "3").replace("693", "793"))


def test_nothing_is_pickled_or_given_to_a_shell():
    for folder in ("rnnlm", "configs", "experiments", "launch", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            assert not any(word in source for word in ("pickle", "shell=True", "extractall")), path
