"""Runs survive read errors, truncated files and power losses, tested on real processes through strace."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from rnnlm.runs.checkpoint import steps as saved
from rnnlm.runs.restore import unreadable
from tests.conftest import free_port, kill_group, rnnlm, rows, slow, start, train

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(
    not STRACE or subprocess.run([STRACE, "-qq", "-o/dev/null", "true"]).returncode != 0,
    reason="there is no strace here that may trace: Debian's strace has one",
)
TMP = ".orbax-checkpoint-tmp"
READS = "read,pread64,preadv"
STATS = "?stat,?newfstatat,?statx,?lstat"


def failing(calls: str, error: str, *paths: Path) -> list[str]:
    """Return a command prefix that makes system calls on some paths fail, such as read with error=EIO."""
    filters = [word for path in paths for word in ("-P", str(path))]
    return ["strace", "-f", "-qq", "-o", "/dev/null", *filters, "-e", "trace=all", "-e", f"inject={calls}:{error}"]


def command(workdir, text, *more):
    return ("train", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text}", *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, text_file):
    """Train a run of 30 steps on one device, with checkpoints 25 and 30."""
    workdir = tmp_path_factory.mktemp("disk") / "run"
    train(workdir, text_file, "--cpu_devices=1", "--config.eval.every=0", "--config.sample.every=15")
    return workdir


@pytest.fixture
def run(whole, tmp_path):
    """Copy the run of `whole` for a test that damages it."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


