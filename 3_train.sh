#!/usr/bin/env bash
# Trains STEVE-1 from VPT's weights, with the published hyper-parameters.
#   needs: VPT's weights (0_download_weights.sh), a sampling of contractor episodes (2_create_sampling.sh contractor)
#   makes: data/weights/steve1/steve1_pretrained.weights
#   takes: days on one GPU. Takes every variable of 3_train_finetune_template.sh
#   usage: bash 3_train.sh [flags]                              (--help: all of them)
# The published learning rate is 4e-5; the 1e-4 that is sometimes quoted was not used for the published weights.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export IN_WEIGHTS="${IN_WEIGHTS:-data/weights/vpt/rl-from-foundation-2x.weights}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_pretrained.weights}"
export SAMPLING_NAME="${SAMPLING_NAME:-contractor}"
export PRESET="${PRESET:-} pretrain"                   # batch 12, T 640, rate 4e-5, 100 M frames …: tools/presets.sh

exec bash 3_train_finetune_template.sh --from_vpt "$@"
