"""Generate the tables of the pages from the results that are kept in the repository.

    python experiments/tables.py            # write the tables
    python experiments/tables.py --check    # name the pages that differ from their results, and exit with code 1

A table stands in a page between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.minimal import minimal
from experiments.scores import format_bpc, nats_per_symbol
from experiments.size_ladder import ladder_depth, ladder_laws, ladder_seeds, size_ladder
from experiments.war_and_peace import war_and_peace, war_and_peace_results, war_and_peace_valid
from experiments.which_recurrence import which_costs, which_recurrence, which_settings, which_symbols
from rnnlm.evaluation.tally import Tally
from rnnlm.files import read_lines

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "experiments").glob("*/README.md"))]
MARK = re.compile(r"(?<=<!-- table )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
RESULTS = ROOT / "experiments" / "001_compression" / "results.jsonl"
QUICK = ROOT / "experiments" / "quick.jsonl"
DEFAULTS = ROOT / "experiments" / "002_defaults" / "results.jsonl"
COVERAGE = ROOT / "experiments" / "coverage.jsonl"
BENCH = ROOT / "benchmarks" / "results" / "bench.jsonl"
CELLS = ROOT / "benchmarks" / "results" / "cells.jsonl"
LINEAR = ROOT / "benchmarks" / "results" / "linear.jsonl"
TEXTS = {"warpeace": "War and Peace", "enwik8_head": "enwik8_head"}
CONFIG = "experiments/001_compression/lstm.py"
HARDWARE = "2 cores of an AMD EPYC, in other use at times"
SHORT = ("1x128, 50, 50", "2x256, 50, 50", "2x512, 50, 50", "4x512, 50, 50")
"""Shapes of the short table of speed: layers x hidden, batch, window."""
PAPER = "Karpathy, Johnson and Li 2015"

Row = dict[str, Any]
Table = list[list[str]]


def results_of(what: str, text: str, **fields: Any) -> list[Row]:
    """Return the experiment's results of a kind and text with the given fields; of repeated results the newest."""
    rows = {}
    for row in read_lines(RESULTS):
        if (row["what"], row["text"]) == (what, text) and all(row.get(name) == value for name, value in fields.items()):
            rows[tuple(row.get(name) for name in ("split", "protocol", "how", "lanes", "name"))] = row
    return list(rows.values())


def models() -> Table:
    """Make the table of bpc by protocol and of n-grams on the test split of each text."""
    rows = [["", *(f"{name}, bpc ± 95 %" for name in TEXTS.values())]]
    reads = {
        "static, 1 lane": ("static", "carry, 1 lane"),
        "static, as many lanes as `eval` chooses": ("static", "carry, "),
        "static, windows of 512, stride 256": ("static", "windows"),
        "dynamic, rms": ("dynamic", "dynamic rms"),
    }
    for name, (what, protocol) in reads.items():
        cells = []
        for text in TEXTS:
            fits = [row for row in results_of(what, text, split="test") if row["protocol"].startswith(protocol)]
            cells.append(format_bpc(fits[-1]))
        rows.append([name, *cells])
    best = {text: min(grams(text), key=lambda row: row["bpc"]) for text in TEXTS}
    rows.append(["best n-gram", *(f"{format_bpc(row)} ({row['name']})" for row in best.values())])
    return [*rows, ["20-gram", *(format_bpc(grams(text)[-1]) for text in TEXTS)]]


def grams(text: str, what: str = "baseline") -> list[Row]:
    """Return the results of n-grams on a text, by order."""
    return [row for row in results_of(what, text) if row.get("name", "").endswith("-gram")]


def files() -> Table:
    """Make the table of the test split's file sizes, smallest first, for each text."""
    rows = [["War and Peace's test split, bytes", "bits per byte", "enwik8_head's, bytes", "bits per byte"]]
    columns = []
    for text in TEXTS:
        coded = [(row["packed"], f"**rnnlm** {coding(row)}", row["bytes"]) for row in results_of("compress", text)]
        size = coded[0][2]
        general = [row for row in results_of("baseline", text) if not row["name"].endswith("-gram")]
        coded += [(round(row["bytes"]), row["name"], size) for row in general]
        columns.append([[f"{packed:,} {name}", f"{8 * packed / size:.4f}"] for packed, name, _ in sorted(coded)])
    return rows + [[*ours, *theirs] for ours, theirs in zip(*columns, strict=True)]


