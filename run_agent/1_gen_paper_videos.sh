#!/usr/bin/env bash
# Films all prompts of STEVE-1's paper, text and visual.
#   needs: policy weights (MineCLIP, prior and game are found beside them), the game; for visual prompts the published ones or --demonstrations
#   makes: data/generated_videos/paper_prompts/<weights>/<name> - Text Prompt.mp4, … - Visual Prompt.mp4, and their traces
#   takes: 22 videos of 3,000 steps, one after the other
#   usage: bash run_agent/1_gen_paper_videos.sh --in_weights data/mini/mini.weights     (--help: all options)
# The same command again films what is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")/.."
. tools/python.sh

GAMEPLAY_LENGTH="${GAMEPLAY_LENGTH:-3000}"   # steps; 20 are a second
SEED="${SEED:-0}"                            # start places, game, prior and the agent's choices

exec "$PYTHON" -m research.paper_videos --gameplay_length "$GAMEPLAY_LENGTH" --seed "$SEED" "$@"
