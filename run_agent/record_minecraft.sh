#!/usr/bin/env bash
# Records you while you play Minecraft, in MCio's own window, as data for fine-tuning.
#   needs: MCio and its Minecraft (bash tools/install_minecraft.sh mcio), a desktop with a screen
#   makes: data/recordings/<name>/<name>-0000.mp4, .jsonl, -options.json and so on: the contractor format
#   takes: as long as you play, 20 ticks a second; about 20 MB for 5 minutes
#   usage: bash run_agent/record_minecraft.sh --name my_house --inventory oak_planks:64 oak_door:2     (--help: all options)
# F10, or closing the window, ends a recording. Every call adds recordings; none is overwritten. Then:
#   SOURCE=folder RECORDINGS_DIR=data/recordings/my_house bash 1_generate_dataset.sh
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")/.."
. tools/python.sh

EPISODES="${EPISODES:-1}"                    # recordings, each in a fresh world
MINUTES="${MINUTES:-5}"                      # longest recording
SEED="${SEED:-0}"                            # of the first world; the next have SEED+1, ...

exec "$PYTHON" -m steve1 record_minecraft --episodes "$EPISODES" --minutes "$MINUTES" --seed "$SEED" "$@"