def coding(row: Row) -> str:
    """Describe how a file was compressed."""
    return f"{row['how'].partition(',')[0]}, {row['lanes']} lane{'s' if row['lanes'] > 1 else ''}"


def orders() -> Table:
    """Make the table of n-grams by order: bpc of each text, and nats on War and Peace for both of its splits."""
    columns = [grams("warpeace"), grams("enwik8_head"), grams("warpeace", "columns")]
    header = ["order", "War and Peace, bpc", "enwik8_head, bpc", "War and Peace, nats", "the same in columns, nats"]
    rows = []
    for a, b, c in zip(*columns, strict=True):
        nats = [f"{nats_per_symbol(row):.4f}" for row in (a, c)]
        rows.append([a["name"].partition("-")[0], format_bpc(a), format_bpc(b), *nats])
    return [header, *rows]


def paper() -> Table:
    """Make the table of nats per character on War and Peace, with the paper's results."""
    static, dynamic = (
        next(row for row in results_of(what, "warpeace", split="test") if row["protocol"].startswith(protocol))
        for what, protocol in (("static", "carry, 1 lane"), ("dynamic", "dynamic rms"))
    )
    rows = [
        ("20-gram, last 10 % of the book", nats_per_symbol(grams("warpeace")[-1])),
        ("20-gram, 10 % of each hundredth of the book", nats_per_symbol(grams("warpeace", "columns")[-1])),
        (f"20-gram, {PAPER}", 1.195),
        ("rnnlm static, last 10 % of the book", nats_per_symbol(static)),
        ("rnnlm dynamic, last 10 % of the book", nats_per_symbol(dynamic)),
        (
            "rnnlm static, 10 % of each hundredth of the book",
            nats_per_symbol(results_of("columns", "warpeace", split="test")[-1]),
        ),
        (f"best network, {PAPER}", 1.077),
    ]
    return [["", "nats"], *([name, f"{nats:.3f}"] for name, nats in rows)]


def training() -> Table:
    """Make the table of the training runs."""
    rows = [["text", "parameters", "steps", "minutes", "valid bpc", "test bpc"]]
    for text, name in TEXTS.items():
        run, test = (
            results_of("train", text)[-1],
            results_of("static", text, split="test", protocol="carry, 1 lane")[-1],
        )
        numbers = [f"{run['parameters']:,}", f"{run['step']:,}", f"{run['seconds'] / 60:.1f}"]
        rows.append([name, *numbers, f"{run['valid_bpc']:.4f}", f"{test['bpc']:.4f}"])
    return rows


def results() -> Table:
    """Make the table of results: those of the configs' docstrings, and the experiment's."""
    rows = [["text, split", "symbols", "bpc, ± 95 %", "protocol", "parameters", "hardware", "training", "config"]]
    for row in read_lines(QUICK):
        cells = [f"{row['text']}, {row['split']}", f"{row['count']:,}", format_bpc(row), row["protocol"]]
        cells.append(f"{row['parameters']:,}")
        rows.append([*cells, row["hardware"], duration(row["seconds"]), f"`{row['config']}`"])
    rows += war_and_peace_results()
    run = results_of("train", "enwik8_head")[-1]
    for what, protocol in (("static", "carry, 1 lane"), ("dynamic", "dynamic rms")):
        scores = [row for row in results_of(what, "enwik8_head", split="test") if row["protocol"].startswith(protocol)]
        count = f"{scores[-1]['count']:,}"
        cells = ["enwik8_head, test", count, format_bpc(scores[-1]), protocol, f"{run['parameters']:,}"]
        rows.append([*cells, HARDWARE, duration(run["seconds"]), f"`{CONFIG}`"])
    return rows


