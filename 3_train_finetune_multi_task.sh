#!/usr/bin/env bash
# Fine-tunes on several tasks at once: 40 % chopping trees, 40 % building, 20 % mining.
#   needs: a sampling with shares:
#          bash 2_create_sampling.sh multi_task --mix data/dataset_choptree=0.4 data/dataset_building=0.4 data/dataset_mining=0.2
#   makes: data/weights/steve1/steve1_multi_task.weights
#   usage: bash 3_train_finetune_multi_task.sh [flags] (and every variable of 3_train_finetune_template.sh)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export SAMPLING_NAME="${SAMPLING_NAME:-multi_task}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_multi_task.weights}"

exec bash 3_train_finetune_template.sh "$@"
