#!/usr/bin/env bash
# Plays a text prompt in a game and records a video.
#   needs: policy weights (their .json file names MineCLIP, prior and game), the game
#   makes: data/generated_videos/<weights>/<prompt>-seed<seed>.mp4 and its trace (.npz, .json)
#   takes: about 10 s for 300 steps with the mini weights on 2 cores; 2 MB
#   usage: bash 2_gen_vid_for_text_prompt.sh --weights data/mini/mini.weights --prompt "dig dirt"     (--help: all options)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

GAMEPLAY_LENGTH="${GAMEPLAY_LENGTH:-300}"   # steps, 20 per second
SEED="${SEED:-0}"                           # seed for start state, prior and sampling

exec "$PYTHON" -m steve1 play --gameplay_length "$GAMEPLAY_LENGTH" --seed "$SEED" "$@"
