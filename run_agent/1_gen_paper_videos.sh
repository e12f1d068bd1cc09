#!/usr/bin/env bash
# Records videos of all prompts in the STEVE-1 paper, text and visual.
#   needs: policy weights (their .json file names MineCLIP, prior and game), the game; visual prompts: the published ones, or --demonstrations
#   makes: data/generated_videos/paper_prompts/<weights>/<name> - Text Prompt.mp4, … - Visual Prompt.mp4, and their traces
#   takes: 22 videos of 3,000 steps, one after the other
#   usage: bash run_agent/1_gen_paper_videos.sh --in_weights data/mini/mini.weights     (--help: all options)
# Run it again to record the missing videos.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

GAMEPLAY_LENGTH="${GAMEPLAY_LENGTH:-3000}"   # steps, 20 per second
SEED="${SEED:-0}"                            # seed for start state, game, prior and sampling

exec "$PYTHON" -m research.paper_videos --gameplay_length "$GAMEPLAY_LENGTH" --seed "$SEED" "$@"
