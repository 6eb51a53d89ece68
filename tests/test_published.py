"""Configs of published models have the published number of parameters, say what they are, and train."""

import ast
import re
from dataclasses import replace

import numpy as np
import pytest

from rnnlm import api
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.planning import published
from rnnlm.runs.layout import load_run
from tests.conftest import ROOT, rnnlm, slow

FILES = sorted((ROOT / "configs" / "published").glob("*.py"))
MODULES = {path.stem: published.import_config(ROOT, path) for path in FILES}
MODELS = [(name, variant) for name, module in MODULES.items() for variant in module.PUBLISHED]
QUICK = {("awd_lstm_2018", ""), ("char_rnn", ""), ("fs_lstm_2017", "ptb_2"), ("melis_2019", "mogrifier_48m")}
FEW = 20_000
"""Symbols of a text of a test."""


def settings_of(name, variant):
    module = MODULES[name]
    return Config.from_dict(module.get_config(*([variant] if variant else [])).to_dict()), module.PUBLISHED[variant]


@pytest.fixture(scope="module")
def rows():
    return {row["config"]: row for row in api.published(ROOT)}


def as_stated(parameters, there):
    """Write a number as precisely as a published one."""
    if not there.endswith("M"):
        return f"{parameters:,}"
    return f"{parameters / 1e6:.{len(there.partition('.')[2].removesuffix('M'))}f}M"


def test_parameters_are_the_published_ones_or_said_to_differ(rows):
    assert len(rows) == len(MODELS) > 50
    counted = {"char_rnn": 240_321, "torch_rnn": 242_945}
    for name, variant in MODELS:
        row, facts = rows[f"configs/published/{name}.py{variant and ':'}{variant}"], MODULES[name].PUBLISHED[variant]
        there = facts.get("params")
        if there is None:
            continue
        if facts.get("differs"):
            assert as_stated(row["parameters"], there) != there
            assert row["parameters"] == pytest.approx(float(there.removesuffix("M")) * 1e6, rel=0.03), row["config"]
            assert re.search(r"^Parameters: ", MODULES[name].__doc__, re.MULTILINE)
        else:
            assert as_stated(row["parameters"], there) == there, row["config"]
        assert row["parameters"] == counted.get(name, row["parameters"])


def test_what_a_docstring_says_was_measured_is_in_the_results(rows):
    for row in rows.values():
        about = MODULES[row["config"].partition(":")[0].removesuffix(".py").rpartition("/")[2]].__doc__
        assert ("Measured:" in about) == bool(row["measured"])
        stated = [
            f"{result['bpc']:.3f} bpc ({result['nats'] / result['count']:.3f} nats)" in about.replace("\n", " ")
            and f"step {result['step']:,}" in about
            for result in row["measured"]
        ]
        assert any(stated) == bool(stated)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_docstring_says_what_a_config_is(path):
    about = ast.get_docstring(ast.parse(path.read_text()))
    for part in ("Published", "Source:", "Protocol:", "Cost:"):
        assert re.search(rf"^{part}", about, re.MULTILINE), part
    assert "Split: " in about or "Split," in about or "no split" in about
    assert re.search(r"^(Differs|Unverified): ", about, re.MULTILINE)
    assert f"--config=configs/published/{path.name}" in about
    variants = MODULES[path.stem].PUBLISHED
    for variant in re.findall(rf"configs/published/{path.name}:(\w+)", about):
        assert variant in variants
    for facts in variants.values():
        assert facts["trust"] in ("read", "counted", "copy", "excerpt")
        for unit in ("bpc", "nats", "bytes"):
            assert facts.get(unit, "") in about


