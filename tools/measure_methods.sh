#!/usr/bin/env bash
# Compares ways of fine-tuning: trains the mini policy with each on the same demonstrations and plays the results.
#   needs: data/mini; the quickstart's datasets (bash quickstart.sh makes them); the game
#   makes: data/weights/steve1/methods_*, data/evaluations/methods/ and methods_goal/ (report.html), and data/evaluations/methods.md: the table
#          in docs/technical/STEVE1_TRAINING_ANALYSIS.md (success of the new skill, retention of the old ones, with intervals)
#   takes: per method 1 to 5 minutes of training and 10 of playing on 2 free cores; 100 MB
#   usage: bash tools/measure_methods.sh [METHOD …]       methods: mixed kl fixed_prompt, and every fine-tuning mode
# Run it again to resume; finished methods take seconds. Without a METHOD, seven run. The table has all methods measured so far.
# A second run with EPISODES=40 plays the missing 20.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
. tools/python.sh

NAME="${NAME:-methods}"                          # name of all outputs
NEW="${NEW:-data/dataset_quickstart_new}"        # demonstrations of the new skill
OLD="${OLD:-data/dataset_quickstart_old}"        # of old skills: mixed replays them, all methods validate on them
SHORT="${SHORT:-data/dataset_quickstart_short}"  # short demonstrations of old skills, as in the quickstart
PROMPT="${PROMPT:-dig dirt}"
NEW_TASK="${NEW_TASK:-dig_dirt}"
OLD_TASKS="${OLD_TASKS:-look_at_sky explore build_pillar}"
FRAMES="${FRAMES:-75000}"                        # training frames per method, as in the quickstart
EPISODES="${EPISODES:-20}"                       # per method and task; 0: only train
RATE="${RATE:-}"                                 # learning rate for all methods; empty: each method's own
WORKERS="${WORKERS:-2}"                          # games in parallel
SEED="${SEED:-0}"
BASE="${BASE:-data/mini/mini.weights}"
export IN_MODEL="${IN_MODEL:-data/mini/mini.model}"

case "${1:-}" in -h|--help) exit 0 ;; esac
whole_numbers FRAMES EPISODES WORKERS SEED
[ $# -gt 0 ] || set -- all mixed lora goal frozen_cnn fixed_prompt kl
known="mixed kl fixed_prompt $(sed -n 's/^    "\([a-z_]*\)": FinetuneMode(.*/\1/p' steve1/training/finetune_modes.py | xargs)"
for method in "$@"; do
  case " $known " in
    *" $method "*) ;;
    *) echo "unknown method: $method ($known)" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s: %s\n' "$(date +%H:%M:%S)" "$*"; }
weights() { echo "data/weights/steve1/${NAME}_$1.weights"; }

# The same new and old episodes are held out from all training, also of the mixture.
samplings() {
  local lists="data/samplings/${NAME}"
  [ -f "${lists}_new_train.txt" ] || bash 2_create_sampling.sh "${NAME}_new" --dataset_dir "$NEW"
  [ -f "${lists}_old_train.txt" ] || VAL_FRACTION=0.2 bash 2_create_sampling.sh "${NAME}_old" --mix "$OLD=0.6" "$SHORT=0.4"
  if [ ! -f "${lists}_mixed_train.txt" ]; then
    grep -hv '^#' "${lists}_new_val.txt" "${lists}_old_val.txt" > "${lists}_both_val.txt"
    VAL_LIST="${lists}_both_val.txt" bash 2_create_sampling.sh "${NAME}_mixed" --mix "$NEW=0.45" "$OLD=0.35" "$SHORT=0.2"
  fi
}

# train METHOD RATE [flags]: with the quickstart's settings, on the new skill alone unless flags say otherwise.
train() {
  local method="$1" rate="${RATE:-$2}"
  shift 2
  IN_WEIGHTS="$BASE" OUT_WEIGHTS="$(weights "$method")" SAMPLING_NAME="${NAME}_new" SEED="$SEED" \
    BATCH_SIZE=8 T=64 TRUNC_T=16 LEARNING_RATE="$rate" MAX_GRAD_NORM=100 TOTAL_FRAMES="$FRAMES" WARMUP_FRAMES="$((FRAMES / 20))" MAX_BTWN_GOALS=60 \
    VAL_FREQ=100 SAVE_EVERY=200 bash 3_train_finetune_template.sh --jitter --turn_loss_weight 2 --no_keep_checkpoints --log_every 50 "$@"
}

# For LoRA, heads and goal tuning, of two or three rates tried, these gave the lowest validation loss on the new skill.
train_method() {
  local kept=(--retention_sampling "${NAME}_old")
  case "$1" in
    mixed) train mixed 7e-4 "${kept[@]}" --train_list "data/samplings/${NAME}_mixed_train.txt" --val_list "data/samplings/${NAME}_new_val.txt" ;;
    kl) train kl 7e-4 "${kept[@]}" --kl_coef 0.3 ;;
    fixed_prompt) train fixed_prompt 7e-4 "${kept[@]}" --fixed_prompt "$PROMPT" ;;
    norm_bias) train norm_bias 3e-3 "${kept[@]}" --finetune_mode norm_bias ;;
    frozen_cnn|heads_and_goal) train "$1" 7e-4 "${kept[@]}" --finetune_mode "$1" --feature_cache ;;
    lora) train lora 5e-3 "${kept[@]}" --finetune_mode lora --feature_cache ;;
    goal) train goal 3e-1 --finetune_mode goal --feature_cache --fixed_prompt "$PROMPT" ;;
    *) train "$1" 7e-4 "${kept[@]}" --finetune_mode "$1" ;;
  esac
}

# A goal file ignores the prompt and leaves the weights unchanged, so only the new task is played.
play_method() {
  local common=(--target "$NEW_TASK" --episodes "$EPISODES" --seed "$SEED" --workers "$WORKERS" --similarity 0)
  if [ "$1" = goal ]; then
    "$PYTHON" -m steve1 evaluate --weights "$BASE" "data/weights/steve1/${NAME}_goal.goal.json" --tasks "$NEW_TASK" \
      --name "${NAME}_goal" "${common[@]}"
    return
  fi
  PLAYED+=("$(weights "$1")")
  # shellcheck disable=SC2086  # a list of words on purpose
  "$PYTHON" -m steve1 evaluate --weights "$BASE" "${PLAYED[@]}" --tasks "$NEW_TASK" $OLD_TASKS --name "$NAME" "${common[@]}"
}

samplings
PLAYED=()
for method in "$@"; do
  say "$method: training"
  train_method "$method"
  if [ "$EPISODES" -gt 0 ]; then
    say "$method: playing"
    play_method "$method"
    # shellcheck disable=SC2086
    "$PYTHON" -m research.methods_table --name "$NAME" --new_task "$NEW_TASK" --old_tasks $OLD_TASKS
  fi
done
say "done: $*; data/evaluations/$NAME.md, data/evaluations/$NAME/report.html"
echo "to update the docs: $PYTHON -m research.methods_table --name $NAME --insert docs/technical/STEVE1_TRAINING_ANALYSIS.md"
