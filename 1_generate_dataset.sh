#!/usr/bin/env bash
# Makes a dataset of episodes with goal embeddings, ready for 2_create_sampling.sh.
#   needs: SOURCE=luanti      the game (tools/setup.sh installs it)
#          SOURCE=policy      WEIGHTS and PROMPTS: the game; what the weights succeed in is kept, to be replayed in fine-tuning
#          SOURCE=corrections WEIGHTS and PROMPTS: the game; the weights begin, the scripted player takes over and is imitated
#          SOURCE=person      PROMPTS: the game and a browser; you play, or take over from WEIGHTS
#          SOURCE=folder      RECORDINGS_DIR with name.mp4 + name.jsonl, or folders with frames/ and actions.jsonl
#          SOURCE=lerobot     RECORDINGS_DIR with a LeRobot dataset (v3.0, v2.1); SOURCE=minestudio: with a MineStudio store
#          SOURCE=videos      VIDEOS_DIR with videos that have no actions, and an inverse dynamics model (bash 0_download_weights.sh idm_model idm)
#          SOURCE=contractor  the network; each recording (5 minutes of play) is deleted once it is converted
#   makes: OUTPUT_DIR/<episode>/, OUTPUT_DIR/convert_report.jsonl
#   usage: bash 1_generate_dataset.sh [--help and further options]
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

SOURCE="${SOURCE:-auto}"                             # luanti | policy | corrections | person | folder | lerobot | minestudio | contractor | videos; auto: contractor where INDEX or FILTER is set, else luanti
OUTPUT_DIR="${OUTPUT_DIR:-data/dataset_finetune}"    # one folder per episode
RECORDINGS_DIR="${RECORDINGS_DIR:-}"                 # empty: data/recordings/<name of the dataset>

# luanti: scripted players record demonstrations
BEHAVIOURS="${BEHAVIOURS:-dig_dirt}"                 # e.g. "dig_dirt chop_tree"
STEPS="${STEPS:-400}"                                # 20 per second; training with T frames needs T + 15
SEED="${SEED:-0}"

# policy: weights record what they can do already, for REPLAY or KEEP=self in fine-tuning; corrections, person: they begin
WEIGHTS="${WEIGHTS:-}"                               # e.g. data/mini/mini.weights
PROMPTS="${PROMPTS:-}"                               # e.g. "explore;look at the sky=20;build a pillar"
GAME="${GAME:-}"                                     # the game they play (--env); empty: luanti

# contractor: published human play; set the index for the skill to teach, and it is downloaded
INDEX="${INDEX:-}"                                   # empty: 8.x. 6.x free play, 7.x early game, 8.x and 9.x house building, 10.x diamond pickaxe; BASALT: find-cave, waterfall, pen-animals, build-house; or a path or URL
FILTER="${FILTER:-}"                                 # a regular expression on paths, or a file with one name per line
KEEP_RECORDINGS="${KEEP_RECORDINGS:-0}"              # 1 keeps the downloaded videos

# videos: an inverse dynamics model says what was pressed; the report says how far that can be trusted
VIDEOS_DIR="${VIDEOS_DIR:-}"                         # mp4, mkv, webm, mov, avi and the like, at any depth; GAME: the one that they are of, empty: that of the IDM
IDM_MODEL="${IDM_MODEL:-data/weights/idm/4x_idm.model}"
IDM_WEIGHTS="${IDM_WEIGHTS:-data/weights/idm/4x_idm.weights}"
CALIBRATE="${CALIBRATE:-}"                           # a recording with known actions (name.mp4 + name.jsonl), strongly advised

# luanti, policy, corrections: episodes per behaviour or prompt; contractor: total episodes (0: the whole index)
N_EPISODES="${N_EPISODES:-12}"
NULLS="${NULLS:-auto}"                               # frames with no action: keep | drop | auto
SHARD="${SHARD:-}"                                   # 1/4 … 4/4: split folder, datasets, contractor or videos over four machines that share a disk
RAY="${RAY:-0}"                                      # 1: split over a Ray cluster (address: RAY_ADDRESS)
MINECLIP="${MINECLIP:-}"                             # MineCLIP weights; empty: that of WEIGHTS, else mini for luanti (folder, lerobot: where all recordings name it; videos: where the IDM is luanti's), published otherwise

[ "$KEEP_RECORDINGS" = 0 ] || set -- --keep_recordings "$@"
[ "$RAY" = 0 ] || set -- --ray "$@"
exec "$PYTHON" -m steve1 generate_dataset \
  --source "$SOURCE" --output_dir "$OUTPUT_DIR" --recordings_dir "$RECORDINGS_DIR" \
  --n_episodes "$N_EPISODES" --behaviours "$BEHAVIOURS" --steps "$STEPS" --seed "$SEED" \
  --weights "$WEIGHTS" --prompts "$PROMPTS" --env "$GAME" \
  --videos_dir "$VIDEOS_DIR" --idm_model "$IDM_MODEL" --idm_weights "$IDM_WEIGHTS" --calibrate "$CALIBRATE" \
  --index "$INDEX" --filter "$FILTER" --nulls "$NULLS" --mineclip "$MINECLIP" --shard "$SHARD" "$@"
