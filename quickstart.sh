#!/usr/bin/env bash
# Runs everything on a machine without a GPU: records demonstrations of a new skill in Luanti, fine-tunes the small pretrained policy
# on them and on replayed old skills, and says whether it learned the skill and kept two old ones: verdicts, a report and a video.
#   needs: Linux with Debian's packages (tools/setup.sh installs the game if it has root); the mini weights and their replay pack in data/mini/
#   makes: data/dataset_quickstart, data/samplings/quickstart*, data/weights/steve1/quickstart.weights, data/comparisons/quickstart/
#   takes: five to ten minutes on 2 free cores, plus installing packages; 200 MB of disk. Run it again to resume.
#   usage: bash quickstart.sh
#          NAME=pillar SKILL=build_pillar bash quickstart.sh     (another skill: any of 1_generate_dataset.sh's BEHAVIOURS)
# Every step is a numbered script; docs/guides/STEVE1_FINETUNING_QUICKSTART.md explains them one by one.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

NAME="${NAME:-quickstart}"                               # name of all outputs; another name keeps the first run
SKILL="${SKILL:-dig_dirt}"                               # the skill to learn
N_EPISODES="${N_EPISODES:-10}"                           # demonstrations of it
STEPS="${STEPS:-300}"                                    # ticks per demonstration: 15 seconds
REPLAY="${REPLAY:-data/mini/mini.replay.safetensors}"    # old skills, as features of the mini policy's image network
REPLAY_SHARE="${REPLAY_SHARE:-0.7}"                      # their share of the training data
TOTAL_FRAMES="${TOTAL_FRAMES:-300000}"                   # frames to fine-tune on
CHECK_SKILLS="${CHECK_SKILLS:-}"                         # old skills to test for forgetting; empty: two of explore, swim and look_at_sky
EPISODES="${EPISODES:-10}"                               # played of each skill
SEED_ASKED="${SEED:-}"
SEED="${SEED:-$(date +%j%H)}"                            # new demonstrations each time (printed below)

case "${1:-}" in
  -h|--help) exit 0 ;;
  ?*) printf '%s: %s\n' "$(text error)" "$(text "quickstart words" word="$1")" >&2; exit 2 ;;
esac
whole_numbers N_EPISODES STEPS TOTAL_FRAMES EPISODES SEED
export STEVE1_GOES_ON=1   # no step says what to run next
BEGAN=$(date +%s)
clock() {
  if [ "$1" -lt 3600 ]; then printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); else printf '%d:%02d:%02d' $(($1 / 3600)) $(($1 % 3600 / 60)) $(($1 % 60)); fi
}
say() { printf '\n[%s] %s\n' "$(clock $(($(date +%s) - BEGAN)))" "$*"; }

say "1/5 $(text "quickstart install")"
bash tools/setup.sh
PYTHON="" && . tools/python.sh   # now there is a .venv
mkdir -p data/recordings
# One name, one skill: its demonstrations, weights and episodes belong together.
KEPT="$SKILL"
[ ! -f "data/recordings/$NAME.skill" ] || KEPT="$(cat "data/recordings/$NAME.skill")"
if [ "$KEPT" != "$SKILL" ]; then
  printf '%s: %s\n' "$(text error)" "$(text "quickstart skill" name="$NAME" kept="$KEPT" asked="$SKILL")" >&2
  exit 2
fi
# Old skills are played once, and not the new one among them.
read -ra CHECKED <<< "${CHECK_SKILLS:-explore swim look_at_sky}"
OLD=() && for skill in "${CHECKED[@]}"; do [ "$skill" = "$SKILL" ] || OLD+=("$skill"); done
[ -n "$CHECK_SKILLS" ] || OLD=("${OLD[@]:0:2}")
EXPECTED="data/recordings/$NAME.expected"
"$PYTHON" -m steve1 check_quickstart --skill "$SKILL" --old "${OLD[*]}" --replay "$REPLAY" --replay_share "$REPLAY_SHARE" --expected "$EXPECTED" --frames "$((N_EPISODES * STEPS))" \
  --train_frames "$TOTAL_FRAMES" --episodes "$((EPISODES * (2 + ${#OLD[@]})))"
