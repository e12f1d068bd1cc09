#!/usr/bin/env bash
# Self-imitation: the policy plays, and imitates the episodes in which it succeeded. The most careful form of reinforcement learning.
#   needs: weights that succeed sometimes, the game, a reward (python -m steve1 check_reward)
#   makes: OUT_WEIGHTS; report.html, films, curves, rollouts and traces in data/finetuning_checkpoint/<name of OUT_WEIGHTS>/
#   usage: bash 3_train_finetune_self_imitation.sh [flags] (and every variable of 3_train_finetune_rl.sh)
#          REWARD=dig_dirt IN_WEIGHTS=data/weights/steve1/quickstart.weights OUT_WEIGHTS=data/weights/steve1/dig_self_imitation.weights bash 3_train_finetune_self_imitation.sh
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

export METHOD=clone                                    # --clone_beta above 0 weights every episode by exp((return - mean) / this)
export OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/mini_sky_self_imitation.weights}"

exec bash 3_train_finetune_rl.sh "$@"
