#!/usr/bin/env bash
# Fine-tunes low-rank updates (LoRA) of the transformer and the heads: needs little memory.
#   needs: a sampling (2_create_sampling.sh)
#   makes: data/weights/steve1/steve1_lora.weights (LoRA merged) and steve1_lora.lora.safetensors (LoRA alone)
#   usage: LORA_RANK=32 bash 3_train_finetune_lora.sh [flags] (and every variable of 3_train_finetune_template.sh)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

LORA_RANK="${LORA_RANK:-16}"
LORA_TARGETS="${LORA_TARGETS:-attention,mlp,action_heads}"    # also: goal, lastlayer
export FINETUNE_MODE=lora
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_lora.weights}"
export LEARNING_RATE="${LEARNING_RATE:-1e-4}"          # ten times the rate of full training

exec bash 3_train_finetune_template.sh --lora_rank "$LORA_RANK" --lora_targets "$LORA_TARGETS" "$@"
