#!/usr/bin/env bash
# Goal tuning: learns the goal vector with which the frozen policy best reproduces the demonstrations.
#   needs: a sampling of one task's episodes
#   makes: data/weights/steve1/steve1_goal.goal.json, a few kilobytes
#   takes: memory for playing and one batch of activations
#   usage: bash 3_train_finetune_goal.sh [flags] (and every variable of 3_train_finetune_template.sh)
#          python run_agent/run_agent.py --goal_file data/weights/steve1/steve1_goal.goal.json
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

FIXED_PROMPT="${FIXED_PROMPT:-}"                       # prompt to start from; empty: the mean of the demonstrations' goals
export FINETUNE_MODE=goal
export SAMPLING_NAME="${SAMPLING_NAME:-finetune_task}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_goal.goal.json}"
export LEARNING_RATE="${LEARNING_RATE:-1e-2}"          # for a goal vector, not for weights
export TOTAL_FRAMES="${TOTAL_FRAMES:-1000000}"
export WARMUP_FRAMES="${WARMUP_FRAMES:-20000}"

exec bash 3_train_finetune_template.sh --fixed_prompt "$FIXED_PROMPT" "$@"
