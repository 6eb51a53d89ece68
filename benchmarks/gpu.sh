#!/usr/bin/env bash
# Measure rnnlm on a machine with one NVIDIA GPU (JAX 0.11 on Python 3.12), in under ten minutes:
#
#   benchmarks/gpu.sh [--out=DIR] [--cpu] [PART ...]
#
# The parts, each under four minutes, are machine (what it is and lacks), contest (speed beside flax and PyTorch with
# cuDNN), quickstart (the run of configs/quickstart.py from end to end), resume (does a killed run end bit for bit as an
# uninterrupted one, and with which flags), memory (of a long window, whole and in chunks), profile (time by kernel, with
# the best flag on record), train (a large model for half a minute), plan (what `rnnlm plan` says of it), sample and
# flags (XLA's, one by one). Each part appends lines of JSON to DIR/gpu.jsonl, from which DIR/gpu.md is made after each
# part, so that results remain if time runs out. DIR is benchmarks/results by default. PYTHON names the interpreter
# (default .venv/bin/python, else python3), COMMIT the commit if there is no git, BUDGET the seconds of all parts
# together (default 575). --cpu tries the script itself on the CPU, with tiny models.
set -u
out=benchmarks/results parts=() options=()
for word in "$@"; do
  case $word in
    --out=?*) out=$(realpath -m "${word#--out=}") ;;
    --cpu) options+=("$word") ;;
    machine | contest | quickstart | resume | memory | profile | train | plan | sample | flags) parts+=("$word") ;;
    *)
      sed -n '2,13s/^# \{0,1\}//p' "$0"
      case $word in -h | --help) exit 0 ;; esac
      echo "$word is no part and no option: see above." >&2
      exit 2
      ;;
  esac
done
cd "$(dirname "$0")/.." || exit 2
[ ${#parts[@]} -gt 0 ] || parts=(machine contest quickstart resume memory profile train plan sample flags)
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
if ! command -v "$python" >/dev/null; then
  echo "There is no $python here: name an interpreter in PYTHON." >&2
  exit 2
fi
run=("$python" benchmarks/gpu.py --out="$out" ${options[@]+"${options[@]}"})

# A part runs in its own process group, so pass a signal to this script on to it.
child=
trap 'kill -TERM "$child" 2>/dev/null; echo "Stopped; the results so far remain."; exit 130' INT TERM

budget=${BUDGET:-575} # seconds, of all parts together
declare -A limits=([machine]=60 [contest]=150 [quickstart]=80 [resume]=80 [memory]=60 [profile]=60 [train]=60 [plan]=50
  [sample]=50 [flags]=60)
for i in "${!parts[@]}"; do
  part=${parts[i]} later=0
  for other in "${parts[@]:i+1}"; do later=$((later + limits[$other])); done
  left=$((budget - SECONDS))
  limit=$((left - later > limits[$part] ? left - later : limits[$part])) # with the time that earlier parts left over
  limit=$((limit < left ? limit : left))
  limit=$((limit < 225 ? limit : 225))
  if [ "$limit" -lt 10 ]; then
    echo "No time is left for $part."
    continue
  fi
  echo "--- $part, at most $limit s"
  timeout --kill-after=5 "$limit" "${run[@]}" "$part" &
  child=$!
  wait "$child"
  code=$?
  case $code in
    0) ;;
    2) exit 2 ;;
    124 | 137) echo "$part was cut off after $limit s; its results so far remain." ;;
    *) echo "$part ended with code $code; its results so far remain." ;;
  esac
  "${run[@]}" table
done
[ ! -f "$out/gpu.md" ] || cat "$out/gpu.md"
