#!/usr/bin/env bash
# Fine-tunes on 70 % new and 30 % old data, to keep old skills.
#   needs: a sampling with shares:
#          bash 2_create_sampling.sh mixed --mix data/dataset_buildhouse=0.7 data/dataset_contractor=0.3
#   makes: data/weights/steve1/steve1_mixed.weights
#   usage: bash 3_train_finetune_mixed.sh [flags] (and every variable of 3_train_finetune_template.sh)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export SAMPLING_NAME="${SAMPLING_NAME:-mixed}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_mixed.weights}"
export LEARNING_RATE="${LEARNING_RATE:-5e-6}"       # lower than for a single task
export TOTAL_FRAMES="${TOTAL_FRAMES:-20000000}"     # and longer

exec bash 3_train_finetune_template.sh "$@"
