#!/usr/bin/env bash
# Runs everything on a machine without a GPU: records demonstrations of a new skill in Luanti, fine-tunes the small pretrained policy
# on them, and says whether it learned the skill and kept two old ones: verdicts, a report and side-by-side videos.
#   needs: Linux with Debian's packages (tools/setup.sh installs the game if it has root); the mini weights in data/mini/
#   makes: data/dataset_quickstart_*, data/samplings/quickstart*, data/weights/steve1/quickstart.weights, data/comparisons/quickstart/
#   takes: ten minutes on 2 cores, plus installing packages; 300 MB of disk. Run it again to resume.
#   usage: bash quickstart.sh
#          NAME=pillar SKILL=build_pillar OLD_SKILLS="collect_grass=10 explore=2" bash quickstart.sh     (another skill)
# Every step is a numbered script; docs/guides/STEVE1_FINETUNING_QUICKSTART.md explains them one by one.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
. tools/python.sh

NAME="${NAME:-quickstart}"                               # name of all outputs; another name keeps the first run
SKILL="${SKILL:-dig_dirt}"                               # a skill that the base policy was not trained on
N_EPISODES="${N_EPISODES:-10}"                           # demonstrations of the new skill
STEPS="${STEPS:-300}"                                    # ticks per demonstration: 15 seconds
# Old skills to replay, with the number of demonstrations: most for the one that looks most like the new skill.
OLD_SKILLS="${OLD_SKILLS:-collect_grass=10 build_pillar=5 explore=2}"
# Old skills that are decided in the first second: many short demonstrations have more beginnings than a few long ones.
SHORT_SKILLS="${SHORT_SKILLS:-look_at_sky=12}"
SHORT_STEPS="${SHORT_STEPS:-100}"
MIX="${MIX:-0.45 0.35 0.2}"                              # shares of the training data: new, old, short
TOTAL_FRAMES="${TOTAL_FRAMES:-75000}"                    # frames to fine-tune on
CHECK_SKILLS="${CHECK_SKILLS:-explore swim}"             # old skills to test for forgetting: one that is replayed, one that is not
EPISODES="${EPISODES:-6}"                                # played of each skill before and after: with fewer, not even 0 of 5 after 5 of 5 is certain
SEED_ASKED="${SEED:-}"
SEED="${SEED:-$(date +%j%H)}"                            # new demonstrations each time (printed below)

case "${1:-}" in -h|--help) exit 0 ;; esac
export STEVE1_GOES_ON=1   # no step says what to run next
whole_numbers N_EPISODES STEPS SHORT_STEPS TOTAL_FRAMES EPISODES SEED
BEGAN=$(date +%s)
say() { local s=$(($(date +%s) - BEGAN)); printf '\n[%d:%02d] %s\n' $((s / 60)) $((s % 60)) "$*"; }

say "1/5 $(text "quickstart install")"
bash tools/setup.sh
PYTHON="" && . tools/python.sh   # now there is a .venv
"$PYTHON" -m steve1 check_quickstart
BEGAN=$(date +%s)   # installing is not counted

# An interrupted run keeps its seed, so it resumes with the same demonstrations.
mkdir -p "data/recordings/$NAME"
[ -f "data/recordings/$NAME/seed" ] || echo "$SEED" > "data/recordings/$NAME/seed"
SEED="$(cat "data/recordings/$NAME/seed")"
[ "${SEED_ASKED:-$SEED}" = "$SEED" ] || echo "$(text note): $(text "quickstart seed" kept="$SEED" asked="$SEED_ASKED" name="$NAME")" >&2

counts() { local words="${*// /, }"; echo "${words//=/ }"; }   # a=1 b=2: "a 1, b 2"
say "2/5 $(text "quickstart record" new="$SKILL $N_EPISODES" old="$(counts "$OLD_SKILLS $SHORT_SKILLS")" seed="$SEED")"
dataset() {   # NAME BEHAVIOURS STEPS
  SOURCE=luanti OUTPUT_DIR="data/dataset_${NAME}_$1" BEHAVIOURS="$2" STEPS="$3" SEED="$SEED" bash 1_generate_dataset.sh
}
dataset new "$SKILL=$N_EPISODES" "$STEPS"
dataset old "$OLD_SKILLS" "$STEPS"
dataset short "$SHORT_SKILLS" "$SHORT_STEPS"

read -r NEW OLD SHORT <<< "$MIX"
percent() { awk -v share="$1" 'BEGIN { printf "%g", 100 * share }'; }
say "3/5 $(text "quickstart sampling" new="$(percent "$NEW")" old="$(percent "$OLD")" short="$(percent "$SHORT")")"
bash 2_create_sampling.sh "$NAME" --mix "data/dataset_${NAME}_new=$NEW" "data/dataset_${NAME}_old=$OLD" "data/dataset_${NAME}_short=$SHORT"
bash 2_create_sampling.sh "${NAME}_old" --mix "data/dataset_${NAME}_old=$OLD" "data/dataset_${NAME}_short=$SHORT"   # for the loss on old skills

say "4/5 $(text "quickstart train")"
IN_MODEL=data/mini/mini.model IN_WEIGHTS=data/mini/mini.weights OUT_WEIGHTS="data/weights/steve1/$NAME.weights" \
  SAMPLING_NAME="$NAME" BATCH_SIZE=8 T=64 TRUNC_T=16 LEARNING_RATE=7e-4 MAX_GRAD_NORM=100 TOTAL_FRAMES="$TOTAL_FRAMES" WARMUP_FRAMES="$((TOTAL_FRAMES / 20))" \
  RETENTION_SAMPLING="${NAME}_old" MAX_BTWN_GOALS=60 VAL_FREQ=100 SAVE_EVERY=200 bash 3_train_finetune_template.sh --jitter --turn_loss_weight 2 --log_every 50

say "5/5 $(text "quickstart compare")"
read -ra CHECKED <<< "$CHECK_SKILLS"
EPISODES="$EPISODES" WORKERS=2 SEED=0 bash 5_evaluate.sh --weights data/mini/mini.weights "data/weights/steve1/$NAME.weights" \
  --tasks "$SKILL" "${CHECKED[@]}" --target "$SKILL" --videos 1 --similarity 0 --folder "data/comparisons/$NAME"