def arrays(workdir, step):
    """Return the largest file of the arrays of a checkpoint."""
    return max((workdir / "checkpoints" / str(step) / "state" / "d").iterdir(), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize(
    "calls, error, name, reason",
    [
        slow("openat", "EMFILE", "d", "Too many open files"),
        (READS, "EIO", "d", "Input/output error"),
        slow(READS, "ENOMEM", "_METADATA", "Cannot allocate memory"),
        slow(STATS, "ESTALE", "../meta", "Stale file handle"),
    ],
)
def test_a_checkpoint_with_a_transient_read_error_stays(run, text_file, calls, error, name, reason):
    before = contents(run)
    path = arrays(run, 30) if name == "d" else run / "checkpoints" / "30" / "state" / name
    prefix = failing(calls, f"error={error}", path.resolve())
    args = ("--cpu_devices=1", "--config.eval.every=0", "--config.sample.every=15", "--config.train.steps=35")
    message = rnnlm(*command(run, text_file, *args), prefix=prefix, code=2)
    assert "checkpoints/30 could not be read" in message and reason in message
    assert "does not prove it damaged" in message and "written" not in message
    assert contents(run) == before


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread"), OSError("no route")])
def test_an_error_without_relation_to_files_is_no_damage(whole, error):
    assert unreadable(whole / "checkpoints" / "30", error) in ("MemoryError", str(error))


def two_processes(runs, text, *more, first=(), second=()):
    """Train with two processes, each with its folder and command prefix: -> their (exit code, output, errors)."""
    with free_port() as port:
        flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2", "--config.eval.every=0", *more]
    prefixes = list(first), list(second)
    both = [
        start(*command(folder, text, *flags, f"--process={i}"), prefix=prefix)
        for i, (folder, prefix) in enumerate(zip(runs, prefixes, strict=True))
    ]
    try:
        ends = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            kill_group(process)
    assert not any("Traceback" in err for _, err in ends), ends
    return [(process.returncode, *end) for process, end in zip(both, ends, strict=True)]


@pytest.mark.slow
def test_two_processes_skip_a_checkpoint_that_both_find_damaged(run, whole, text_file):
    path = arrays(run, 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    first, second = two_processes([run, run], text_file)
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "going on from step 25" in first[1]
    assert all("30 is damaged (" in err and "using step 25 in its place" in err for _, _, err in (first, second))
    assert [p.name for p in (run / "damaged").iterdir()] == ["30.0"]
    # The two processes repeat steps 26 to 30.
    assert [row["step"] for row in rows(run)] == [row["step"] for row in rows(whole)]
    for again, before in zip(rows(run), rows(whole), strict=True):
        assert again["loss"] == pytest.approx(before["loss"], rel=1e-5)


@pytest.mark.parametrize("what", [slow("arrays"), slow("metrics")])
def test_a_read_error_of_one_process_ends_both(run, text_file, what):
    before = contents(run)
    path = arrays(run, 30) if what == "arrays" else run / "metrics.jsonl"
    second = failing(READS, "error=EIO", path)
    first, second = two_processes([run, run], text_file, "--config.train.steps=35", second=second)
    assert (first[0], second[0]) == (2, 2)
    assert "Another process of this run failed" in first[2] and "Input/output error" in second[2]
    # Only config.json, run.json and the events may already record this start.
    changed = {Path("config.json"), Path("run.json")}
    after = {name: data for name, data in contents(run).items() if "events" not in name.name and name not in changed}
    assert after == {name: before[name] for name in before if "events" not in name.name and name not in changed}


MOUNT = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh"]


def test_damage_that_one_process_finds_ends_both(run, tmp_path, text_file):
    """The second process reads truncated arrays of the newest checkpoint, which the first reads intact."""
    half, path = tmp_path / "half", arrays(run, 30)
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if subprocess.run([*MOUNT, str(half), str(path), "true"], capture_output=True).returncode != 0:
        pytest.skip("only root can show a process another file under the same name")
    before = contents(run)
    first, second = two_processes([run, run], text_file, second=[*MOUNT, str(half), str(path)])
    assert (first[0], second[0]) == (2, 2), (first, second)
    assert all("do not all find the same in the checkpoint" in err for _, _, err in (first, second))
    assert contents(run) == before


@pytest.mark.slow
def test_processes_that_see_different_checkpoints_refuse(run, text_file, tmp_path):
    """The second process has its own folder, as on machines without a shared disk."""
    other = Path(shutil.copytree(run, tmp_path / "other"))
    shutil.rmtree(other / "checkpoints" / "30")
    for code, _, err in two_processes([run, other], text_file):
        assert code == 2 and "different checkpoints" in err


FULL = "error=ENOSPC:when=12+"


@pytest.mark.slow
@pytest.mark.parametrize("what", [slow("metrics"), "checkpoint"])
def test_a_failed_write_of_one_process_ends_both(tmp_path, text_file, what):
    """The main process finds the disk full from its twelfth row or its second checkpoint on."""
    run = tmp_path / "run"
    prefix = failing("write", FULL, run / "metrics.jsonl")
    if what == "checkpoint":
        prefix = failing("openat", "error=ENOSPC", run / "checkpoints" / f"10{TMP}" / f"meta{TMP}" / "metadata")
    more = ("--config.train.steps=70", "--config.log.every=2")
    first, second = two_processes([run, run], text_file, *more, first=prefix)
    assert (first[0], second[0]) == (2, 2), (first, second)
    assert "could not be written" in first[2] and "No space left on device" in first[2]
    assert "The last good checkpoint is" in first[2] and "Another process of this run failed" in second[2]


def test_a_failed_write_is_named_and_so_is_the_last_good_checkpoint(tmp_path, text_file):
    workdir = tmp_path / "run"
    prefix = failing("write", FULL, workdir / "metrics.jsonl")
    message = rnnlm(*command(workdir, text_file, "--cpu_devices=1"), prefix=prefix, code=2)
    assert "metrics.jsonl could not be written (No space left on device)" in message
    assert f"The last good checkpoint is {workdir}/checkpoints/10." in message and "read" not in message


@pytest.mark.parametrize("name", ["metrics.jsonl", slow("samples/000000015.txt"), slow("run.json")])
def test_a_failed_read_is_not_called_a_failed_write(run, text_file, name):
    prefix = failing("read", "error=EIO", run / name)
    args = ("--cpu_devices=1", "--config.eval.every=0", "--config.sample.every=15", "--config.train.steps=35")
    message = rnnlm(*command(run, text_file, *args), prefix=prefix, code=2)
    assert name in message and "Input/output error" in message
    assert "read" in message and "written" not in message and "Make room" not in message


def test_a_text_that_cannot_be_read_is_not_called_unwritable(run, text_file, tmp_path):
    second = tmp_path / "more.txt"
    second.write_bytes(text_file.read_bytes())
    prefix = failing("read", "error=EIO:when=2+", second)  # fail the copy, not the digest
    both = command(tmp_path / "new", f"{text_file},{second}")
    cases = [
        (both, second, f"{second} could not be read (Input/output error)"),
        (("compare", str(run)), run / "result.jsonl", "result.jsonl could not be read (Input/output error)"),
    ]
    (run / "result.jsonl").write_text("{}\n")
    for args, path, complaint in cases:
        words = prefix if path == second else failing("read", "error=EIO", path)
        message = rnnlm(*args, prefix=words, code=2, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
        assert complaint in message and "written" not in message and "room" not in message


CALL = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)")
PATHS = re.compile(r'"([^"]*)"|\d+<(/[^>]*)>')
END = float("inf")


class Call(NamedTuple):
    """Hold a successful system call: its paths, its arguments, and the trace lines where it begins and ends."""

    name: str
    paths: list[str]
    text: str
    begin: int
    end: int


class Trace:
    """Record the file system calls of processes that run one after another."""

    def __init__(self, path):
        self.path, self.calls, self.lines = path, [], 0

    def rnnlm(self, *args):
        names = "openat,write,writev,pwrite64,fsync,?rename,?renameat,renameat2,?mkdir,mkdirat,?unlink,unlinkat,?rmdir"
        rnnlm(*args, prefix=["strace", "-f", "-y", "-qq", "-o", str(self.path), "-e", f"trace={names}"])
        started = {}
        for text in self.path.read_text(errors="replace").splitlines():
            self.lines += 1
            match = CALL.match(text)
            if not match:
                continue
            process, name, rest = match.groups()
            if "resumed>" not in text:
                started[process] = (name, [a or b for a, b in PATHS.findall(rest)], rest, self.lines)
            if "<unfinished" not in text and process in started and not re.search(r"\) += -1 ", rest):
                self.calls.append(Call(*started.pop(process), self.lines))

    def named(self, *names):
        return [call for call in self.calls if call.name in names]

    def synced(self, path, after, before=END):
        return any(call.paths == [str(path)] and after < call.begin and call.end < before
                   for call in self.named("fsync"))  # fmt: skip

    def written(self, path, holding="", item=""):
        """Return the line where the last write to a path (of a text `holding`) ends, also under a temporary name."""
        writes, names = self.named("write", "writev", "pwrite64"), {str(path)}
        if item:
            names.add(str(path).replace(f"/{item}/", f"/{item}{TMP}/"))
        return max((c.end for c in writes if c.paths and c.paths[0] in names and holding in c.text), default=-1)

    def created(self, path):
        """Return the line where a file or folder is first created."""
        return next(call.end for call in self.named("openat", "mkdir", "mkdirat") if str(path) in call.paths)

    def renames(self):
        return self.named("rename", "renameat", "renameat2")


@pytest.mark.slow
def test_written_files_survive_a_power_loss(tmp_path, text_file):
    """Files are synced in the right order of system calls, in a run of 30 steps that is then evaluated."""
    workdir, trace = tmp_path / "parent" / "run", Trace(tmp_path / "trace")
    trace.rnnlm(
        *command(workdir, text_file, "--cpu_devices=1", "--config.checkpoint.keep=1", "--config.sample.every=15")
    )
    trace.rnnlm("eval", f"--workdir={workdir}")
    check_files_are_synced_before_their_rename(workdir, trace)
    check_rows_are_synced_before_the_checkpoint(workdir, trace)
    check_a_checkpoint_is_synced_before_an_older_one_is_deleted(workdir, trace)


def check_files_are_synced_before_their_rename(workdir, trace):
    """Check that files are synced before they are renamed into place, and their folders after it."""
    stored = [workdir / name for name in ("config.json", "vocab.json", "run.json", "result.json")]
    stored += sorted((workdir / "samples").glob("*.txt"))
    assert len(stored) == 6
    for path in stored:
        renames = [call for call in trace.renames() if call.paths[-1] == str(path)]
        assert renames, path
        for call in renames:
            assert trace.synced(call.paths[0], after=trace.written(call.paths[0]), before=call.begin), path
            assert trace.synced(path.parent, after=call.end), path
    for folder in (workdir.parent, workdir, workdir / "samples", workdir / "checkpoints"):
        assert trace.synced(folder.parent, after=trace.created(folder)), folder


def check_rows_are_synced_before_the_checkpoint(workdir, trace):
    """Check that the rows up to a step are synced before its checkpoint is started."""
    metrics = workdir / "metrics.jsonl"
    for path in (metrics, workdir / "result.jsonl"):
        assert trace.synced(path, after=trace.written(path)), path
        assert trace.synced(workdir, after=trace.created(path)), path
    folders = {step: workdir / "checkpoints" / f"{step}{TMP}" for step in range(5, 31, 5)}
    for step, folder in folders.items():
        last = trace.written(metrics, holding=f'\\"step\\": {step},')
        begin = next(call.begin for call in trace.named("mkdir", "mkdirat") if str(folder) in call.paths)
        assert last > 0 and trace.synced(metrics, after=last, before=begin), step


def check_a_checkpoint_is_synced_before_an_older_one_is_deleted(workdir, trace):
    """Check that the newest checkpoint is synced before an older one is deleted."""
    folder = workdir / "checkpoints"
    commits = {int(Path(c.paths[-1]).name): c.end for c in trace.renames() if Path(c.paths[-1]).parent == folder}
    assert sorted(commits) == [5, 10, 15, 20, 25, 30] and 30 in saved(folder)
    named = next(call for call in trace.renames() if call.paths[-1] == str(folder / "30"))
    for path in (folder / "30").rglob("*"):
        if path.name in MARKS:
            continue
        before = str(path).replace("/30/", f"/30{TMP}/")
        written = trace.written(before, item=str(path.relative_to(folder / "30").parts[0]))
        assert trace.synced(before, after=written, before=named.begin), path
    deletions = [
        call for call in trace.named("unlink", "unlinkat", "rmdir")
        if any(p.startswith(f"{folder}/") and TMP not in p for p in call.paths)
    ]  # fmt: skip
    assert deletions
    for call in deletions:
        newest = max(end for end in commits.values() if end < call.begin)
        assert trace.synced(folder, after=newest, before=call.begin), call.paths


MARKS = ("commit_success.txt", "_CHECKPOINT_METADATA")


def test_a_run_with_empty_commit_marks_is_read(run):
    """Commit marks, which orbax writes after its first sync of a checkpoint, may be empty after a power loss."""
    for name in MARKS:
        for path in (run / "checkpoints").rglob(name):
            path.write_bytes(b"")
    assert json.loads(rnnlm("eval", f"--workdir={run}", "--step=latest", "--json"))["step"] == 30
