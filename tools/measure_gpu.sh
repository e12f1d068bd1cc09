#!/usr/bin/env bash
# Measures everything that matters on a GPU, in under eight minutes: training at the published 2x sizes, on cached features, memory, acting.
#   needs: a CUDA device with 24 GB or more (less: BATCH=2), nothing else running on it
#   makes: docs/benchmarks/gpu_<what>.json (or OUT_DIR), each with command, machine, commit and date
#   usage: bash tools/measure_gpu.sh            BATCH=16 OUT_DIR=/tmp/gpu bash tools/measure_gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/python.sh

OUT_DIR="${OUT_DIR:-docs/benchmarks}"
BATCH="${BATCH:-8}"                # windows of 64 frames in a step
MODEL="${MODEL:-2x}"               # or a .model file
DEVICE="${DEVICE:-cuda}"
SECONDS_EACH="${SECONDS_EACH:-110}" # a measurement that takes longer is given up, and said so

mkdir -p "$OUT_DIR"

measure() {
  local name="$1"
  shift
  echo "== $name"
  if ! timeout "$SECONDS_EACH" "$PYTHON" -m steve1.commands.bench "$@" --device "$DEVICE" --output "$OUT_DIR/gpu_$name.json"; then
    echo "$name: not measured (an error above, or more than $SECONDS_EACH s)" >&2
    FAILED="$FAILED $name"
  fi
}

FAILED=""
measure train train --model "$MODEL" --batch "$BATCH" --accumulation 1 --rounds 5
measure train_compiled train --model "$MODEL" --batch "$BATCH" --accumulation 1 --rounds 5 --compile
measure train_recompute train --model "$MODEL" --batch "$BATCH" --accumulation 1 --rounds 5 --recompute_cnn --optimizer factored
measure acting acting --model "$MODEL"

if [ -n "$FAILED" ]; then
  echo "not measured:$FAILED" >&2
  exit 1
fi
