#!/usr/bin/env bash
# Makes and embeds a dataset of episodes that two VPT agents play in turns, with spins between (STEVE-1's second data source).
#   needs: weights of two agents (bash 0_download_weights.sh vpt_model vpt vpt_foundation), the game of ENV, MineCLIP's weights
#   makes: OUTPUT_DIR/mixed_<number>_models[…]_…_seed…/, ready for 2_create_sampling.sh
#   takes: MAX_TIMESTEPS game and agent steps per episode (2x agents need a GPU); about 7 KB per frame plus the video on disk
#   usage: bash 1_generate_mixed_agents.sh [--help and further options]
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

AGENTS="${AGENTS:-data/weights/vpt/foundation-model-2x.weights data/weights/vpt/rl-from-foundation-2x.weights}"   # two or more; where a path holds a blank, with semicolons between: "my agents/a.weights;my agents/b.weights"
OUTPUT_DIR="${OUTPUT_DIR:-data/dataset_mixed_agents}"
ENV="${ENV:-minerl}"                   # luanti | mcio | minerl | minestudio
N_EPISODES="${N_EPISODES:-5}"
MAX_TIMESTEPS="${MAX_TIMESTEPS:-7200}" # 20 per second
SEED="${SEED:-0}"
MINECLIP="${MINECLIP:-}"               # MineCLIP weights; empty: the published ones

case " $* " in *" --help "*|*" -h "*) exec "$PYTHON" -m steve1 gen_mixed_agents --help ;; esac
BEFORE=""
for word in "$@"; do   # what is embedded is what was played, where a flag names another folder
  case "$BEFORE" in --output_dir|--output-dir) OUTPUT_DIR="$word" ;; esac
  case "$word" in --output_dir=*|--output-dir=*) OUTPUT_DIR="${word#*=}" ;; esac
  BEFORE="$word"
done
STEVE1_GOES_ON=1 "$PYTHON" -m steve1 gen_mixed_agents --agents "$AGENTS" --output_dir "$OUTPUT_DIR" --env "$ENV" --n_episodes "$N_EPISODES" \
  --max_timesteps "$MAX_TIMESTEPS" --seed "$SEED" "$@"
exec "$PYTHON" tools/generate_mineclip_embeds.py --dataset_dir "$OUTPUT_DIR" ${MINECLIP:+--weights "$MINECLIP"}
