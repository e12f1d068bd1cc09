#!/usr/bin/env bash
# What each way of fine-tuning gains and what it costs: trains the mini policy with each on the same demonstrations and plays the results.
#   needs: data/mini; the quickstart's datasets (bash quickstart.sh makes them); the game
#   makes: data/weights/steve1/methods_*.weights, data/evaluations/methods/ and methods_goal/ (report.html: success of the new skill,
#          retention of the old ones, with intervals)
#   takes: about 5 minutes of training and 10 of playing a method on 2 free cores; 50 MB
#   usage: bash tools/measure_methods.sh [METHOD …]       methods: full frozen heads lora norm_bias goal fixed_prompt mixed kl
# Each method goes on where it was stopped; finished ones cost seconds. Without a METHOD all of them run, one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/python.sh

NEW="${NEW:-data/dataset_quickstart_new}"        # demonstrations of the new skill
OLD="${OLD:-data/dataset_quickstart_old}"        # of the old ones: replayed by mixed, validated on by all
PROMPT="${PROMPT:-dig dirt}"
NEW_TASK="${NEW_TASK:-dig_dirt}"
OLD_TASKS="${OLD_TASKS:-look_at_sky explore build_pillar}"
FRAMES="${FRAMES:-50000}"                        # to train on, for each method
EPISODES="${EPISODES:-20}"                       # played for each method and task
SEED="${SEED:-0}"
BASE="${BASE:-data/mini/mini.weights}"
export IN_MODEL="${IN_MODEL:-data/mini/mini.model}"

case "${1:-}" in -h|--help) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;; esac
[ $# -gt 0 ] || set -- full frozen heads lora norm_bias goal fixed_prompt mixed kl

say() { printf '\n== %s: %s\n' "$(date +%H:%M:%S)" "$*"; }

# The same old episodes are kept out of all training, the mixture's too.
samplings() {
  local folder=data/samplings
  [ -f "$folder/methods_new_train.txt" ] || bash 2_create_sampling.sh methods_new --dataset_dir "$NEW"
  [ -f "$folder/methods_old_train.txt" ] || bash 2_create_sampling.sh methods_old --dataset_dir "$OLD"
  if [ ! -f "$folder/methods_mixed_train.txt" ]; then
    grep -hv '^#' "$folder/methods_new_val.txt" "$folder/methods_old_val.txt" > "$folder/methods_both_val.txt"
    VAL_LIST="$folder/methods_both_val.txt" bash 2_create_sampling.sh methods_mixed --mix "$NEW=0.6" "$OLD=0.4"
  fi
}

# train NAME RATE [flags]: NAME's sampling is methods_new unless SAMPLING_NAME says otherwise.
train() {
  local name="$1" rate="$2"
  shift 2
  IN_WEIGHTS="$BASE" OUT_WEIGHTS="data/weights/steve1/methods_$name.weights" SAMPLING_NAME="${SAMPLING_NAME:-methods_new}" SEED="$SEED" \
    BATCH_SIZE=8 T=64 TRUNC_T=64 LEARNING_RATE="$rate" TOTAL_FRAMES="$FRAMES" WARMUP_FRAMES="$((FRAMES / 10))" MAX_BTWN_GOALS=60 \
    VAL_FREQ=25 SAVE_EVERY=50 bash 3_train_finetune_template.sh --jitter --no_step_weights --log_every 10 "$@"
}

train_method() {
  local kept=(--retention_sampling methods_old)
  case "$1" in
    full) train full 3e-4 "${kept[@]}" ;;
    frozen) train frozen 3e-4 "${kept[@]}" --train_parts frozen_cnn ;;
    heads) train heads 1e-3 "${kept[@]}" --train_parts heads_and_goal ;;
    lora) train lora 1e-3 "${kept[@]}" --train_parts lora ;;
    norm_bias) train norm_bias 1e-3 "${kept[@]}" --train_parts norm_bias ;;
    goal) train goal 1e-2 --train_parts goal --fixed_prompt "$PROMPT" ;;
    fixed_prompt) train fixed_prompt 3e-4 "${kept[@]}" --fixed_prompt "$PROMPT" ;;
    mixed) SAMPLING_NAME=methods_mixed train mixed 3e-4 --retention_list data/samplings/methods_old_val.txt ;;
    kl) train kl 3e-4 "${kept[@]}" --kl_coef 0.3 ;;
    *) echo "unknown method: $1 (full frozen heads lora norm_bias goal fixed_prompt mixed kl)" >&2; exit 2 ;;
  esac
}

# The goal file asks for its own goal whatever the prompt, and leaves the weights alone: only the new task says something of it.
# shellcheck disable=SC2086  # a list of words on purpose
play_method() {
  if [ "$1" = goal ]; then
    "$PYTHON" -m steve1.commands.evaluate --weights "$BASE" data/weights/steve1/methods_goal.goal.json --tasks "$NEW_TASK" \
      --target "$NEW_TASK" --episodes "$EPISODES" --seed "$SEED" --name methods_goal
    return
  fi
  PLAYED+=("data/weights/steve1/methods_$1.weights")
  "$PYTHON" -m steve1.commands.evaluate --weights "$BASE" "${PLAYED[@]}" --tasks "$NEW_TASK" $OLD_TASKS \
    --target "$NEW_TASK" --episodes "$EPISODES" --seed "$SEED" --name methods
}

samplings
PLAYED=()
for method in "$@"; do
  say "$method: training"
  train_method "$method"
  say "$method: playing"
  play_method "$method"
done
say "done: $*; data/evaluations/methods/report.html, data/evaluations/methods_goal/report.html"
