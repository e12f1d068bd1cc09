#!/usr/bin/env bash
# Preference tuning of a goal: pairs of a better and a worse episode from the same start move the goal vector; no weight changes.
#   needs: weights that have the skill, though its prompt rarely triggers it; the game, a reward (python -m steve1 check_reward)
#   makes: OUT_WEIGHTS, a goal file of a few kilobytes; report.html, films, curves, rollouts and traces in data/finetuning_checkpoint/<its name>/
#   usage: bash 3_train_finetune_goal_preference.sh [flags] (and every variable of 3_train_finetune_rl.sh)
#          python run_agent/run_agent.py --goal_file data/weights/steve1/mini_sky_preference.goal.json
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export METHOD=preference
export FINETUNE_MODE=goal
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/mini_sky_preference.goal.json}"
export LEARNING_RATE="${LEARNING_RATE:-1e-2}"          # for a goal vector, not for weights

exec bash 3_train_finetune_rl.sh "$@"
