#!/usr/bin/env bash
# Fine-tunes on one prompt: every frame gets the goal of FIXED_PROMPT. The policy then does this task whatever the prompt.
#   needs: a sampling of that task's episodes (no embeddings needed); MineCLIP and the prior of the starting weights
#   makes: data/weights/steve1/steve1_fixed_prompt.weights
#   usage: FIXED_PROMPT="build a wooden house" bash 3_train_finetune_fixed_prompt.sh [flags]
#          (and every variable of 3_train_finetune_template.sh)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

FIXED_PROMPT="${FIXED_PROMPT:-build a wooden house}"
FIXED_PROMPT_BY="${FIXED_PROMPT_BY:-prior}"            # or text: MineCLIP's text embedding itself
export SAMPLING_NAME="${SAMPLING_NAME:-finetune_task}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_fixed_prompt.weights}"

exec bash 3_train_finetune_template.sh --fixed_prompt "$FIXED_PROMPT" --fixed_prompt_by "$FIXED_PROMPT_BY" "$@"
