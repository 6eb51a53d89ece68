"""Write a plan in lines for a person."""

from collections.abc import Iterator

from rnnlm.runs.layout import Row

LABELS = {"copy": "params after the step", "activations": "activations and gradients"}
"""What the parts of the memory are called."""


def lines_of(plan: Row) -> Iterator[str]:
    """Yield the lines of a plan; each says what is measured and what is estimated."""
    text, speed = plan["text"], plan["speed"]
    yield line("text", f"{text['name']}: {text['symbols']:,} symbols of {text['kinds']} kinds")
    budget = f"model.params={plan['budget']:,.0f}: hidden {plan['hidden'][0]:,}, " if plan["budget"] else ""
    modules = ", ".join(f"{name} {count:,}" for name, count in plan["modules"].items())
    yield line("parameters", f"{budget}{plan['parameters']:,} parameters: {modules}")
    flops = plan["flops_per_symbol"]
    yield line("FLOPs", f"{flops['forward']:,.0f} a symbol forward, {flops['training']:,.0f} in training")
    yield from memory_lines(plan)
    steps = f"{plan['steps']:,} steps" if plan["steps"] else f"train.minutes={plan['minutes']:g}, steps unknown"
    epochs = f"{plan['steps_per_epoch']:,.0f} are an epoch"
    yield line("steps", f"{steps} of {plan['symbols_per_step']:,} symbols; {epochs}")
    if not speed:
        yield line("speed", "unknown without a trial or an accelerator")
        return
    yield from speed_lines(plan)
    if plan["scaling"]:
        yield from scaling_lines(plan)


def memory_lines(plan: Row) -> Iterator[str]:
    """Yield what a step takes on each device, and by how much the trial grew."""
    memory, speed = dict(plan["memory"]), plan["speed"]
    growth, devices, names = (memory.pop(name) for name in ("process_growth", "devices", "compiled_for"))
    parts = ", ".join(f"{LABELS.get(name, name)} {megabytes(size)}" for name, size in memory.items() if size)
    total = sum(memory.values())
    where = "on one device" if devices == 1 else f"on each of {devices} devices"
    yield line("memory", f"{megabytes(total)} {where}, by the step compiled for {names}: {parts}")
    if growth:
        yield line("", f"the process grows by {megabytes(growth)} at its peak (measured in the trial)")
    there = speed and speed.get("device_memory")
    if there and total > there:
        yield line("", f"more than the {megabytes(there)} of one {speed['device']}: lower train.batch or train.window")


def speed_lines(plan: Row) -> Iterator[str]:
    """Yield speed, time and cost."""
    speed = plan["speed"]
    if speed["source"] == "trial":
        how = f"measured here on {speed['device']}"
    else:
        parts = ", ".join(f"{name} {1000 * seconds:,.2f}" for name, seconds in speed["parts"].items())
        how = f"estimated for one {speed['device']}; ms: {parts}"
    rate = f"{speed['symbols_per_second']:,.0f} symbols/s, {1000 * speed['step_seconds']:,.1f} ms a step"
    yield line("speed", f"{rate} ({how})")
    between = speed["between_steps"] / (speed["step_seconds"] + speed["between_steps"])
    share = f", {between:.0%} of it between steps" if speed["source"] == "trial" else " of steps alone"
    yield line("time", f"{duration(plan['hours_per_epoch'])} an epoch, {duration(plan['hours'])} in all{share}")
    if plan["price"]:
        yield line("cost", f"{plan['cost']:,.2f} at {plan['price']:g} an hour")


def scaling_lines(plan: Row) -> Iterator[str]:
    """Yield the table of speeds with more devices."""
    unit = plan["speed"]["device"] if plan["speed"]["source"] == "estimate" else "machines"
    yield line("scaling", f"gradients of {megabytes(plan['gradient_bytes'])} are summed in each step (estimated)")
    names = (unit, "train.batch", "ms a step", "all-reduce", "symbols/s", "of ideal", "in all", "cost")
    yield "  ".join(f"{name:>11}" for name in names)
    for row in plan["scaling"]:
        values = (
            f"{row['devices']}",
            f"{row['batch']:,}",
            f"{1000 * row['step_seconds']:,.2f}",
            f"{1000 * row['all_reduce_seconds']:,.2f}",
            f"{row['symbols_per_second']:,.0f}",
            f"{row['efficiency']:.0%}",
            duration(row["hours"]),
            f"{row['cost']:,.2f}" if plan["price"] else "",
        )
        yield "  ".join(f"{value:>11}" for value in values).rstrip()


def line(label: str, text: str) -> str:
    """Write a label and what belongs to it."""
    return f"{label:12}{text}"


def megabytes(size: float) -> str:
    """Write a number of bytes in MB (10^6 bytes) or GB."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def duration(hours: float) -> str:
    """Write a time in the unit that suits it."""
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} s"
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:,.1f} h"
