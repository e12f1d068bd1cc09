#!/usr/bin/env bash
# Makes a dataset of episodes with goal embeddings, ready for 2_create_sampling.sh.
#   needs: SOURCE=luanti      the game (tools/setup.sh installs it)
#          SOURCE=folder      RECORDINGS_DIR with name.mp4 + name.jsonl, or folders with frames/ and actions.jsonl
#          SOURCE=contractor  the network; each recording (5 minutes of play) is deleted once it is converted
#   makes: OUTPUT_DIR/<episode>/, OUTPUT_DIR/convert_report.jsonl
#   usage: bash 1_generate_dataset.sh [--help and further options]
# The same command again continues where it stopped.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")"
. tools/python.sh

SOURCE="${SOURCE:-luanti}"                           # luanti | folder | contractor
OUTPUT_DIR="${OUTPUT_DIR:-data/dataset_finetune}"    # one folder for each episode
RECORDINGS_DIR="${RECORDINGS_DIR:-}"                 # empty: data/recordings/<name of the dataset>

# luanti: scripted players record demonstrations
BEHAVIOURS="${BEHAVIOURS:-dig_dirt}"                 # such as "dig_dirt chop_tree"
STEPS="${STEPS:-300}"                                # 20 a second
SEED="${SEED:-0}"

# contractor: published human play; choose the index by what you want to teach
INDEX="${INDEX:-8.x}"                                # 6.x free play, 7.x early game, 8.x and 9.x house building, 10.x diamond pickaxe; BASALT: find-cave, waterfall, pen-animals, build-house; or a path or URL
FILTER="${FILTER:-}"                                 # a regular expression on paths, or a file with one name a line
KEEP_RECORDINGS="${KEEP_RECORDINGS:-0}"              # 1 keeps the downloaded videos

# luanti: episodes of each behaviour; contractor: episodes in all (0: the whole index)
N_EPISODES="${N_EPISODES:-12}"
NULLS="${NULLS:-auto}"                               # frames at which nothing is done: keep | drop | auto
SHARD="${SHARD:-}"                                   # 1/4 … 4/4: folder and contractor on four machines that share a disk, each with its own number
RAY="${RAY:-0}"                                      # 1: the same as tasks of a Ray cluster, started once (RAY_ADDRESS names it)
MINECLIP="${MINECLIP:-}"                             # MineCLIP weights; empty: the mini ones for luanti, the published ones otherwise

[ "$KEEP_RECORDINGS" = 0 ] || set -- --keep_recordings "$@"
[ "$RAY" = 0 ] || set -- --ray "$@"
exec "$PYTHON" -m steve1 generate_dataset \
  --source "$SOURCE" --output_dir "$OUTPUT_DIR" --recordings_dir "$RECORDINGS_DIR" \
  --n_episodes "$N_EPISODES" --behaviours "$BEHAVIOURS" --steps "$STEPS" --seed "$SEED" \
  --index "$INDEX" --filter "$FILTER" --nulls "$NULLS" --mineclip "$MINECLIP" --shard "$SHARD" "$@"
