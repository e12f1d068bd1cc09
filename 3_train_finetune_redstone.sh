#!/usr/bin/env bash
# Fine-tunes on redstone circuits, a skill that the pretrained weights do not have.
#   needs: bash 2_create_sampling.sh redstone     (episodes in data/dataset_redstone)
#   makes: data/weights/steve1/steve1_redstone.weights
#   usage: bash 3_train_finetune_redstone.sh [flags] (and every variable of 3_train_finetune_template.sh)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export SAMPLING_NAME="${SAMPLING_NAME:-redstone}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_redstone.weights}"

exec bash 3_train_finetune_template.sh "$@"
