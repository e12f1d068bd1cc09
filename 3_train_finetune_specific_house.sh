#!/usr/bin/env bash
# Step by step, stage 2: continues from stage 1's weights with houses of one style.
#   needs: 3_train_finetune_general_building.sh done; bash 2_create_sampling.sh specific_house   (data/dataset_specific_house)
#   makes: data/weights/steve1/steve1_specific_house.weights
#   usage: bash 3_train_finetune_specific_house.sh [flags]; every variable of 3_train_finetune_template.sh may be set in front
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")"

export IN_WEIGHTS="${IN_WEIGHTS:-data/weights/steve1/steve1_general_building.weights}"
export SAMPLING_NAME="${SAMPLING_NAME:-specific_house}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_specific_house.weights}"

exec bash 3_train_finetune_template.sh "$@"
