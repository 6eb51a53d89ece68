"""The pages are true: their commands and Python blocks run, and what they name is there."""

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from rnnlm.runs.layout import RunDir
from rnnlm.runs.results import FIELDS
from tests import pages
from tests.conftest import ROOT, environment, slow
from tests.test_architecture import LADDER

README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
EXTEND = DOCS / "extend.md"
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A function that returns the tiny run, which is trained when it is first needed."""

    @cache
    def folder():
        return pages.train_tiny_run(tmp_path_factory.mktemp("tiny"))

    return folder


LONG = [DOCS / "usage.md", DOCS / "evaluation.md", DOCS / "compression.md"]
RUN = [slow(page) if page in LONG else page for page in PAGES if page != EXTEND]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, tiny):
    pages.prepare(tmp_path, monkeypatch)
    pages.run_page(page, tiny)


@pytest.mark.slow
def test_what_extend_adds_runs_in_a_tree_that_has_it(tmp_path):
    for name in ("rnnlm", "configs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
    pages.apply_changes(EXTEND, tmp_path)
    command = [sys.executable, "-m", "tests.pages", str(EXTEND)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    logged = (tmp_path / "runs" / "lion" / "metrics.jsonl").read_text()
    assert json.loads(logged.splitlines()[0])["update_norm"] > 0


@every_page
def test_every_block_has_a_language(page):
    text = page.read_text()
    for block in pages.read_blocks(page):
        assert block.language in pages.LANGUAGES, f"{page.name}:{block.line}"
    outside = pages.FENCE.sub("", text)
    assert "```" not in outside
    assert not re.search(r"^ {4}", outside, re.MULTILINE), "indented code is not run: fence it"


def test_every_exception_is_needed():
    commands = [
        " ".join(words) for page in PAGES for b in pages.read_blocks(page) if b.language == "sh" for words in b.commands
    ]
    for start in pages.LISTED:
        assert any(re.match(start, command) for command in commands), start


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 120


@every_page
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    anchors = {"#" + heading(line) for line in re.findall(r"^#+ (.+)", text, re.MULTILINE)}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, sign, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert link.startswith("https://") or target.exists(), link
        if sign:
            anchors = {heading(line) for line in re.findall(r"^#+ (.+)", target.read_text(), re.MULTILINE)}
            assert anchor in anchors, link
    added = {block.file for block in pages.read_blocks(page)}
    for path in re.findall(r"\b(?:rnnlm|configs|docs|experiments|launch|tests|benchmarks)/[\w./*-]*\w", text):
        assert path in added or any(ROOT.glob(path.replace("NNN_question", "[0-9]*"))), path
    for path, names in re.findall(r"`(rnnlm/[\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", text):
        for name in re.findall(r"`([\w.]+)`", names):
            assert defines(ROOT / path, name.split(".")), f"{path} has no {name}"


def heading(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def defines(path: Path, names: list[str]) -> bool:
    """Return whether a file defines a function, class or constant, or a class a member."""
    body = ast.parse(path.read_text()).body
    for name in names:
        found = [node for node in body if name in defined(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@every_page
def test_flags_and_keys_in_the_text_exist(page, capsys):
    from launch import slurm, sweep, tpu
    from rnnlm.commands import main
    from rnnlm.config import default_values

    text = pages.FENCE.sub("", page.read_text())
    for verb in main.VERBS:
        with pytest.raises(SystemExit):
            main.main([verb, "--help"])
    verbs = [(slurm, "run"), *((tpu, verb) for verb in (*tpu.COMMANDS, "train"))]
    for launcher, *words in ((sweep,), *verbs):
        with pytest.raises(SystemExit):
            launcher.main([*words, "--help"])
    flags = set(re.findall(r"--(?:\[no\])?(\w+)", capsys.readouterr().out))
    for flag in re.findall(r"`--(?:no(?!des|rmalize|vel))?([\w-]+)", text):
        assert flag.replace("-", "_") in flags | {"config", "help", "version"}, flag
    keys = {name for name, _ in default_values()}
    for key in re.findall(r"`((?:data|model|train|optim|eval|checkpoint|sample|log)\.\w+)[`=]", text):
        assert key in keys or key == "model.options", key


def test_the_tree_of_packages_is_whole():
    tree = next(b.text for b in pages.read_blocks(DOCS / "architecture.md") if b.text.startswith("rnnlm/"))
    shown, package = set(), ""
    for indent, name in re.findall(r"^( +)(\w+(?:/|\.py))", tree, re.MULTILINE):
        package = name if len(indent) == 2 and name.endswith("/") else package if len(indent) == 4 else ""
        shown.add(package + name.removesuffix("/") if name != package else name)
    modules = [p.relative_to(ROOT / "rnnlm") for p in (ROOT / "rnnlm").rglob("*.py") if not p.name.startswith("__")]
    assert shown == {str(path) for path in modules} | {f"{path.parts[0]}/" for path in modules if len(path.parts) > 1}
    launchers = next(b.text for b in pages.read_blocks(DOCS / "architecture.md") if b.text.startswith("launch/"))
    files = {p.name for p in (ROOT / "launch").glob("*.py") if not p.name.startswith("__")}
    assert set(re.findall(r"^  (\w+\.py)", launchers, re.MULTILINE)) == files


def test_the_names_of_the_flow_are_in_its_files():
    flow = next(b.text for b in pages.read_blocks(DOCS / "architecture.md") if b.text.startswith(" file "))
    for line in flow.splitlines():
        files = re.findall(r"\b\w+/\w+\.py", line.partition("experiments")[0])
        source = "".join((ROOT / "rnnlm" / file).read_text() for file in files)
        names = re.findall(r"\b(?:[a-z]+_\w+|[A-Z]\w{2,})", re.sub(r"\S+\.(?:py|md|jsonl)", "", line)) if files else []
        assert all(re.search(rf"\b{name}\b", source) for name in names), line


def test_the_ladder_is_the_one_that_is_checked():
    ladder = next(b.text for b in pages.read_blocks(DOCS / "architecture.md") if b.text.endswith("0  errors\n"))
    shown = [set(line.split()[1:]) for line in ladder.splitlines()]
    assert shown[::-1] == [set(level.split()) for level in LADDER]


def test_the_files_and_fields_of_a_run_are_listed(tmp_path, monkeypatch, tiny):
    pages.prepare(tmp_path, monkeypatch)
    page = (DOCS / "distributed.md").read_text()
    names = [path.name for path in vars(RunDir(Path("run"))).values()]
    assert all(f"| `{name}" in page for name in names if name != "run")
    rows = [json.loads(line) for line in (tiny() / "metrics.jsonl").read_text().splitlines()]
    assert all(re.search(rf"\b{name}\b", page) for row in rows for name in row)
    table = re.findall(
        r"^\| (`.*?) \|", (DOCS / "evaluation.md").read_text().partition("## result.jsonl")[2], re.MULTILINE
    )
    assert {name for cell in table for name in re.findall(r"`(\w+)`", cell)} == FIELDS


def test_the_quick_results_are_those_of_the_docstrings():
    for line in (ROOT / "experiments" / "quick.jsonl").read_text().splitlines():
        row = json.loads(line)
        about = ast.get_docstring(ast.parse((ROOT / row["config"]).read_text()))
        time = f"{row['seconds']} s" if row["seconds"] < 100 else f"{row['seconds'] / 60:.1f} minutes"
        assert f"{row['bpc']:.3f}" in about and time in about and row["command"] in about
        assert all(part in about for part in re.findall(r"\d+ GFLOP/s|\d+ cores", row["hardware"]))


@every_page
def test_lines_fit(page):
    outside = pages.FENCE.sub("", page.read_text())
    assert [line for line in outside.splitlines() if len(line) > 120 and line[0] != "|"] == []
