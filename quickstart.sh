#!/usr/bin/env bash
# Runs everything on a machine without a GPU: records demonstrations of a new skill in Luanti, fine-tunes the small pretrained policy
# on them, and compares it with the base policy: success counts and a side-by-side video.
#   needs: Linux with Debian's packages (tools/setup.sh installs the game if it has root); the mini weights in data/mini/
#   makes: data/dataset_quickstart_*, data/samplings/quickstart_*, data/weights/steve1/quickstart.weights, data/comparisons/quickstart/
#   takes: ten minutes on 2 cores, plus installing packages; 300 MB of disk. Run it again to resume.
#   usage: bash quickstart.sh
# Every step is a numbered script; docs/guides/STEVE1_FINETUNING_QUICKSTART.md explains them one by one.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
. tools/python.sh

NAME="${NAME:-quickstart}"                               # name of all outputs; another name keeps the first run
SKILL="${SKILL:-dig_dirt}"                               # a skill that the base policy was not trained on
PROMPT="${PROMPT:-dig dirt}"
N_EPISODES="${N_EPISODES:-10}"                           # demonstrations of the new skill
STEPS="${STEPS:-300}"                                    # ticks per demonstration: 15 seconds
# Old skills to replay, with the number of demonstrations: most for the one that looks most like the new skill.
OLD_SKILLS="${OLD_SKILLS:-collect_grass=10 build_pillar=5 explore=2}"
# Old skills that are decided in the first second: many short demonstrations have more beginnings than a few long ones.
SHORT_SKILLS="${SHORT_SKILLS:-look_at_sky=12}"
SHORT_STEPS="${SHORT_STEPS:-100}"
MIX="${MIX:-0.45 0.35 0.2}"                              # shares of the training data: new, old, short
TOTAL_FRAMES="${TOTAL_FRAMES:-75000}"                    # frames to fine-tune on
EPISODES="${EPISODES:-6}"                                # played by each policy in the comparison
SEED="${SEED:-$(date +%j%H)}"                            # new demonstrations each time (printed below)

case "${1:-}" in -h|--help) exit 0 ;; esac
whole_numbers N_EPISODES STEPS SHORT_STEPS TOTAL_FRAMES EPISODES SEED
BEGAN=$(date +%s)
say() { local s=$(($(date +%s) - BEGAN)); printf '\n[%d:%02d] %s\n' $((s / 60)) $((s % 60)) "$*"; }

say "1/6 $(text "quickstart install")"
bash tools/setup.sh
PYTHON="" && . tools/python.sh   # now there is a .venv
"$PYTHON" -m steve1 check_quickstart
BEGAN=$(date +%s)   # installing is not counted

# An interrupted run keeps its seed, so it resumes with the same demonstrations.
mkdir -p "data/recordings/$NAME"
[ -f "data/recordings/$NAME/seed" ] || echo "$SEED" > "data/recordings/$NAME/seed"
SEED="$(cat "data/recordings/$NAME/seed")"

say "2/6 $(text "quickstart record" new="$SKILL=$N_EPISODES" old="$OLD_SKILLS $SHORT_SKILLS" seed="$SEED")"
dataset() {   # NAME BEHAVIOURS STEPS
  SOURCE=luanti OUTPUT_DIR="data/dataset_${NAME}_$1" BEHAVIOURS="$2" STEPS="$3" SEED="$SEED" bash 1_generate_dataset.sh
}
dataset new "$SKILL=$N_EPISODES" "$STEPS"
dataset old "$OLD_SKILLS" "$STEPS"
dataset short "$SHORT_SKILLS" "$SHORT_STEPS"

read -r NEW OLD SHORT <<< "$MIX"
percent() { awk -v share="$1" 'BEGIN { printf "%g", 100 * share }'; }
say "3/6 $(text "quickstart sampling" new="$(percent "$NEW")" old="$(percent "$OLD")" short="$(percent "$SHORT")")"
bash 2_create_sampling.sh "$NAME" --mix "data/dataset_${NAME}_new=$NEW" "data/dataset_${NAME}_old=$OLD" "data/dataset_${NAME}_short=$SHORT"

say "4/6 $(text "quickstart train")"
IN_MODEL=data/mini/mini.model IN_WEIGHTS=data/mini/mini.weights OUT_WEIGHTS="data/weights/steve1/$NAME.weights" \
  SAMPLING_NAME="$NAME" BATCH_SIZE=8 T=64 TRUNC_T=16 LEARNING_RATE=7e-4 MAX_GRAD_NORM=100 TOTAL_FRAMES="$TOTAL_FRAMES" WARMUP_FRAMES="$((TOTAL_FRAMES / 20))" \
  MAX_BTWN_GOALS=60 VAL_FREQ=100 SAVE_EVERY=200 bash 3_train_finetune_template.sh --jitter --turn_loss_weight 2 --log_every 50

say "5/6 $(text "quickstart compare")"
"$PYTHON" -m steve1 compare --weights data/mini/mini.weights "data/weights/steve1/$NAME.weights" --prompt "$PROMPT" \
  --episodes "$EPISODES" --name "$NAME" --workers 2

say "6/6 $(text "quickstart done")"
text "quickstart curves" command=".venv/bin/tensorboard --logdir data/finetuning_checkpoint"
text "quickstart again" command="NAME=another bash quickstart.sh" other="SKILL=build_pillar PROMPT=\"build a pillar\""
