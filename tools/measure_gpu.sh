#!/usr/bin/env bash
# Benchmarks a GPU in under eight minutes: training the published 2x network, its memory, cached features, acting.
#   needs: a CUDA device with 8 GB or more, nothing else running on it
#   makes: docs/benchmarks/gpu_<what>.json (or OUT_DIR), each with command, machine, commit and date, and gpu.md (targets, predictions and results)
#   takes: at most BUDGET seconds (460), the most important measurements first; skipped ones are listed at the end
#   usage: bash tools/measure_gpu.sh            BATCH=16 OUT_DIR=/tmp/gpu bash tools/measure_gpu.sh
#          bash tools/measure_gpu.sh --dry_run  tests the same commands on the CPU at the smallest size, output in a temporary folder
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

case "${1:-}" in
  -h|--help) exit 0 ;;
  --dry_run)
    # Nothing is compiled: that takes minutes on a CPU.
    export TORCHDYNAMO_DISABLE=1
    : "${DEVICE:=cpu}" "${MODEL:=tiny}" "${BATCH:=1}" "${WIDE:=2}" "${COMPILED:=1}" "${LIGHT:=1}" "${FULL:=1}" "${FRAMES:=16}" "${ROUNDS:=1}"
    : "${OUT_DIR:=$(mktemp -d)}" "${BUDGET:=3600}" ;;
  "") ;;
  *) said "error: unknown argument: $1 (see --help)" >&2; exit 2 ;;
esac

DEVICE="${DEVICE:-cuda}"
MODEL="${MODEL:-2x}"               # or a .model file
FRAMES="${FRAMES:-64}"             # per window (TRUNC_T)
ROUNDS="${ROUNDS:-5}"              # measured steps of each kind
OUT_DIR="${OUT_DIR:-docs/benchmarks}"
BUDGET="${BUDGET:-460}"            # total seconds
whole_numbers FRAMES ROUNDS BUDGET

# Windows per step: as many as the planner expects to fit this card
SIZES="$("$PYTHON" -m benchmarks.gpu_sizes --device "$DEVICE" --model "$MODEL" --frames "$FRAMES")"
read -r PLAIN_FIT WIDE_FIT COMPILED_FIT LIGHT_FIT FULL_FIT TOGETHER <<<"$SIZES"
BATCH="${BATCH:-$PLAIN_FIT}"           # at most 8
WIDE="${WIDE:-$WIDE_FIT}"              # at most 32
COMPILED="${COMPILED:-$COMPILED_FIT}"  # at most 15
LIGHT="${LIGHT:-$LIGHT_FIT}"           # with --activation_checkpointing light
FULL="${FULL:-$FULL_FIT}"              # with full, and the factored optimizer
whole_numbers BATCH WIDE COMPILED LIGHT FULL
mkdir -p "$OUT_DIR"
FAILED=""

# measure NAME SECONDS WHAT [flags]: stops after SECONDS or at the end of the budget.
measure() {
  local name="$1" most="$2" left=$((BUDGET - SECONDS))
  shift 2
  [ "$most" -lt "$left" ] || most="$left"
  echo "== $name (at $SECONDS s)"
  rm -f "$OUT_DIR/gpu_$name.json"
  if [ "$most" -lt 15 ]; then
    echo "$name: no time left" >&2
  elif timeout "$most" "$PYTHON" -m benchmarks "$@" --model "$MODEL" --device "$DEVICE" --output "$OUT_DIR/gpu_$name.json"; then
    return
  else
    echo "$name: not measured (an error above, or more than $most s)" >&2
  fi
  FAILED="$FAILED $name"
}

train() {
  local name="$1" most="$2" batch="$3"
  shift 3
  if [ "$batch" -eq 0 ]; then
    echo "== $name: not one window is expected to fit this card"
    return
  fi
  measure "$name" "$most" train --batch "$batch" --steps "$FRAMES" --accumulation 1 --rounds "$ROUNDS" "$@"
}

[ "$DEVICE" = cpu ] && LIMIT=3600 || LIMIT=0   # no time limits in a dry run
most() { if [ "$LIMIT" -gt "$1" ]; then echo "$LIMIT"; else echo "$1"; fi; }

train train "$(most 75)" "$BATCH" --full_only
measure acting "$(most 75)" acting
train train_light "$(most 60)" "$LIGHT" --full_only --activation_checkpointing light
train train_compiled "$(most 150)" "$COMPILED" --full_only --compile
[ "$WIDE" = "$BATCH" ] || train train_wide "$(most 60)" "$WIDE" --full_only
train train_full "$(most 60)" "$FULL" --full_only --activation_checkpointing full --optimizer factored
if [ "$TOGETHER" = both ]; then
  train train_cached "$(most 60)" 8
else
  train train_cached "$(most 60)" 8 --cached_only
fi

"$PYTHON" -m benchmarks.gpu_table "$OUT_DIR"
if [ -n "$FAILED" ]; then
  echo "not measured:$FAILED" >&2
  exit 1
fi
