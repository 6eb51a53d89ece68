"""Sum up a profile by kernel, and format the results of `benchmarks/gpu.sh` as a page."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def kernels(path: Path) -> list[Row]:
    """Sum up the seconds and calls of each kernel in a Chrome trace, the longest first.

    On a GPU the kernels are the events of its streams, on a CPU those of its worker threads.
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
    """Format the rows of all parts as Markdown; of repeated measurements the newest."""
    text = ["# rnnlm on one GPU", "", "Made by `benchmarks/gpu.sh` from `gpu.jsonl`."]
    for name, section in SECTIONS.items():
        section_rows = rows(name)
        if section_rows:
            text += ["", f"## {name}", "", *section(section_rows)]
    return "\n".join(text) + "\n"


def machine_section(rows: list[Row]) -> Iterable[str]:
    """Format the machine and what it lacks."""
    row = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items() if version)
    yield f"{row['card'] or 'no NVIDIA card'}, {row['cores']} CPU cores, Python {row['python']}, {versions}"
    yield from ("", f"- commit {row['commit'][:12]}")
    yield from (f"- lacks {what}" for what in row["lacks"])


def device_section(rows: list[Row]) -> Iterable[str]:
    """Format the device that JAX uses."""
    row = rows[-1]
    torch = "" if row["torch_sees_gpu"] else "; no PyTorch here sees a GPU, so cuDNN is not measured"
    trial = "; the script is tried on a CPU" if row["backend"] == "cpu" else torch
    yield f"{row['device']} ({row['backend']}){trial}"


def contest_section(rows: list[Row]) -> Iterable[str]:
    """Format the times of rnnlm and its peers by shape."""
    yield from ("All get ready at the same time, which may change what their autotuners choose.", "")
    for row in newest(rows, "shape"):
        product = f"; a bfloat16 product at {row['product_tflops']:.1f} TFLOP/s" if row["product_tflops"] else ""
        yield f"{row['shape']}, a training step{product}"
        yield from ("", "| | ms | symbols/s | GiB at most | time / rnnlm's in the same dtype |", "| --- " * 5 + "|")
        for name, symbols in sorted(row["symbols_per_second"].items(), key=lambda item: -item[1]):
            dtype = row["facts"].get(name, {}).get("lstm", "").removeprefix("torch.")
            label = f"{name} (its LSTM in {dtype})" if dtype else name
            ratio = f"{row['ratio'][name]:.2f}" if name in row["ratio"] else ""
            yield f"| {label} | {row['ms'][name]:.2f} | {symbols:,.0f} | {gib(row, name)} | {ratio} |"
        yield from (f"| {name} | failed | | | |" for name in row["failed"])
        yield ""


def gib(row: Row, name: str) -> str:
    """Format the peak of the GPU's memory that a contestant has allocated; "" if it is unknown."""
    peak = row["facts"].get(name, {}).get("device_bytes")
    return f"{peak / 2**30:.2f}" if peak else ""


def few_section(rows: list[Row]) -> Iterable[str]:
    """Format the times and the memory of a few tasks."""
    yield from ("| | ms | GiB at most |", "| --- | --- | --- |")
    for row in newest(rows, "what"):
        for name, ms in row["ms"].items():
            yield f"| {row['what']}, {name} | {ms:.2f} | {gib(row, name)} |"
        yield from (f"| {row['what']}, {name} | failed | |" for name in row["failed"])


def flags_section(rows: list[Row]) -> Iterable[str]:
    """Format the times with and without each flag."""
    yield from (
        "Three flags at a time get ready beside no flag, which may change what autotuners choose.",
        "",
    )
    yield from ("| shape | flag | ms with | ms without | without / with | 95 % interval |", "| --- " * 6 + "|")
    for row in newest(rows, "shape", "name"):
        label = f"{row['shape']} | {flag_label(row)}"
        if "failed" in row:
            yield f"| {label} | failed | | | |"
        else:
            low, high = row["interval"]
            times = f"{row['ms']:.2f} | {row['ms_without']:.2f}"
            yield f"| {label} | {times} | {row['ratio']:.3f} | {low:.3f}..{high:.3f} |"


