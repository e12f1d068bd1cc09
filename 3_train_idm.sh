#!/usr/bin/env bash
# Trains an inverse dynamics model: it says what was pressed in a video, so that videos without actions can be used (SOURCE=videos).
#   needs: a sampling of episodes that keep their null frames:
#            NULLS=keep SOURCE=folder RECORDINGS_DIR=… OUTPUT_DIR=data/dataset_idm bash 1_generate_dataset.sh --no_embed
#            bash 2_create_sampling.sh idm
#   makes: OUT_WEIGHTS, its .model and .json files, and a report with curves in data/finetuning_checkpoint/<name of OUT_WEIGHTS>/
#   usage: bash 3_train_idm.sh [further flags]            (--help: all options)
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

SAMPLING_NAME="${SAMPLING_NAME:-idm}"
OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/idm/my_idm.weights}"
IN_MODEL="${IN_MODEL:-}"                 # empty: a small network for little data; data/weights/idm/4x_idm.model: the published one
IN_WEIGHTS="${IN_WEIGHTS:-}"             # empty: train from scratch

TOTAL_FRAMES="${TOTAL_FRAMES:-400000}"   # repeats included
BATCH_SIZE="${BATCH_SIZE:-8}"            # windows per step
LEARNING_RATE="${LEARNING_RATE:-1e-3}"
VAL_FREQ="${VAL_FREQ:-300}"              # steps between validations
SEED="${SEED:-0}"
CHECKPOINT_DIR="${CHECKPOINT_DIR:-data/finetuning_checkpoint}"   # the run's folder is made in it
NUM_WORKERS="${NUM_WORKERS:-1}"          # processes that load windows; 0: load in the training process

exec "$PYTHON" -m steve1 train_idm \
  --sampling_name "$SAMPLING_NAME" --out_weights "$OUT_WEIGHTS" --in_model "$IN_MODEL" --in_weights "$IN_WEIGHTS" \
  --total_frames "$TOTAL_FRAMES" --batch_size "$BATCH_SIZE" --learning_rate "$LEARNING_RATE" --val_freq "$VAL_FREQ" --seed "$SEED" \
  --num_workers "$NUM_WORKERS" --checkpoint_dir "$CHECKPOINT_DIR" "$@"
