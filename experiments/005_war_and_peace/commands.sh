#!/usr/bin/env bash
# Train on War and Peace and evaluate; each evaluation adds a line to results.jsonl. Run it in the project's folder:
#
#   experiments/005_war_and_peace/commands.sh
set -euo pipefail
here=experiments/005_war_and_peace run=runs/war_and_peace
export PATH=$PWD/.venv/bin:$PATH

keep() { # WHAT: append the line of JSON from the standard input, with what it is
  sed "s/^{/{\"what\": \"$1\", /" >> $here/results.jsonl
}

rnnlm train --config=$here/network.py --workdir=$run "$@"
python - $run <<'PYTHON' | keep train
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
run, result = (json.loads((folder / name).read_text()) for name in ("run.json", "result.json"))
print(json.dumps(result | {"parameters": run["parameters"]}))
PYTHON
for split in valid test; do
  rnnlm eval --workdir=$run --split=$split --protocol=streams --lanes=100 --json | keep columns
  rnnlm eval --workdir=$run --split=$split --lanes=1 --json | keep exact
done
rnnlm eval --workdir=$run --protocol=streams --lanes=100 --temperature=tune --json | keep tempered
rnnlm eval --workdir=$run --dynamic=rms --tune --json | keep dynamic
