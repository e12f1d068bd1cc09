#!/usr/bin/env bash
# Records you playing Minecraft in MCio's window, as fine-tuning data.
#   needs: MCio and its Minecraft (bash tools/install_minecraft.sh mcio), a desktop with a screen
#   makes: data/recordings/<name>/<name>-0000.mp4, .jsonl, -options.json and so on (contractor format)
#   takes: about 20 MB of disk for 5 minutes of play
#   usage: bash run_agent/record_minecraft.sh --name my_house --inventory oak_planks:64 oak_door:2     (--help: all options)
# F10 or closing the window ends a recording. Each run adds recordings and overwrites none. Then:
#   SOURCE=folder RECORDINGS_DIR=data/recordings/my_house bash 1_generate_dataset.sh
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

EPISODES="${EPISODES:-1}"                    # recordings, each in a fresh world
MINUTES="${MINUTES:-5}"                      # maximum length of a recording
SEED="${SEED:-0}"                            # seed of the first world; the next ones use SEED+1, ...

exec "$PYTHON" -m steve1 record_minecraft --episodes "$EPISODES" --minutes "$MINUTES" --seed "$SEED" "$@"
