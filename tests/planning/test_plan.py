"""A plan counts what the model and its compiled step have, leaves nothing behind, and says what it does not know."""

import json
import os
import tempfile

import jax
import pytest

import rnnlm as api
from benchmarks import plan as benchmark
from rnnlm.commands import main
from rnnlm.data.splits import open_dataset
from rnnlm.errors import UserError
from rnnlm.nn import size
from rnnlm.planning import text
from rnnlm.planning.compiled import step_bytes
from rnnlm.planning.plan import make_plan, trial_speed
from rnnlm.planning.trial import Trial
from rnnlm.training import footprint, optim
from rnnlm.training.budget import Costs
from tests.conftest import rnnlm, slow, tiny
from tests.training.test_footprint import bytes_of_xla


@pytest.fixture(scope="module")
def planned(text_file, tmp_path_factory):
    """A plan with a trial, made where every file that is left behind would be seen: -> (plan, folder, cache)."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tempfile, "tempdir", str(folder))
        least = jax.config.jax_persistent_cache_min_compile_time_secs
        plan = api.plan(tiny(data__files=str(text_file)), trial_seconds=0.1, price=3.0, link=10.0)
        assert jax.config.jax_persistent_cache_min_compile_time_secs == least
    return plan, folder


def test_it_counts_parameters_flops_and_steps(planned, text_file):
    plan, config = planned[0], tiny(data__files=str(text_file))
    vocab = len(open_dataset(config.data).text.vocabulary)
    assert plan["parameters"] == size.count_params(config.model, vocab) == sum(plan["modules"].values())
    assert tuple(plan["modules"]) == config.model.modules
    assert plan["flops_per_symbol"]["training"] == 3 * size.flops_per_symbol(config.model, vocab)
    assert plan["gradient_bytes"] == 4 * plan["parameters"] == plan["memory"]["params"]
    assert (plan["steps"], plan["symbols_per_step"], plan["text"]["kinds"]) == (30, 32, 22)


def test_time_and_cost_follow_from_the_trial(planned):
    plan, speed = planned[0], planned[0]["speed"]
    assert speed["symbols_per_second"] == pytest.approx(32 / speed["step_seconds"])
    steps_alone = plan["steps"] * speed["step_seconds"] / 3600
    assert steps_alone < plan["hours"] and plan["cost"] == pytest.approx(3 * plan["hours"])
    assert plan["hours_per_epoch"] > plan["steps_per_epoch"] * speed["step_seconds"] / 3600
    assert [row["devices"] for row in plan["scaling"]] == [2, 4, 8, 16, 32, 64, 128, 256]
    two = plan["scaling"][0]
    assert two["batch"] == 8 and two["symbols_per_second"] < 2 * speed["symbols_per_second"]
    assert two["hours"] == pytest.approx(plan["steps"] * plan["symbols_per_step"] / two["symbols_per_second"] / 3600)
    assert two["cost"] == pytest.approx(2 * 3 * two["hours"])
    assert two["all_reduce_seconds"] == pytest.approx(plan["gradient_bytes"] / (0.7 * 10e9))


def test_it_leaves_nothing_behind(planned):
    assert list(planned[1].iterdir()) == []


def test_every_line_of_a_plan_is_printed_and_json_keeps_it(planned):
    plan = json.loads(json.dumps(planned[0]))
    printed = "\n".join(text.lines_of(plan))
    assert "22 kinds" in printed and f"{plan['parameters']:,} parameters: layer_0" in printed
    assert "measured here on 1 CPU core" in printed and "at 3 an hour" in printed
    assert all(len(line) < 220 for line in printed.splitlines())


@pytest.mark.parametrize(
    "options",
    [
        {"model__cell": "rnn", "optim__ema": 0.9, "train__accumulate": 2},
        slow({"model__layers": 5}),
    ],
)
def test_the_memory_is_that_of_the_compiled_step(options):
    """The sum of the parts is what XLA states of the program that takes a real state."""
    config = tiny(**options)
    optimizer = optim.make_optimizer(config.optim, lambda step: 0.1)
    parts = step_bytes(config, 60, optimizer)
    window = 9 * config.train.batch * config.train.window
    assert sum(parts.values()) + window == pytest.approx(bytes_of_xla(config), rel=0.01)
    least = footprint.least_bytes(config, 60, optimizer)
    assert parts["params"] + parts["copy"] >= least["params"] and parts["optimizer"] == least["optimizer"]


def test_without_a_trial_speed_is_unknown(text_file):
    plan = make_plan(tiny(data__files=str(text_file), model__params=5e3), trial_seconds=0)
    assert plan["speed"] is None and plan["memory"]["process_growth"] is None and plan["scaling"] == []
    printed = "\n".join(text.lines_of(plan))
    assert f"model.params=5,000: hidden {plan['hidden'][0]}, {plan['parameters']:,} parameters" in printed
    assert plan["parameters"] <= 5000 and "unknown without a trial or an accelerator" in printed


def test_minutes_become_steps(text_file):
    timed = tiny(data__files=str(text_file), train__steps=0, train__minutes=5.0, eval__every=50)
    trial = Trial(Costs(compilation=4.0, first=2.0, step=0.1, saving=0.5, validation=3.0, sampling=0.0), None)
    speed = trial_speed(timed, trial)
    assert speed["seconds"] == pytest.approx(300 - 4 - 5 - 3 - 0.5 - 2, abs=5)  # a second compilation, what is tried
    shorter = make_plan(timed, accelerator="H100")
    assert shorter["hours"] == pytest.approx(5 / 60, rel=0.01)
    rate = 32 / sum(shorter["speed"]["parts"].values())
    assert shorter["steps"] * 32 == pytest.approx(300 * rate, rel=0.01)
    shorter |= {"speed": None, "steps": 0}  # as without a trial
    assert "train.minutes=5, steps unknown" in "\n".join(text.lines_of(shorter))


def test_an_accelerator_whose_memory_is_too_small_is_pointed_out(text_file):
    plan = make_plan(tiny(data__files=str(text_file)), accelerator="TPUv5e")
    assert "more than the" not in "\n".join(text.lines_of(plan))
    plan["memory"]["activations"] = 17 * 10**9
    assert "more than the 16.00 GB of one TPUv5e: lower train.batch" in "\n".join(text.lines_of(plan))


@pytest.mark.parametrize(
    "flags, complaint",
    [
        ("--accelerator=H1000", "no accelerator 'H1000' here: the known ones are H100, H200, A100, TPUv5e, TPUv5p"),
        ("--price=-1", "price=-1.0 is impossible: it must be at least 0"),
        ("--price=cheap", "expected a number"),
        ("--link=nan", "link=nan is impossible"),
        ("--trial_seconds=-3", "trial_seconds=-3.0 is impossible"),
        ("--accelerator=H100 --trial_seconds=5", "A trial of 5 s runs here, and accelerator=H100 asks for an estimate"),
        ("--config.model.hiden=3", "no config key model.hiden; did you mean model.hidden"),
        ("--config.model.params=3", "model.params=3 is too small"),
        ("--config.train.minutes=3", "train.steps=30 and train.minutes=3 are both set"),
        ("--workdir=runs/a", "Unknown command line flag 'workdir'"),
    ],
)
def test_a_mistake_is_one_sentence(flags, complaint, text_file, capsys):
    args = ["plan", "--config=tests/tiny.py", f"--config.data.files={text_file}", "--cpu_devices=1", *flags.split()]
    assert main.main(args) == 2
    error = capsys.readouterr().err
    assert complaint in error and len(error.splitlines()) <= 2


def test_without_a_config_it_asks_for_one(capsys):
    assert main.main(["plan"]) == 2
    assert "--config is missing: give a config file" in capsys.readouterr().err


def test_the_command_line_prints_what_python_returns(text_file, capsys):
    args = ["plan", "--config=tests/tiny.py", f"--config.data.files={text_file}", "--cpu_devices=1"]
    assert main.main([*args, "--accelerator=A100", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(api.plan(tiny(data__files=str(text_file)), "A100")))
    assert main.main([*args, "--accelerator=A100"]) == 0
    assert "estimated for one A100" in capsys.readouterr().out


def test_a_training_that_cannot_fit_is_refused_before_the_trial(text_file):
    with pytest.raises(UserError, match="Training needs at least .* of memory on each device"):
        make_plan(tiny(data__files=str(text_file), model__hidden=10**6), trial_seconds=1.0)


@pytest.mark.slow
def test_it_adds_nothing_to_the_cache_of_compiled_programs(text_file, tmp_path):
    flags = ("--config=tests/tiny.py", f"--config.data.files={text_file}", "--trial_seconds=0.1", "--json")
    rnnlm("plan", *flags, env={"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")})
    assert not (tmp_path / "cache").exists() or not any((tmp_path / "cache").iterdir())


@pytest.mark.slow
def test_the_memory_of_a_run_is_near_the_plan(text_file):
    """The time depends on what else the machine does; peaks of two equal runs may differ by a tenth."""
    flags = ["--config=tests/tiny.py", f"--config.data.files={text_file}", "--config.model.hidden=256"]
    flags += ["--config.train.batch=64", "--config.train.steps=60", "--config.eval.every=20"]
    found = benchmark.compare([*flags, "--config.checkpoint.every=20", "--cpu_devices=2"])
    assert 0.75 < found["memory_ratio"] < 1.33, found
    assert 0.1 < found["time_ratio"] < 10, found
    assert "XDG_CACHE_HOME" in os.environ  # so that the run finds no programs but those of tests
