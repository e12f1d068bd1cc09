#!/usr/bin/env bash
# Trains STEVE-1 from VPT's weights, with the published hyper-parameters.
#   needs: VPT's weights (0_download_weights.sh), a sampling of contractor episodes (2_create_sampling.sh contractor)
#   makes: data/weights/steve1/steve1_pretrained.weights
#   takes: days on one GPU; every variable of 3_train_finetune_template.sh may be set in front of the command
#   usage: bash 3_train.sh [flags]                              (--help: all of them)
# The published rate is 4e-5; 1e-4, which is sometimes quoted, is not what the weights were made with.
set -euo pipefail
cd "$(dirname "$0")"

export IN_WEIGHTS="${IN_WEIGHTS:-data/weights/vpt/rl-from-foundation-2x.weights}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_pretrained.weights}"
export SAMPLING_NAME="${SAMPLING_NAME:-contractor}"
export BATCH_SIZE="${BATCH_SIZE:-12}"
export LEARNING_RATE="${LEARNING_RATE:-4e-5}"
export TOTAL_FRAMES="${TOTAL_FRAMES:-100000000}"
export WARMUP_FRAMES="${WARMUP_FRAMES:-10000000}"
export WEIGHT_DECAY="${WEIGHT_DECAY:-0.039428}"
export T="${T:-640}"
export TRUNC_T="${TRUNC_T:-64}"
export MAX_BTWN_GOALS="${MAX_BTWN_GOALS:-200}"

exec bash 3_train_finetune_template.sh --from_vpt "$@"