def shrink(config, symbols, folder):
    """Return a config at a tenth of its width, three steps long, on a small text of so many symbols."""
    rng = np.random.default_rng(0)
    text = rng.integers(0, symbols, 3 * FEW).astype(np.uint8)
    text[:symbols] = np.arange(symbols)
    paths = [folder / f"{i}.bin" for i in range(3 if config.data.split == "files" else 1)]
    for i, path in enumerate(paths):
        path.write_bytes(text[i * FEW : None if len(paths) == 1 else (i + 1) * FEW].tobytes())
    data = replace(config.data, corpus="", files=",".join(map(str, paths)), binary=True)
    if data.split in ("std_90_5_5", "graves_96_4"):
        data = replace(data, split="0.9/0.05/0.05" if data.split == "std_90_5_5" else "0.96/0/0.04")
    model, cell = config.model, getattr(config.model, config.model.cell, None)
    narrow = {"hidden": max(1, model.hidden // 10), "sizes": tuple(size // 10 for size in model.sizes)}
    narrow |= {"embedding": -(-model.embedding // 10), "params": model.params / 100}
    narrow |= {"input_projection": model.input_projection // 10}
    if narrow["sizes"]:
        narrow["embedding"] = narrow["sizes"][-1]
    if model.cell == "fsrnn":
        narrow["fsrnn"] = replace(cell, slow=cell.slow // 10)
    window, batch = max(4, config.train.window // 10), min(10, config.train.batch)
    train = replace(config.train, batch=batch, window=window, steps=3, accumulate=min(2, config.train.accumulate))
    every = 3 if config.eval.every else 0
    return replace(
        config,
        data=data,
        model=replace(model, **narrow),
        train=train,
        optim=replace(config.optim, warmup=min(2, config.optim.warmup)),
        eval=replace(config.eval, every=every, lanes=min(10, config.eval.lanes), warmup=8, max_symbols=500),
        checkpoint=replace(config.checkpoint, every=3),
        sample=replace(config.sample, every=0),
    )


@pytest.mark.parametrize(
    "name, variant", [model if model in QUICK else slow(*model) for model in MODELS], ids=lambda value: value or "-"
)
def test_three_steps_at_a_tenth_of_the_width(name, variant, tmp_path):
    config, facts = settings_of(name, variant)
    small = shrink(config, facts["symbols"], tmp_path)
    result = api.train(small, tmp_path / "run", show=False)
    assert result["step"] == 3 and np.isfinite(result["valid_bpc"] or 0.0)
    run = load_run(tmp_path / "run")
    assert len(run.vocabulary) == facts["symbols"] and run.parameters == result["parameters"]
    assert max(run.config.model.hidden_sizes) * 9 <= max(config.model.hidden_sizes) or config.model.params


def test_the_list_fits_a_terminal_and_has_the_scores_as_they_are_stated(rows, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = rnnlm("published")
    assert max(map(len, printed.splitlines())) <= 80
    for name, variant in MODELS:
        facts = MODULES[name].PUBLISHED[variant]
        [line] = [line for line in printed.splitlines() if line.split(" ")[0] == f"{name}{variant and ':'}{variant}"]
        assert (
            all(facts.get(unit, "") in line for unit in ("bpc", "nats", "bytes", "params")) and facts["trust"] in line
        )


@pytest.mark.parametrize(
    "code, failure",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("pass", "AttributeError"),
        ("PUBLISHED = {'': {}}; get_config = dict", "AttributeError"),
    ],
)
def test_configs_of_another_project_are_not_run_unless_named(rows, tmp_path, monkeypatch, code, failure):
    folder = tmp_path / "configs" / "published"
    folder.mkdir(parents=True)
    (folder / "other.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert {row["config"]: row for row in api.published()} == rows
    with pytest.raises(UserError, match=rf"other\.py is no sound config file \({failure}: .*\): fix it"):
        api.published(tmp_path)
    with pytest.raises(UserError, match="no configs of published models in .*empty/configs/published: they are not"):
        api.published(tmp_path / "empty")


@pytest.mark.parametrize("config", ["awd_lstm_2018.py:ptb", "karpathy_2015.py:linux"])
def test_a_config_without_its_text_says_which_file_is_missing(config, tmp_path):
    said = rnnlm(
        "train", f"--config={ROOT}/configs/published/{config}", f"--workdir={tmp_path}/run", code=2, cwd=tmp_path
    )
    assert re.search(r"(ptb\.char\.train|linux_input)\.txt", said) and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("config", ["ha_2016.py:lstm_1700", "char_rnn.py:gru"])
def test_an_unknown_model_of_a_config_is_refused(config, tmp_path):
    said = rnnlm("train", f"--config=configs/published/{config}", f"--workdir={tmp_path}/run", code=2)
    assert re.search(r"has no model '\w+': it (has lstm_1800, lstm_2000, .*|takes no argument)\.$", said.strip())
