#!/usr/bin/env bash
# Writes the lists of episodes for training and validation.
#   needs: a dataset (1_generate_dataset.sh, or your episodes in data/dataset_finetune/)
#   makes: data/samplings/<name>_train.txt, <name>_val.txt, <name>_metadata.json   (seconds)
#   usage: bash 2_create_sampling.sh              finetune_task from data/dataset_finetune
#          bash 2_create_sampling.sh X            X from data/dataset_X
#          bash 2_create_sampling.sh X --by_time    splits one long recording by time
#          bash 2_create_sampling.sh mixed --mix data/dataset_A=0.7 data/dataset_B=0.3     (--help: all options)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

VAL_FRACTION="${VAL_FRACTION:-0.1}"   # share of each folder's episodes for validation: at least one, at most a fifth of all
VAL_LIST="${VAL_LIST:-}"              # or a fixed list of validation episodes
TRAIN_FRAMES="${TRAIN_FRAMES:-0}"     # frames to train on (whole episodes); 0: all
VAL_FRAMES="${VAL_FRAMES:-0}"         # frames to validate on, instead of VAL_FRACTION
SEED="${SEED:-0}"                     # seed of the split

exec "$PYTHON" -m steve1 create_sampling --val_fraction "$VAL_FRACTION" --val_list "$VAL_LIST" \
  --train_frames "$TRAIN_FRAMES" --val_frames "$VAL_FRAMES" --seed "$SEED" "$@"
