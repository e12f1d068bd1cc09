#!/usr/bin/env bash
# Lists the episodes that training and validation will read.
#   needs: a dataset (1_generate_dataset.sh, or episodes put into data/dataset_finetune/)
#   makes: data/samplings/<name>_train.txt, <name>_val.txt, <name>_metadata.json   (seconds)
#   usage: bash 2_create_sampling.sh              finetune_task from data/dataset_finetune
#          bash 2_create_sampling.sh X            X from data/dataset_X
#          bash 2_create_sampling.sh mixed --mix data/dataset_A=0.7 data/dataset_B=0.3     (--help: all options)
set -euo pipefail
cd "$(dirname "$0")"
. tools/python.sh

VAL_FRACTION="${VAL_FRACTION:-0.1}"   # share of the episodes kept for validation
SEED="${SEED:-0}"                     # of the split

exec "$PYTHON" -m steve1.commands.create_sampling --val_fraction "$VAL_FRACTION" --seed "$SEED" "$@"
