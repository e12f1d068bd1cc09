#!/usr/bin/env bash
# Stage 2 of 2: fine-tunes stage 1's weights on houses of one style.
#   needs: stage 1 (3_train_finetune_general_building.sh); bash 2_create_sampling.sh specific_house   (data/dataset_specific_house)
#   makes: data/weights/steve1/steve1_specific_house.weights
#   usage: bash 3_train_finetune_specific_house.sh [flags] (and every variable of 3_train_finetune_template.sh)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export IN_WEIGHTS="${IN_WEIGHTS:-data/weights/steve1/steve1_general_building.weights}"
export SAMPLING_NAME="${SAMPLING_NAME:-specific_house}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_specific_house.weights}"

exec bash 3_train_finetune_template.sh "$@"