def duration(seconds: float) -> str:
    """Format a time in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def bench(what: str) -> Row:
    """Return the newest benchmark of a kind."""
    return [row for row in read_lines(BENCH) if row["what"] == what][-1]


def speed() -> Table:
    """Make the table of training speed beside the peers."""
    newest = bench("train")
    peers = {"torch": "torch", "torch_plain": "torch, as installed", "flax": "flax", "flax_plain": "flax, as installed"}
    rows = [["layers x hidden, B, T", "rnnlm ms", *peers.values(), "share"]]
    for row in newest["rows"]:
        shape = row["shape"].replace(" B=", ", ").replace(" T=", ", ")
        ratios = [row["ratio"].get(name, row["ratio"][name.removesuffix("_plain")]) for name in peers]
        rows.append([shape, f"{row['ms']['rnnlm']:.1f}", *(f"{r:.2f}" for r in ratios), f"{row['share']:.2f}"])
    return [*rows, ["geometric mean", "", *(f"{newest['ratio'][name]:.2f}" for name in peers), ""]]


def speed_short() -> Table:
    """Make the short table of training speed: rnnlm's time, and the peers' at their best settings divided by it."""
    newest = bench("train")
    rows = [["layers x hidden, batch, window", "rnnlm ms a step", "PyTorch / rnnlm", "flax / rnnlm"]]
    for row in newest["rows"]:
        shape = row["shape"].replace(" B=", ", ").replace(" T=", ", ")
        if shape not in SHORT:
            continue
        rows.append([shape, f"{row['ms']['rnnlm']:.1f}", f"{row['ratio']['torch']:.2f}", f"{row['ratio']['flax']:.2f}"])
    return [*rows, ["geometric mean of seven", "", f"{newest['ratio']['torch']:.2f}", f"{newest['ratio']['flax']:.2f}"]]


def cell_speeds() -> Table:
    """Make the table of each cell's training step beside its reference's."""
    table = [["cell", "rnnlm ms", "reference / rnnlm", "95 %", "reference, its quickest settings"]]
    newest = {row["cell"]: row for row in read_lines(CELLS) if row["shape"] == "2x256 B=50 T=50"}
    for cell, row in sorted(newest.items(), key=lambda item: -item[1]["ratio"]):
        low, high = row["interval"]
        settings = {"flax": "flax", "torch": "PyTorch"}[row["quickest"].partition(" ")[0]]
        settings += ", compiled" * ("compile" in row["quickest"])
        interval = f"{low:.2f} to {high:.2f}"
        table.append([f"`{cell}`", f"{row['ms']['rnnlm']:.0f}", f"{row['ratio']:.2f}", interval, settings])
    return table


def linear_forms() -> Table:
    """Make the table of the forms of the linear recurrence."""
    return forms("milliseconds")


def matrix_forms() -> Table:
    """Make the table of the forms of matrix_lstm."""
    return forms("matrix")


def forms(what: str) -> Table:
    """Make a table of milliseconds from the newest rows of benchmarks/linear.py on each device."""
    newest = {row["device"]: row[what] for row in read_lines(LINEAR) if what in row}
    names = list(next(iter(next(iter(newest.values())).values())))
    table = [["T x B x H, on", *(f"{name}, ms" for name in names)]]
    for device, shapes in newest.items():
        on = "two cores" if device == "cpu" else device.removeprefix("NVIDIA ")
        table += [[f"{shape}, {on}", *(f"{ms:.2f}" for ms in row.values())] for shape, row in shapes.items()]
    return table


def sampling() -> Table:
    """Make the table of symbols drawn a second."""
    rows = [["model, streams", "rnnlm symbols/s", "rnnlm / PyTorch"]]
    for row in bench("sample")["rows"]:
        rows.append([row["shape"], f"{row['symbols_per_second']['rnnlm']:,.0f}", f"{row['ratio']['torch']:.1f}"])
    return rows


def reading() -> Table:
    """Make the table of symbols read per second."""
    return [["", "symbols/s"]] + [
        [name, f"{speed:,.0f}"] for name, speed in bench("read")["rows"][0]["symbols_per_second"].items()
    ]


def coverage() -> Table:
    """Make the table of how often an interval holds on simulated costs, by count and correlation time."""
    rows = [row for row in read_lines(COVERAGE) if row["what"] == "simulated"]
    kept = {(row["n"], row["tau"]): row["covered"] for row in rows}
    times = sorted({tau for _, tau in kept})
    header = ["symbols", *(f"tau = {tau:,}" if tau else "independent" for tau in times)]
    return [header] + [
        [f"{n:,}", *(f"{100 * kept[n, tau]:.1f} %" if (n, tau) in kept else "" for tau in times)]
        for n in sorted({n for n, _ in kept})
    ]


def passages() -> Table:
    """Make the table of how much passages of real texts differ."""
    rows = [["text", "symbols", "passages", "+- 95 % (median)", "standard deviation of their bpc", "covered"]]
    for row in read_lines(COVERAGE):
        if row["what"] == "passages":
            numbers = [f"{row['half_interval']:.3f}", f"{row['spread']:.3f}", f"{100 * row['covered']:.0f} %"]
            rows.append([row["text"], f"{row['n']:,}", f"{row['passages']:,}", *numbers])
    return rows


def trials(key: str, text: str, reading: str = "1 lane") -> dict[float, list[Row]]:
    """Return the results of a text by the value of a key, those of a value by seed."""
    rows = [row for row in read_lines(DEFAULTS) if (row["key"], row["text"], row["reading"]) == (key, text, reading)]
    return {value: [row for row in rows if row["value"] == value] for value in sorted({row["value"] for row in rows})}


def drop_state() -> Table:
    """Make the table of bpc by train.drop_state, of the whole split, of its worst symbols, and of other readings."""
    header = [
        "text, symbols",
        "drop_state",
        "bpc by seed",
        "mean",
        "worst 10,000 symbols",
        "64 lanes",
        "windows of 512",
    ]
    rows = []
    for text in ("tiny-shakespeare", "standard library", "War and Peace"):
        for value, scores in trials("train.drop_state", text).items():
            others = [trials("train.drop_state", text, reading)[value] for reading in ("64 lanes", "windows")]
            worst = max(Tally(row["worst_nats"], row["worst_count"]).bpc for row in scores)
            seeds = ", ".join(f"{row['bpc']:.4f}" for row in scores)
            cells = [f"{text}, {scores[0]['count']:,}", f"{value:g}", seeds, f"{mean_bpc(scores):.4f}", f"{worst:.3f}"]
            rows.append([*cells, *(f"{mean_bpc(other):.4f}" for other in others)])
    return [header, *rows]


def decay_vectors() -> Table:
    """Make the table of bpc by optim.decay_vectors."""
    rows = [["optim.decay_vectors", "seed 0", "seed 1", "seed 2", "mean"]]
    for value, scores in trials("optim.decay_vectors", "tiny-shakespeare").items():
        rows.append([f"{value}", *(f"{row['bpc']:.4f}" for row in scores), f"{mean_bpc(scores):.4f}"])
    return rows


def mean_bpc(scores: list[Row]) -> float:
    """Return the mean bpc of results of equally many symbols."""
    return sum(row["bpc"] for row in scores) / len(scores)


GENERATORS = (
    models,
    files,
    orders,
    paper,
    training,
    results,
    speed,
    speed_short,
    cell_speeds,
    sampling,
    reading,
    coverage,
    passages,
    drop_state,
    decay_vectors,
    size_ladder,
    ladder_seeds,
    ladder_laws,
    ladder_depth,
    linear_forms,
    matrix_forms,
    which_costs,
    which_settings,
    which_recurrence,
    which_symbols,
    war_and_peace,
    war_and_peace_valid,
    minimal,
)
TABLES: dict[str, Callable[[], Table]] = {table.__name__: table for table in GENERATORS}


def fill_tables(page: str) -> str:
    """Return a page with its tables generated again."""

    def table(match: re.Match[str]) -> str:
        header, *rows = TABLES[match[1]]()
        all_rows = [header, ["---"] * len(header), *rows]
        return match[1] + match[2] + "".join(f"| {' | '.join(row)} |\n".replace("|  |", "| |") for row in all_rows)

    return MARK.sub(table, page)


def main() -> int:
    """Write the tables of all pages, or check them; return the exit code."""
    differing = [page for page in PAGES if fill_tables(page.read_text()) != page.read_text()]
    for page in differing:
        if "--check" in sys.argv:
            sys.stderr.write(f"{page.relative_to(ROOT)} differs from its results: run python experiments/tables.py\n")
        else:
            page.write_text(fill_tables(page.read_text()))
    return 1 if differing and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
