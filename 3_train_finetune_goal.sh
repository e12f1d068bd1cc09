#!/usr/bin/env bash
# Goal tuning: changes no weight, but learns the goal vector under which the policy does best what was demonstrated.
#   needs: a sampling of one task's episodes
#   makes: data/weights/steve1/steve1_goal.goal.json, a few kilobytes
#   takes: no more memory than playing and the activations of a batch
#   usage: bash 3_train_finetune_goal.sh [flags]; every variable of 3_train_finetune_template.sh may be set in front
#          python run_agent/run_agent.py --goal_file data/weights/steve1/steve1_goal.goal.json
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")"

FIXED_PROMPT="${FIXED_PROMPT:-}"                       # a text to begin at; without one: the mean of the demonstrations' goals
export FINETUNE_MODE=goal
export SAMPLING_NAME="${SAMPLING_NAME:-finetune_task}"
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_goal.goal.json}"
export LEARNING_RATE="${LEARNING_RATE:-1e-2}"          # a vector's numbers, not a network's weights
export TOTAL_FRAMES="${TOTAL_FRAMES:-1000000}"
export WARMUP_FRAMES="${WARMUP_FRAMES:-20000}"

exec bash 3_train_finetune_template.sh --fixed_prompt "$FIXED_PROMPT" "$@"
