#!/usr/bin/env bash
# Train minGRU, minLSTM and the LSTM on tiny-shakespeare and collect their validations. Run it in the project's folder;
# the corpus is the named one unless data is given, as in --config.data.files=input.txt --config.data.corpus=:
#
#   experiments/006_minimal/commands.sh
set -euo pipefail
export PATH=$PWD/.venv/bin:$PATH PYTHONPATH=$PWD
runs=runs/minimal

for model in mingru minlstm lstm; do # nothing else runs meanwhile
  config=configs/published/minimal_2024.py:$model steps=20
  [ $model = lstm ] && config=configs/tinyshakespeare_half_hour.py steps=200
  rnnlm train --config=$config --workdir=$runs/speed/$model --config.train.steps=$steps --config.log.every=$steps \
    --config.eval.every=0 "$@"
done
for cell in mingru minlstm; do # the published schedule of 5,000 steps, as far as 750 of them
  rnnlm train --config=configs/published/minimal_2024.py:$cell --workdir=$runs/$cell --cpu_devices=1 \
    --config.train.steps=750 --config.optim.steps=5000 --config.eval.every=50 --config.checkpoint.every=50 "$@"
done
rnnlm train --config=configs/tinyshakespeare_half_hour.py --workdir=$runs/lstm \
  --config.eval.every=270 --config.eval.max_symbols=0 "$@"
python experiments/minimal.py collect $runs
python experiments/minimal.py
