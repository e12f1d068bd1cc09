#!/usr/bin/env bash
# The whole job on a machine without a GPU: records demonstrations of a new skill in a real voxel game, fine-tunes the small pretrained
# policy on them, and shows it beside the one it started from, with success counts.
#   needs: Linux with Debian's packages (the game is installed by tools/setup.sh where it may); the mini weights in data/mini/
#   makes: data/dataset_quickstart_*, data/samplings/quickstart_*, data/weights/steve1/quickstart.weights, data/comparisons/quickstart/
#   takes: ten minutes on 2 cores once the packages are there; 300 MB of disk. Stopped, the same command continues where it stopped.
#   usage: bash quickstart.sh
# Every step is one of the numbered scripts; docs/guides/STEVE1_FINETUNING_QUICKSTART.md walks through them by hand.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")"

NAME="${NAME:-quickstart}"                               # of everything that is made; another name leaves the first run alone
SKILL="${SKILL:-dig_dirt}"                               # what the policy has never been shown
PROMPT="${PROMPT:-dig dirt}"
N_EPISODES="${N_EPISODES:-10}"                           # demonstrations of the new skill
STEPS="${STEPS:-300}"                                    # ticks in a demonstration: 15 seconds
# Replayed, so that they are not forgotten, with how many demonstrations of each: most of the one that looks most like the new skill.
OLD_SKILLS="${OLD_SKILLS:-collect_grass=10 build_pillar=5 explore=2}"
# Skills that are decided in their first second: many short demonstrations have more beginnings than a few long ones.
SHORT_SKILLS="${SHORT_SKILLS:-look_at_sky=12}"
SHORT_STEPS="${SHORT_STEPS:-100}"
MIX="${MIX:-0.45 0.35 0.2}"                              # of what is trained on: new, old, short
TOTAL_FRAMES="${TOTAL_FRAMES:-75000}"                    # frames to fine-tune on
EPISODES="${EPISODES:-6}"                                # played by each policy at the end
SEED="${SEED:-$(date +%j%H)}"                            # fresh demonstrations each time (printed below)

case "${1:-}" in -h|--help) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;; esac
BEGAN=$(date +%s)
say() { local s=$(($(date +%s) - BEGAN)); printf '\n[%d:%02d] %s\n' $((s / 60)) $((s % 60)) "$*"; }

say "1/6 setting up what is missing"
bash tools/setup.sh
. tools/python.sh
"$PYTHON" -m steve1 check_quickstart
BEGAN=$(date +%s)   # installing is not counted

# A run that was cut keeps its seed, so that it continues with the same demonstrations.
mkdir -p "data/recordings/$NAME"
[ -f "data/recordings/$NAME/seed" ] || echo "$SEED" > "data/recordings/$NAME/seed"
SEED="$(cat "data/recordings/$NAME/seed")"

say "2/6 recording demonstrations: new $SKILL=$N_EPISODES; old $OLD_SKILLS $SHORT_SKILLS (seed $SEED); converting, embedding"
dataset() {   # NAME BEHAVIOURS STEPS
  SOURCE=luanti OUTPUT_DIR="data/dataset_${NAME}_$1" BEHAVIOURS="$2" STEPS="$3" SEED="$SEED" bash 1_generate_dataset.sh
}
dataset new "$SKILL=$N_EPISODES" "$STEPS"
dataset old "$OLD_SKILLS" "$STEPS"
dataset short "$SHORT_SKILLS" "$SHORT_STEPS"

say "3/6 listing what to train and validate on: shares of new, old and short $MIX"
read -r NEW OLD SHORT <<< "$MIX"
bash 2_create_sampling.sh "$NAME" --mix "data/dataset_${NAME}_new=$NEW" "data/dataset_${NAME}_old=$OLD" "data/dataset_${NAME}_short=$SHORT"

say "4/6 fine-tuning"
IN_MODEL=data/mini/mini.model IN_WEIGHTS=data/mini/mini.weights OUT_WEIGHTS="data/weights/steve1/$NAME.weights" \
  SAMPLING_NAME="$NAME" BATCH_SIZE=8 T=64 TRUNC_T=16 LEARNING_RATE=7e-4 MAX_GRAD_NORM=100 TOTAL_FRAMES="$TOTAL_FRAMES" WARMUP_FRAMES="$((TOTAL_FRAMES / 20))" \
  MAX_BTWN_GOALS=60 VAL_FREQ=100 SAVE_EVERY=200 bash 3_train_finetune_template.sh --jitter --turn_loss_weight 2 --log_every 50

say "5/6 playing: base and fine-tuned, the same places, the same seeds"
"$PYTHON" -m steve1 compare --weights data/mini/mini.weights "data/weights/steve1/$NAME.weights" --prompt "$PROMPT" \
  --episodes "$EPISODES" --name "$NAME" --workers 2

say "6/6 done"
echo "curves:  .venv/bin/tensorboard --logdir data/finetuning_checkpoint"
echo "again:   NAME=another bash quickstart.sh    (another skill: SKILL=build_pillar PROMPT=\"build a pillar\" …)"