def quickstart_section(rows: list[Row]) -> Iterable[str]:
    """Format the run of configs/quickstart.py from end to end."""
    row = rows[-1]
    yield f"- {row['steps']:,} steps; the whole command {row['seconds']:.1f} s, compilation included"
    yield f"- first row of metrics.jsonl {row['seconds_to_first_row']:.1f} s after the start"
    yield f"- {row['symbols_per_second']:,.0f} symbols/s (median)"


def command_section(rows: list[Row]) -> Iterable[str]:
    """Format the time of whole commands."""
    yield from (f"- {row['name']}: {row['seconds']:.1f} s" for row in newest(rows, "name"))


def plan_section(rows: list[Row]) -> Iterable[str]:
    """Format what `rnnlm plan` says of the training run."""
    speed, memory = rows[-1]["planned"]["speed"], rows[-1]["planned"]["memory"]
    yield from ("```json", json.dumps({"speed": speed, "memory": memory}, indent=2), "```")


def train_section(rows: list[Row]) -> Iterable[str]:
    """Format the training run."""
    row = rows[-1]
    yield from (f"`rnnlm train --config=configs/quickstart.py {' '.join(row['overrides'])}`", "")
    yield f"- {row['steps']:,} steps in {row['seconds']:.0f} s, {row['symbols_per_second']:,.0f} symbols/s (median)"
    yield f"- first row of metrics.jsonl {row['seconds_to_first_row']:.1f} s after the start"
    yield f"- train {row['train_bpc']:.3f} bpc at the last step"


def test_section(rows: list[Row]) -> Iterable[str]:
    """Format the test score of the training run."""
    yield f"{rows[-1]['bpc']:.4f} bpc ({rows[-1]['count']:,} symbols, {rows[-1]['protocol']})"


def resume_section(rows: list[Row]) -> Iterable[str]:
    """Format the comparison of killed and uninterrupted runs by flag."""
    for row in newest(rows, "name"):
        if "failed" in row:
            yield f"- {flag_label(row)}: failed"
            continue
        step = row["first_differing_row"]
        losses = "" if step is None else f", losses from step {step} on"
        outcome = "equal bit for bit" if row["equal"] else f"{row['differing_arrays']} arrays differ{losses}"
        late = "" if row["killed"] else " (it ended before it was killed)"
        yield f"- {flag_label(row)}: {outcome}{late}"


def flag_label(row: Row) -> str:
    """Format a flag as its name and its text."""
    return f"{row['name']} `{row['flag']}`" if row["flag"] else str(row["name"])


def profile_section(rows: list[Row]) -> Iterable[str]:
    """Format the time by kernel of each shape."""
    for row in newest(rows, "shape"):
        yield from kernel_table(row)


def kernel_table(row: Row) -> Iterable[str]:
    """Format the time by kernel of one shape."""
    step = 1e3 / row["steps"]
    traced, kernels = (f"{row[name] * step:.2f}" for name in ("seconds", "kernel_seconds"))
    yield f"{row['shape']} {row['dtype']}, {flag_label(row)}: {row['alone_ms']:.2f} ms a step, with nothing beside it; "
    yield f"{traced} ms while it is traced, of which kernels {kernels} ms"
    yield from ("", "| kernel | ms a step | calls a step | share |", "| --- | --- | --- | --- |")
    for kernel in row["kernels"]:
        share = kernel["seconds"] / row["kernel_seconds"]
        calls = kernel["calls"] / row["steps"]
        yield f"| {kernel['name'][:90]} | {kernel['seconds'] * step:.3f} | {calls:,.1f} | {share:.3f} |"
    yield ""


SECTIONS: dict[str, Callable[[list[Row]], Iterable[str]]] = {
    "machine": machine_section,
    "device": device_section,
    "contest": contest_section,
    "quickstart": quickstart_section,
    "command": command_section,
    "resume": resume_section,
    "memory": few_section,
    "train": train_section,
    "test": test_section,
    "plan": plan_section,
    "sample": few_section,
    "flags": flags_section,
    "profile": profile_section,
}


def newest(rows: list[Row], *keys: str) -> list[Row]:
    """Return the last row for each value of the keys, in the order of the first."""
    return list({tuple(row[key] for key in keys): row for row in rows}.values())
