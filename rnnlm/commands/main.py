"""Run `rnnlm VERB ...`: find the verb's command, and report what went wrong in one sentence."""

import importlib
import os
import re
import sys
from collections.abc import Callable

from rnnlm.errors import UserError
from rnnlm.runtime import peers, signals

USAGE = """rnnlm: recurrent language models in JAX/Flax

  rnnlm train --config=configs/X.py --workdir=DIR [--config.model.hidden=512 ...]
      train a model; without --config continue the run that DIR holds
  rnnlm plan --config=configs/X.py [--accelerator=H100] [--price=P]
      parameters, FLOPs, memory, time and cost of a training before it begins
  rnnlm eval --workdir=DIR --split=test [--json]
      bits per character on a split of the text
  rnnlm sample --workdir=DIR --prompt=TEXT --length=N --temperature=T --seed=S
      text, shown as it is drawn; --records=N [--novel]: whole records
  rnnlm horizon DIR DIR ... [--plot=out.png]
      bits per character where the context is cut to the last k symbols
  rnnlm trace --workdir=DIR -o OUT.npz [--split=valid | --file=F]
      states, gates and logits while the model reads a text, as arrays
  rnnlm compress FILE --workdir=DIR -o OUT.rnz
      compress a file with the model; with --online no trained model is needed
  rnnlm decompress OUT.rnz --workdir=DIR -o FILE
      restore the file
  rnnlm baseline --workdir=DIR --split=test [--order=N]
      n-grams and general compressors on the same symbols
  rnnlm compare DIR DIR ... [--format=md] [--plot=out.png]
      runs by bits per character, with 95 % intervals
  rnnlm status DIR DIR ... [--json]
      how far runs are, and whether their processes live
  rnnlm published [--json]
      configs of published models: scores and parameters there and here
  rnnlm data [NAME | PATH | --clean]
      list the corpora, describe one or files of your own, or clean the cache

rnnlm VERB --help lists the flags of a verb, `python configs/base.py` prints
every config key, and rnnlm --version the version."""

VERBS = {
    "train": "train.main",
    "plan": "plan.main",
    "eval": "evaluate.main",
    "sample": "sample.main",
    "horizon": "horizon.main",
    "trace": "trace.main",
    "compress": "compress.main",
    "decompress": "compress.decompress",
    "baseline": "baseline.main",
    "compare": "compare.main",
    "status": "status.main",
    "published": "published.main",
    "data": "data.main",
}
"""Each verb's module in commands/, and its function there."""

INTERRUPTED = {"train": " before training began: no run folder was made or changed"}
"""What is said besides of a verb that Ctrl-C ends; from its first file on, training saves and says so itself."""

SMALLER = {
    "train": "train with a lower model.hidden, train.batch or train.window, in a new folder; train.accumulate and "
    "train.remat save memory, too",
    "plan": "plan with a lower model.hidden, train.batch or train.window, or without a trial (--trial_seconds=0)",
    "eval": "read fewer --lanes, or use fewer --cpu_devices",
    "sample": "draw fewer at once (--num)",
    "compress": "code fewer --lanes",
    "decompress": "decode it where there is more",
    "baseline": "lower --order",
}
"""What takes less memory, by verb."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line: -> its exit code, 2 for bad input, 75 where another process of the run was lost."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(USAGE)
        return 0 if argv else 2
    if argv[0] in ("--version", "version"):
        import rnnlm

        print(f"rnnlm {rnnlm.__version__}")
        return 0
    with signals.interruptible(interrupted_message(argv[0])):
        peers.exit_code = run_verb(*argv)
        return peers.exit_code


def run_verb(name: str, *argv: str) -> int:
    """Run a verb: -> its exit code, where what went wrong is reported in one sentence."""
    try:
        from rnnlm.runtime.quiet import begin_silence

        begin_silence()
        if name not in VERBS:
            raise UserError(f"There is no verb {name!r}: use one of {', '.join(VERBS)}, or rnnlm --help.")
        code = find_verb(name)(list(argv))
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"rnnlm: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Where it is known whether reading or writing failed, a UserError says so: see rnnlm/files.py.
        what = error.filename or "The input or output"
        print(f"rnnlm: {what} could not be read or written: {error.strerror or error}.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or signals.interrupted:
            signals.end_interrupt()
            sys.stderr.write(interrupted_message(name))
            return signals.EXIT_CODE
        if is_out_of_memory(error):
            print(f"rnnlm: {describe_out_of_memory(name, error)}", file=sys.stderr)
            return 2
        raise


def interrupted_message(name: str) -> str:
    """Return the line that a verb prints where Ctrl-C ends it."""
    return f"rnnlm: interrupted{INTERRUPTED.get(name, '')}\n"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, numpy or jax says that memory is used up."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def describe_out_of_memory(verb: str, error: BaseException) -> str:
    """Say that memory is used up, how much more was asked for where the error tells, and what takes less."""
    requested = re.search(r"(\d+) bytes", str(error))
    size = f" ({int(requested[1]) / 1e9:,.1f} GB more were asked for)" if requested else ""
    return f"The memory is used up{size}: {SMALLER.get(verb, 'use a machine with more')}."


def find_verb(name: str) -> Callable[[list[str]], int]:
    """Import the function that runs a verb."""
    module, _, function = VERBS[name].partition(".")
    run: Callable[[list[str]], int] = getattr(importlib.import_module(f"rnnlm.commands.{module}"), function)
    return run


if __name__ == "__main__":
    sys.exit(main())