BEGAN=$(date +%s)   # installing is not counted
[ -f "data/recordings/$NAME.skill" ] || echo "$SKILL" > "data/recordings/$NAME.skill"   # not before the check: a misspelt one would keep the name

# An interrupted run keeps its seed, so it resumes with the same demonstrations.
[ -f "data/recordings/$NAME.seed" ] || echo "$SEED" > "data/recordings/$NAME.seed"
SEED="$(cat "data/recordings/$NAME.seed")"
[ "${SEED_ASKED:-$SEED}" = "$SEED" ] || echo "$(text note): $(text "quickstart seed" kept="$SEED" asked="$SEED_ASKED" name="$NAME")" >&2

expected() { awk -v stage="$1" '$1 == stage || stage == "all" { sum += $2 } END { print sum + 0 }' "$EXPECTED"; }
stage() {   # NAME TEXT: says what begins and how long it takes here
  STAGE="$1" STAGE_BEGAN=$(date +%s)
  say "$2 ($(text "quickstart expected" time="$(clock "$(expected "$1")")"))"
}
took() { text "quickstart took" time="$(clock $(($(date +%s) - STAGE_BEGAN)))" expected="$(clock "$(expected "$STAGE")")"; }

stage record "2/5 $(text "quickstart record" count="$N_EPISODES" skill="$SKILL" seed="$SEED")"
SOURCE=luanti OUTPUT_DIR="data/dataset_$NAME" BEHAVIOURS="$SKILL=$N_EPISODES" STEPS="$STEPS" SEED="$SEED" bash 1_generate_dataset.sh
took

say "3/5 $(text "quickstart sampling")"
SEED=0 bash 2_create_sampling.sh "$NAME"   # whether SEED was set or kept from before: it is that of the demonstrations alone

new_share=$(awk -v share="$REPLAY_SHARE" 'BEGIN { printf "%g", 100 * (1 - share) }')
stage train "4/5 $(text "quickstart train" frames="$TOTAL_FRAMES" new="$new_share" replay="$REPLAY")"
IN_MODEL=data/mini/mini.model IN_WEIGHTS=data/mini/mini.weights OUT_WEIGHTS="data/weights/steve1/$NAME.weights" \
  SAMPLING_NAME="$NAME" REPLAY="$REPLAY" REPLAY_SHARE="$REPLAY_SHARE" FINETUNE_MODE=frozen_cnn BATCH_SIZE=8 T=64 TRUNC_T=16 LEARNING_RATE=7e-4 \
  MAX_GRAD_NORM=100 TOTAL_FRAMES="$TOTAL_FRAMES" WARMUP_FRAMES="$((TOTAL_FRAMES / 20))" MAX_BTWN_GOALS=60 VAL_FREQ=500 SAVE_EVERY=1000 SEED=0 \
  bash 3_train_finetune_template.sh --feature_cache --jitter --turn_loss_weight 2 --log_every 500 --no_keep_checkpoints
took

stage play "5/5 $(text "quickstart compare" skill="$SKILL" old="${OLD[*]}" count="$EPISODES")"
EPISODES="$EPISODES" WORKERS=2 SEED=0 bash 5_evaluate.sh --weights data/mini/mini.weights "data/weights/steve1/$NAME.weights" \
  --tasks "$SKILL" "${OLD[@]}" --target "$SKILL" --known_results data/mini/results --videos 1 --similarity 0 --folder "data/comparisons/$NAME"
say "$(text "quickstart done" time="$(clock $(($(date +%s) - BEGAN)))" expected="$(clock "$(expected all)")")"
