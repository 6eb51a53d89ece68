"""Run the fenced blocks of a page: `sh` commands in this process on tiny models, `python` blocks in one namespace.

python -m tests.pages PAGE      # run a page in the working directory, a source tree
"""

import contextlib
import filecmp
import hashlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import make_text

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {"sh", "python", "diff", "text", "console"}
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
RUN = re.compile(r"\bruns/\w+")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the line where it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str:
        """Return the file that the block is, where its first line names one."""
        found = re.match(r"# ([\w/]+\.py)\n", self.text) if self.language == "python" else None
        return found[1] if found else ""

    @property
    def commands(self) -> list[list[str]]:
        """Return the words of each command line, without comments and `&`."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [[word for word in line if word != "&"] for line in words if line]


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text()
    return [Block(page, text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in FENCE.finditer(text)]


def apply_changes(page: Path, tree: Path) -> None:
    """Apply to a source tree what a page adds to it: blocks that are files, and `diff` blocks."""
    for block in read_blocks(page):
        if block.file:
            (tree / block.file).write_text(block.text)
        if block.language == "diff":
            for part in re.split(r"^--- ", block.text, flags=re.MULTILINE)[1:]:
                name, _, hunks = part.partition("\n")
                text = (tree / name).read_text()
                for hunk in re.split(r"^@@\n", hunks, flags=re.MULTILINE)[1:]:
                    lines = hunk.splitlines(keepends=True)
                    before, after = ("".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in "-+")
                    assert text.count(before) == 1, f"{page.name}:{block.line}: {name} has not once\n{before}"
                    text = text.replace(before, after)
                (tree / name).write_text(text)


def shrink(config: Any) -> Any:
    """Return a config with small sizes and few steps."""
    model, train = config.model, config.train
    steps = train.steps if 0 < train.steps <= 12 else 6 + 6 * (train.steps >= 20_000)
    steps, minutes = 0 if train.minutes else steps, min(train.minutes, 0.01)
    return replace(
        config,
        data=replace(config.data, split=re.sub(r"columns_\d+x\d+", "columns_4x8", config.data.split)),
        model=replace(model, layers=1, hidden=min(model.hidden, 12), embedding=min(model.embedding, 12)),
        train=replace(train, batch=min(train.batch, 4), window=min(train.window, 8), steps=steps, minutes=minutes),
        eval=replace(config.eval, warmup=min(config.eval.warmup, 16)),
        sample=replace(config.sample, every=0),
    )


def sample_text() -> bytes:
    """Return a text that has every printable symbol."""
    return bytes([*range(32, 127), 10]) * 4 + make_text(8_000)


def prepare(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder the working directory of a page: texts in place of the published ones, and tiny models."""
    from rnnlm import api
    from rnnlm.data import corpora, published
    from rnnlm.evaluation import dynamic
    from rnnlm.planning import plan

    text, texts = sample_text(), place / "texts"
    for folder in ("texts", "elsewhere", "notes"):
        (place / folder).mkdir()
    for name, source in published.SOURCES.items():
        (texts / source.file).write_bytes(text)
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        patch.setitem(published.SOURCES, name, replace(source, size=len(text), digest=digest))
    modules = [texts / f"module_{i:02}.py" for i in range(20)]
    for i, module in enumerate(modules):
        module.write_bytes(text[i * len(text) // 20 : (i + 1) * len(text) // 20])
    (place / "elsewhere" / "input.txt").write_bytes(text)
    for i in range(2):
        (place / "notes" / f"{i}.md").write_bytes(make_text(4_000, seed=i))
    (place / "notes.txt").write_bytes(make_text(600, seed=3) + "é".encode())
    if not (place / "configs").exists():
        shutil.copytree(ROOT / "configs", place / "configs")
    patch.chdir(place)
    patch.setattr(sys, "path", [str(place), *sys.path])
    patch.setenv("RNNLM_DATA_DIR", str(texts))
    patch.setattr(corpora, "stdlib_files", lambda root: modules)
    patch.setattr(dynamic, "TUNED_SEGMENTS", (20,))
    patch.setattr(plan, "TRIAL_SECONDS", 0.1)
    as_config = api.as_config
    patch.setattr(api, "as_config", lambda config: shrink(as_config(config)))
    patch.setitem(sys.modules, "wandb", stand_in_for_wandb())


def stand_in_for_wandb() -> ModuleType:
    """Make a module that takes rows as wandb does, which is no dependency; the page says how the real one was tried."""

    def log(row: dict[str, Any], step: int) -> None:
        assert row["step"] == step

    module = ModuleType("wandb")
    module.init = lambda **options: contextlib.nullcontext(SimpleNamespace(log=log))  # type: ignore[attr-defined]
    return module


def train_tiny_run(place: Path) -> Path:
    """Train the run that stands for every run that a page opens and does not train itself."""
    from rnnlm import api
    from rnnlm.config import Config, DataConfig

    config = Config(data=DataConfig("warpeace", "", "0.8/0.1/0.1"))
    api.train(config, place / "tiny", show=False)
    return place / "tiny"


def run_page(page: Path, tiny: Callable[[], Path]) -> None:
    """Run all blocks of a page in the working directory, which `prepare` has made.

    `tiny` returns the run that stands for those that the page does not train.
    """
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in read_blocks(page):
        try:
            if block.language == "python":
                copy_runs(block.text, tiny, set(RUN.findall("".join(re.findall(r"rnnlm\.train\(.*", block.text)))))
                run_python(block, namespace)
            for words in block.commands if block.language == "sh" else []:
                trains = words[:2] == ["rnnlm", "train"] or words[1:3] == ["launch/slurm.py", "run"]
                trains = trains and any(word.startswith("--config=") for word in words)
                workdirs = " ".join(word for word in words if word.startswith("--workdir="))
                copy_runs(" ".join(words), tiny, set(RUN.findall(workdirs)) if trains else set())
                run_command(words)
        except BaseException as error:
            error.add_note(f"in the block at {page.name}:{block.line}")
            raise


def copy_runs(text: str, tiny: Callable[[], Path], trained: set[str]) -> None:
    """Copy the tiny run to each run folder that a text names, that is not there yet and that it does not train."""
    for name in set(RUN.findall(text)) - trained:
        if not Path(name).exists():
            shutil.copytree(tiny(), name)
            shutil.copy(tiny() / "config.json", Path(name) / "best.json")  # as a search has it


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a Python block; one that is a file is run as the file, and then its tests."""
    if not block.file:
        exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)
        return
    Path(block.file).write_text(block.text)
    for name, function in runpy.run_path(block.file).items():
        if name.startswith("test_"):
            function()


def run_command(words: list[str]) -> None:
    """Run a command line, or check it as `LISTED` says."""
    check = listed(words)
    if check:
        check(words)
    elif words[0] == "rnnlm":
        computes = words[1] in ("train", "plan", "eval", "sample", "trace", "horizon", "compress", "decompress")
        devices = ["--cpu_devices=1"] if computes and not any("--cpu_devices" in word for word in words) else []
        run_rnnlm([*words[1:], *devices])
    elif words[0] == "python":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(words[1], run_name="__main__")
    elif words[0] == "cmp":
        assert filecmp.cmp(*words[1:], shallow=False)
    else:
        pytest.fail(f"{shlex.join(words)} is neither run nor listed")


def run_rnnlm(arguments: list[str], code: int = 0) -> str:
    """Run a verb in this process and check its exit code: -> its standard error."""
    from rnnlm.commands import main

    with contextlib.redirect_stderr(io.StringIO()) as error:
        found = main.main(arguments)
    assert found == code, f"rnnlm {shlex.join(arguments)} ended with {found}\n{error.getvalue()}"
    return error.getvalue()


def check_make(words: list[str]) -> None:
    """Check that the Makefile has the target and the variables."""
    makefile = (ROOT / "Makefile").read_text()
    for word in words[1:]:
        name, equals, _ = word.partition("=")
        pattern = rf"^{name} [?:]?=" if equals else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {name}"


def check_install(words: list[str]) -> None:
    """Check that pyproject.toml has the extra."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[2].strip(".[]") in extras


def check_processes(words: list[str]) -> None:
    """Check flags and config of a training in several processes, whose number is refused here before it begins."""
    given = [word for word in words[words.index("rnnlm") + 1 :] if not word.startswith("--process=")]
    error = run_rnnlm([*given, "--process=9"], code=2)
    assert "processes are numbered from 0" in error, error


def check_sweep(words: list[str]) -> None:
    """List the trials of a sweep, which is not run."""
    from launch import sweep

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert sweep.main([*words[2:], "--dry_run"]) == 0
    assert out.getvalue()


def check_slurm(words: list[str]) -> None:
    """Write the script of a job, which is not submitted, or check that a command is one."""
    from launch import slurm

    if words[2] != "run":
        assert words[2] in slurm.COMMANDS
        return
    with contextlib.redirect_stdout(io.StringIO()) as out:
        Path("site.sh").touch()
        assert slurm.main([*words[2:], "--dry_run"]) == 0
    assert out.getvalue().startswith("#!/bin/bash\n")


def check_tpu(words: list[str]) -> None:
    """Print the commands for a pod, which are not run."""
    from launch import tpu

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert tpu.main(words[2:]) == 0
    assert "gcloud compute tpus" in out.getvalue()


def check_help(words: list[str]) -> None:
    """Run a script with --help."""
    subprocess.run(["bash", ROOT / words[0], "--help"], check=True, stdout=subprocess.DEVNULL)


def check_shapes(words: list[str]) -> None:
    """Check that the shapes are there."""
    from benchmarks.plan import SHAPES

    assert {word for word in words[2:] if not word.startswith("--clock=")} <= set(SHAPES)


def check_tests(words: list[str]) -> None:
    """Check that the test file is there; `run_python` has run its tests."""
    assert Path(words[-1]).exists()


LISTED: dict[str, tuple[str, Callable[[list[str]], None]]] = {
    "make": ("takes minutes or installs packages", check_make),
    "pip install": ("needs a network", check_install),
    "git worktree": ("writes beside the checkout", lambda words: None),
    "tensorboard": ("is a server", lambda words: None),
    "srun": ("needs a cluster", check_processes),
    "rnnlm train .* --coordinator=": ("needs other processes", check_processes),
    "python launch/sweep.py": ("starts processes", check_sweep),
    "python launch/slurm.py": ("needs a cluster", check_slurm),
    "python launch/tpu.py": ("only prints", check_tpu),
    "python benchmarks/plan.py": ("takes minutes", check_shapes),
    "benchmarks/gpu.sh": ("needs a GPU", check_help),
    ".venv/bin/pytest": ("is run by the block that writes the test", check_tests),
}
"""Commands that are not run, by how they begin: the reason, and what is checked instead."""


def listed(words: list[str]) -> Callable[[list[str]], None] | None:
    """Return the check of a command that is listed; None for one that is run."""
    found = [check for start, (_, check) in LISTED.items() if re.match(start, " ".join(words))]
    return found[0] if found else None


def main() -> None:
    """Run the page that the command line names in the working directory, a source tree that has its changes."""
    from tests import conftest

    conftest.configure_jax()
    with pytest.MonkeyPatch.context() as patch:
        prepare(Path.cwd(), patch)
        run_page(Path(sys.argv[1]), lambda: train_tiny_run(Path.cwd()))


if __name__ == "__main__":
    main()
