#!/usr/bin/env bash
# Train on a text, evaluate, compress; each step adds its results to results.jsonl. Run it in the project's folder:
#
#   experiments/001_compression/commands.sh warpeace
#   experiments/001_compression/commands.sh enwik8_head --config.data.files=enwik8_head.txt
set -euo pipefail
text=$1 run=runs/$1 here=experiments/001_compression
export PATH=$PWD/.venv/bin:$PATH

keep() { # WHAT: append the lines of JSON from the standard input, with text and what
  sed "s/^{/{\"text\": \"$text\", \"what\": \"$1\", /" >> $here/results.jsonl
}

code() { # FLAGS: compress the test split and verify that it decodes
  rnnlm compress "$run/test" -o "$run/test.rnz" --force --json "$@" | keep compress
}

rnnlm train --config=$here/lstm.py:"$text" --workdir="$run" "${@:2}"
python - "$run" <<'PYTHON' | keep train
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
run, result = (json.loads((folder / name).read_text()) for name in ("run.json", "result.json"))
corpus, (begin, end) = pathlib.Path(run["corpus"]["path"]), run["split"]["bytes"]["test"]
(folder / "test").write_bytes(corpus.read_bytes()[begin:end])
print(json.dumps(result | {"parameters": run["parameters"]}))
PYTHON

for split in valid test; do
  rnnlm eval --workdir="$run" --split=$split --lanes=1 --json | keep static
done
rnnlm eval --workdir="$run" --json | keep static
rnnlm eval --workdir="$run" --protocol=windows --window=512 --stride=256 --json | keep static
rnnlm eval --workdir="$run" --dynamic=rms --tune --json | keep dynamic

for lanes in 1 0 64; do
  code --workdir="$run" --lanes=$lanes
done
for lanes in 1 0; do
  code --workdir="$run" --lanes=$lanes --dynamic
done
code --online --config=configs/online.py

rnnlm baseline --workdir="$run" --json | keep baseline
if [ "$text" = warpeace ]; then # also in char-rnn's order, which the paper seems to have used
  columns=columns_100x100_0.8/0.1/0.1
  rnnlm baseline --corpus=warpeace --split_spec=$columns --json | keep columns
  rnnlm train --config=$here/lstm.py:warpeace --workdir=runs/columns --config.data.split=$columns \
    --config.train.steps=5500 --config.eval.every=5500 --config.checkpoint.every=5500
  rnnlm eval --workdir=runs/columns --lanes=1 --json | keep columns
fi
