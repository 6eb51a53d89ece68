"""A profile summed up by kernel, and the page that shows what a GPU made of rnnlm."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def kernels(path: Path) -> list[Row]:
    """Seconds and calls of each kernel in a Chrome trace, the longest first.

    On a GPU these are what ran on its streams. Without one they are the events of the CPU's worker threads.
    """
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names: dict[tuple[str, int, int], str] = {}
    for event in events:
        if event.get("ph") == "M" and event.get("name") in ("process_name", "thread_name"):
            names[event["name"], event["pid"], event.get("tid", 0)] = event["args"]["name"]
    processes = {pid: name for (kind, pid, _), name in names.items() if kind == "process_name"}
    devices = {pid for pid, name in processes.items() if "/device:GPU" in name}

    def counts(event: Row) -> bool:
        thread = names.get(("thread_name", event["pid"], event["tid"]), "")
        return event["pid"] in devices and thread.startswith("Stream") if devices else thread.startswith("tf_")

    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in events:
        if event.get("ph") == "X" and counts(event):
            seconds[event["name"]] += event["dur"] / 1e6
            calls[event["name"]] += 1
    longest = sorted(seconds, key=lambda name: -seconds[name])
    return [{"name": name, "seconds": seconds[name], "calls": calls[name]} for name in longest]


def page(rows: Callable[[str], list[Row]]) -> str:
    """Markdown of all parts' rows; of a part that ran more than once, the newest rows."""
    text = ["# rnnlm on one GPU", "", "Made by `benchmarks/gpu.sh` from `gpu.jsonl`."]
    for name, section in SECTIONS.items():
        found = rows(name)
        if found:
            text += ["", f"## {name}", "", *section(found)]
    return "\n".join(text) + "\n"


def of_machine(rows: list[Row]) -> Iterable[str]:
    row = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items() if version)
    yield f"{row['card'] or row['device']}, {row['cores']} CPU cores, Python {row['python']}, {versions}"
    yield from ("", f"- commit {row['commit'][:12]}")
    yield from (f"- lacks {what}" for what in row["lacks"])


def of_contest(rows: list[Row]) -> Iterable[str]:
    for row in newest(rows, "shape"):
        product = f"; a bfloat16 product at {row['product_tflops']:.1f} TFLOP/s" if row["product_tflops"] else ""
        yield f"{row['shape']}, a training step{product}"
        yield from ("", "| | ms | symbols/s | time / rnnlm's in the same dtype |", "| --- | --- | --- | --- |")
        for name, symbols in sorted(row["symbols_per_second"].items(), key=lambda item: -item[1]):
            ratio = f"{row['ratio'][name]:.2f}" if name in row["ratio"] else ""
            yield f"| {name} | {row['ms'][name]:.2f} | {symbols:,.0f} | {ratio} |"
        yield from (f"| {name} | failed | | |" for name in row["failed"])
        yield ""


def of_flags(rows: list[Row]) -> Iterable[str]:
    yield from ("| shape | flag | ms | time without / with | 95 % interval |", "| --- | --- | --- | --- | --- |")
    for row in newest(rows, "shape", "name"):
        flag = f"{row['shape']} | {named(row)}"
        if "failed" in row:
            yield f"| {flag} | failed | | |"
        else:
            low, high = row["interval"]
            yield f"| {flag} | {row['ms']:.2f} | {row['ratio']:.3f} | {low:.3f}..{high:.3f} |"


def of_train(rows: list[Row]) -> Iterable[str]:
    row = rows[-1]
    yield f"`rnnlm train --config=configs/quickstart.py {' '.join(row['overrides'])}`"
    yield f"- {row['steps']:,} steps in {row['seconds']:.0f} s, {row['symbols_per_second']:,.0f} symbols/s (median)"
    yield f"- first row of metrics.jsonl {row['seconds_to_first_row']:.1f} s after the start"
    yield f"- test {row['test_bpc']:.4f} bpc on {row['test_count']:,} symbols; train {row['train_bpc']:.3f}"


def of_resume(rows: list[Row]) -> Iterable[str]:
    for row in newest(rows, "name"):
        first = "" if row["first_differing_row"] is None else f", losses from step {row['first_differing_row']} on"
        found = "equal bit for bit" if row["equal"] else f"{row['differing_arrays']} arrays differ{first}"
        late = "" if row["killed"] else " (it ended before it was killed)"
        yield f"- {named(row)}: {found}{late}"


def named(row: Row) -> str:
    """A flag by its name and its text."""
    return f"{row['name']} `{row['flag']}`" if row["flag"] else str(row["name"])


def of_profile(rows: list[Row]) -> Iterable[str]:
    row = rows[-1]
    step = 1e3 / row["steps"]
    yield f"{row['shape']}, {row['flags']}: {row['seconds'] * step:.2f} ms a step while it is traced, of which kernels"
    yield f"{row['kernel_seconds'] * step:.2f} ms"
    yield from ("", "| kernel | ms a step | calls a step | share |", "| --- | --- | --- | --- |")
    for kernel in row["kernels"]:
        share = kernel["seconds"] / row["kernel_seconds"]
        calls = kernel["calls"] / row["steps"]
        yield f"| {kernel['name'][:90]} | {kernel['seconds'] * step:.3f} | {calls:,.1f} | {share:.3f} |"


SECTIONS: dict[str, Callable[[list[Row]], Iterable[str]]] = {
    "machine": of_machine,
    "contest": of_contest,
    "flags": of_flags,
    "train": of_train,
    "resume": of_resume,
    "profile": of_profile,
}


def newest(rows: list[Row], *keys: str) -> list[Row]:
    """The last row for each value of the keys, in the order of the first."""
    return list({tuple(row[key] for key in keys): row for row in rows}.values())
