#!/usr/bin/env bash
# Measures success rates with error bars: several weights and tasks, the same seeds for all.
#   needs: policy weights (their .json file names MineCLIP, prior and game), the game
#   makes: data/evaluations/<name>/: report.html, .md, .json, .csv, the episodes' log and traces
#   takes: 5 to 6 s per episode of 300 steps with the mini weights and two games on 2 cores
#   usage: bash 5_evaluate.sh --weights data/mini/mini.weights MY.weights --tasks dig_dirt explore --target dig_dirt     (--help: all options)
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

EPISODES="${EPISODES:-20}"   # per weights file and task
WORKERS="${WORKERS:-2}"      # processes, each with its own game and weights; 1 if memory is short (Minecraft takes about 4 GB)
SEED="${SEED:-0}"            # seed for games and agents; in Luanti the places are the same with every seed

exec "$PYTHON" -m steve1 evaluate --episodes "$EPISODES" --workers "$WORKERS" --seed "$SEED" "$@"
