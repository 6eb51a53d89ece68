"""The live table of a sweep."""

import io
import time
from types import SimpleNamespace

from rich.console import Console

from launch.folder import SweepDir
from launch.table import Table


def test_long_ids_are_told_apart_on_a_narrow_terminal_beside_all_columns(tmp_path):
    ids = [f"learning_rate=0.000123,hidden=128,layers=2,dropout=0.15,batch=32,seed={i}" for i in range(3)]
    out = io.StringIO()
    console = Console(width=80, height=24, file=out)
    running = [SimpleNamespace(trial=SimpleNamespace(id=name), began=time.monotonic()) for name in ids]
    console.print(Table(SweepDir(tmp_path), [job.trial for job in running], console=console).draw(running))
    header, *lines = out.getvalue().splitlines()
    assert header.split() == ["trial", "step", "bpc", "symbols/s", "left"]
    for i, line in enumerate(lines[:3]):
        assert f"seed={i}" in line and "starting" in line


def test_no_running_trial_is_an_empty_table(tmp_path):
    console = Console(width=80, file=io.StringIO())
    console.print(Table(SweepDir(tmp_path), console=console).draw([]))
    assert "0 running, 0 waiting" in " ".join(console.file.getvalue().split())
