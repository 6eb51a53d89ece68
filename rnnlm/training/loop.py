"""Run the training loop: steps, and between them samples, evaluations and checkpoints."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import jax

from rnnlm.config import Config
from rnnlm.data.splits import Dataset
from rnnlm.data.vocabulary import to_bytes
from rnnlm.data.windows import TrainWindows
from rnnlm.errors import UserError, WriteError
from rnnlm.evaluation.evaluator import Evaluator
from rnnlm.evaluation.protocol import EvalProtocol
from rnnlm.evaluation.tally import Tally
from rnnlm.files import make_folder, writing
from rnnlm.generation.sampler import Sampler, SamplingOptions, join_text
from rnnlm.generation.stepper import Stepper
from rnnlm.nn import size
from rnnlm.runs import checkpoint, layout
from rnnlm.runs.checkpoint import Checkpoints
from rnnlm.runs.layout import Row
from rnnlm.runs.logger import RunLogger
from rnnlm.runs.metrics import read_rows
from rnnlm.runtime import parallel
from rnnlm.runtime.console import Console
from rnnlm.training import optim, plateau
from rnnlm.training.divergence import DivergenceWatch
from rnnlm.training.gap import explain_gap
from rnnlm.training.state import TrainState
from rnnlm.training.step import Metrics, Window, state_to_host, train_step


class Trainer:
    """Train one run in its folder."""

    def __init__(
        self, config: Config, workdir: Path, dataset: Dataset, console: Console, on_row: Callable[[Row], None] | None
    ):
        self.config, self.workdir, self.dataset, self.console = config, workdir, dataset, console
        self.on_row = on_row if parallel.is_main() else None
        vocabulary, c = dataset.text.vocabulary, config.train
        self.windows = TrainWindows(dataset.slice("train"), c.batch, c.window, c.drop_state, config.seed)
        self.lanes = parallel.local_lanes(config.train.batch)
        if "valid" not in dataset.splits and config.optim.decides_by_validations:
            raise UserError(
                "optim.schedule=plateau and optim.average decide by validations, but there is no validation split with "
                f"data.split={config.data.split}: give it a share, or choose another schedule and optim.average=none."
            )
        self.rate = optim.make_schedule(config.optim, config.train.steps, self.windows.steps_per_epoch)
        self.optimizer = optim.make_optimizer(config.optim, self.rate, config.train.freeze)
        self.step = train_step(config, len(vocabulary), self.optimizer)
        self.evaluator = Evaluator(config.model, len(vocabulary))
        self.sampler = Sampler(Stepper(config.model, len(vocabulary), separator=vocabulary.separator))
        self.watch = DivergenceWatch(len(vocabulary), config.optim.warmup)
        self.folder = layout.RunDir(workdir).checkpoints
        self.prompt = vocabulary.prompt(config.sample.prompt)
        self.run_info = {
            "parameters": size.count_params(config.model, len(vocabulary)),
            "symbols_per_step": config.train.batch * config.train.window,
        }
        self.checkpoints: Checkpoints | None = None  # only the main process writes them
        self.failure: WriteError | None = None

    def with_steps(self, steps: int) -> "Trainer":
        """Return the trainer of a run of so many steps, which compiles no evaluation and no sampling again."""
        config = replace(self.config, train=replace(self.config.train, steps=steps))
        trainer = Trainer(config, self.workdir, self.dataset, self.console, self.on_row)
        trainer.evaluator, trainer.sampler = self.evaluator, self.sampler
        return trainer

    def describe(self) -> str:
        """Say what is trained on what, in one line."""
        text, info = self.dataset.text, self.run_info
        return (
            f"{self.dataset.corpus.name}: {len(text):,} symbols of {len(text.vocabulary)} kinds; "
            f"{info['parameters']:,} parameters; {info['symbols_per_step']:,} symbols a step on "
            f"{parallel.describe_devices()}; {self.windows.steps_per_epoch:,.0f} steps read the training split once"
        )

    def run(self, first: int, state: TrainState, stop: Callable[[], bool], save_first: bool = False) -> Row | None:
        """Train from step `first` to the last: -> the result, or None if `stop` ended it with the state saved.

        With `save_first` the state is also saved as it is.
        """
        self.clock = (first, time.perf_counter())
        with contextlib.ExitStack() as stack:
            with parallel.sync_errors():
                self.logger = RunLogger(self.workdir, first, parallel.is_main())
                stack.callback(self.logger.close)
                if parallel.is_main():
                    with writing(self.folder):
                        make_folder(self.folder)
                    self.checkpoints = Checkpoints(self.folder, self.config.checkpoint.keep, self.logger.scores)
                    stack.callback(self.checkpoints.close)
            parallel.refuse_difference(self.workdir, "metrics", self.logger.scores)
            if save_first:
                self.save(first, state)
            stack.callback(self.console.done)
            finished = self.loop(first, state, stop)
            with parallel.sync_errors():
                self.raise_failure()
                if self.checkpoints:
                    self.checkpoints.wait()
                return self.result(max(first, self.config.train.steps)) if finished else None

    def loop(self, first: int, state: TrainState, stop: Callable[[], bool]) -> bool:
        """Train steps first + 1 to the last; return False if `stop` ended it early.

        The metrics of a step are read while the next step runs.
        """
        steps = self.config.train.steps
        self.decisions = plateau.decide(self.config.optim, self.logger.scores)
        if first and not self.run_periodic_actions(first, state, stop, saved=True):
            return False
        pending: tuple[int, Metrics] | None = None
        batch = self.batch(first)
        for step in range(first + 1, steps + 1):
            state, metrics = self.step(state, *batch, decisions=self.decisions)
            if step == first + 1:  # compilation does not count in the speed
                self.clock = (first, time.perf_counter())
            if pending:
                self.log(*pending)
            pending = (step, metrics)
            batch = self.batch(step)
            stopping = self.stopping(step, stop)
            if stopping or self.has_periodic_action(step):
                self.log(*pending)
                pending = None
                if not self.run_periodic_actions(step, state, stop, stopping):
                    return False
        return True

    def batch(self, step: int) -> Window:
        """Read this process's lanes of the window after a step, and put them on the devices."""
        window = self.windows.window(step, self.lanes)
        return parallel.shard((window.x, window.y, window.reset))

    def stopping(self, step: int, stop: Callable[[], bool]) -> bool:
        """Return whether to stop; several processes agree on it only every `log.every` steps."""
        if parallel.processes() == 1:
            return stop()
        if step % self.config.log.every:
            return False
        failed, stopping = parallel.any_process_of([self.failure is not None, stop()])
        if failed:
            with parallel.sync_errors():
                self.raise_failure()
        return stopping

    def write(self, act: Callable[[], None]) -> None:
        """Run a write to the log; a failure of several processes is stored until all of them can end."""
        try:
            act()
        except WriteError as error:
            if parallel.processes() == 1:
                raise
            self.failure = error

    def raise_failure(self) -> None:
        """Raise the failure that `write` stored, if there is one."""
        if self.failure:
            raise self.failure

    def is_due(self, every: int, step: int) -> bool:
        """Return whether an action is due: every `every` steps, and at the last step."""
        return every > 0 and (step % every == 0 or step == self.config.train.steps)

    def has_periodic_action(self, step: int) -> bool:
        """Return whether a sample, a validation or a checkpoint is due at this step."""
        c = self.config
        return any(self.is_due(every, step) for every in (c.eval.every, c.sample.every, c.checkpoint.every))

    def run_periodic_actions(
        self, step: int, state: TrainState, stop: Callable[[], bool], stopping: bool = False, saved: bool = False
    ) -> bool:
        """Sample, validate and save if it is due; return whether to go on.

        A sample or validation that is logged already is not repeated, so that a resumed run ends as an uninterrupted
        one.
        """
        c, best_step = self.config, self.best_step()
        if not stopping and self.is_due(c.sample.every, step) and not self.logger.folder.sample(step).exists():
            self.sample(step, state)
        scored = "valid" not in self.dataset.splits or step in self.logger.scores
        if not stopping and self.is_due(c.eval.every, step) and not scored:
            stopping = not self.validate(step, state, stop)
        improved = self.best_step() != best_step
        if not saved and (stopping or improved or self.is_due(c.checkpoint.every, step)):
            self.save(step, state)
        if stopping:
            self.console.done()
            self.console.say(f"stopped at step {step}; the same command goes on from there")
        self.clock = (step, time.perf_counter())
        return not stopping

    def save(self, step: int, state: TrainState) -> None:
        """Save a checkpoint, which is written while the training goes on."""
        host_state = state_to_host(self.config.model, state)
        with parallel.sync_errors():
            self.raise_failure()
            self.logger.flush()
            if self.checkpoints:
                self.checkpoints.save(step, host_state)

    def best_step(self) -> int | None:
        """Return the step of the best validation so far."""
        return checkpoint.best_of(list(self.logger.scores), self.logger.scores)

    def log(self, step: int, metrics: Metrics) -> None:
        """Log the metrics of a step. Raises UserError if one of them is not finite."""
        loss, grad_norm, param_norm = (float(x) for x in jax.device_get(metrics))
        if not all(math.isfinite(x) for x in (loss, grad_norm, param_norm)):
            self.fail_diverged(
                f"The loss at step {step} is {loss}, the gradient norm {grad_norm} and the norm of the params "
                f"{param_norm}"
            )
        bpc = Tally(loss, 1).bpc
        if (warning := self.watch.read(step, bpc)) and parallel.is_main():
            self.console.warn(warning)
        clock = time.perf_counter()
        self.console.progress(step, self.config.train.steps, bpc, self.speed(step, clock))
        if step % self.config.log.every == 0 or step == self.config.train.steps:
            row = {
                "step": step,
                "epoch": step / self.windows.steps_per_epoch,
                "loss": loss,
                "bpc": bpc,
                "grad_norm": grad_norm,
                "param_norm": param_norm,
                "learning_rate": float(self.rate(step - 1)) * float(self.decisions.rate),
                "symbols_per_second": self.speed(step, clock),
                "seconds": self.logger.seconds_at(clock),
            }
            self.write_row(row)

    def write_row(self, row: Row) -> None:
        """Log a row, and pass it to `on_row`."""
        self.write(lambda: self.logger.write_row(row))
        if self.on_row:
            self.on_row(row)

    def fail_diverged(self, finding: str) -> NoReturn:
        """Raise the UserError of a diverged run, after the checkpoint in progress is saved."""
        if self.checkpoints:
            self.checkpoints.wait()
        raise UserError(
            f"{finding}: the run has diverged. {checkpoint.last_good(self.folder)} Train in a new folder with a lower "
            f"optim.learning_rate or {'a lower' if self.config.optim.clip_norm else 'an'} optim.clip_norm."
        )

    def validate(self, step: int, state: TrainState, stop: Callable[[], bool]) -> bool:
        """Score the validation split and log it; return False if `stop` ended it early.

        Raises UserError if the cost is not finite, since NaN cannot be ranked against other scores.
        """
        protocol, subrange = EvalProtocol.of_run(self.config), (0, self.config.eval.max_symbols)
        score = self.evaluator(state.eval_params, self.dataset.slice("valid"), protocol, subrange, stop)
        if score is None:
            return False
        if not math.isfinite(score.tally.nats):
            self.fail_diverged(f"The validation cost at step {step} is {score.tally.bpc} bpc")
        values = {f"valid_{name}": value for name, value in score.as_dict().items() if name != "split"}
        epoch = step / self.windows.steps_per_epoch
        row = {"step": step, "epoch": epoch, **values, "seconds": self.logger.seconds_at(time.perf_counter())}
        self.write_row(row)
        self.decisions = plateau.decide(self.config.optim, self.logger.scores)
        count = f"{score.tally.count:,} symbols"
        self.console.say(f"step {step}  epoch {epoch:.2f}  valid {score.tally.bpc:.4f} bpc ({count}, {score.sentence})")
        return True

    def sample(self, step: int, state: TrainState) -> None:
        """Draw a sample at each temperature of the config, and log it."""
        if not parallel.is_main():
            return
        c, vocabulary = self.config.sample, self.dataset.text.vocabulary
        params, texts = self.sampler.stepper.inference_params(parallel.to_numpy(state.eval_params)), {}
        for temperature in c.temperatures:
            chunks = self.sampler.chunks(params, self.prompt, c.length, SamplingOptions(temperature, self.config.seed))
            pieces = (vocabulary.decode(ids) for (ids,) in chunks)
            texts[temperature] = join_text([to_bytes(c.prompt), *pieces])
        self.write(lambda: self.logger.sample(step, texts))

    def result(self, step: int) -> Row:
        """Return the result of the run at its last step, and write it to result.json."""
        scores, best_step = self.logger.scores, self.best_step()
        validation = self.logger.validations[-1] if step in scores else {}
        result = {
            "step": step,
            "epoch": step / self.windows.steps_per_epoch,
            "symbols": step * self.run_info["symbols_per_step"],
            "parameters": self.run_info["parameters"],
            "seconds": self.logger.seconds_of(step),
            "valid_bpc": scores.get(step),
            "valid_count": validation.get("valid_count"),
            "valid_protocol": validation.get("valid_protocol"),
            "best_step": best_step,
            "best_valid_bpc": None if best_step is None else scores[best_step],
            "warning": self.watch.verdict(step, self.logger.train_bpc, scores.get(step)),
        }
        self.logger.finish(self.config.as_dict(), result)
        if parallel.is_main():
            self.point_out_gap(step)
        return result

    def point_out_gap(self, step: int) -> None:
        """Warn where the validation split is likely another kind of text than the training split."""
        rows, _ = read_rows(layout.RunDir(self.workdir).metrics, step)
        files = len(self.dataset.corpus.file_ends)
        explanation = explain_gap(self.config.data, files, rows, self.run_info["symbols_per_step"])
        if explanation:
            self.console.warn(explanation)

    def speed(self, step: int, clock: float) -> float:
        """Return symbols per second since `self.clock` was set; `clock` is a reading of time.perf_counter()."""
        first, start = self.clock
        return (step - first) * self.run_info["symbols_per_step"] / max(1e-9, clock - start)
