#!/usr/bin/env bash
# Makes the mini weights in data/mini/ from scratch: records, converts, trains MineCLIP, prior and policy, measures.
#   needs: the game (tools/setup.sh); about 4 GB of disk
#   makes: data/mini/*, and the outputs of the stages in data/{recordings,dataset}_mini*, data/finetuning_checkpoint/, data/prompt_matrices/
#   takes: several hours on 2 cores
#   usage: bash tools/make_mini.sh [STAGE …]        stages, in order: record convert mineclip embed prior cnn correct more policy finish replay rl measure
#          bash tools/make_mini.sh record convert idm     the inverse dynamics model, from these demonstrations and a babbling player
# Run it again to resume. Without a STAGE all of them but idm run; finished ones take seconds.
# shellcheck disable=SC2046,SC2086  # lists of words on purpose
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

# What is recorded, NAME=COUNT, and for how many ticks. Short recordings where the beginning decides, long ones for building.
SHORT="${SHORT:-look_at_sky=40 open_inventory=24 light_lamp=40 build_pillar=24}"
SHORT_STEPS="${SHORT_STEPS:-150}"
MIDDLE="${MIDDLE:-dig_dirt=16 explore=24 swim=24 dive=20 collect_grass=90 pick_flower=90 chop_tree=64 collect_leaves=70 dig_deep=16 craft_planks=50}"
MIDDLE_STEPS="${MIDDLE_STEPS:-300}"
LONG="${LONG:-build_floor=24 build_wall=24}"
LONG_STEPS="${LONG_STEPS:-600}"
# Not flowers: a MineCLIP of this size takes picking them for collecting grass. Digging deep, because a policy that knows it digs dirt untaught.
HELD_OUT="${HELD_OUT:-dig_dirt dig_deep build_floor}"   # only MineCLIP and the prior see these; the policy is to learn them in fine-tuning
# What the policy begins and the scripted player puts right, NAME=COUNT: states that no demonstration shows. Only the player's part is trained.
CORRECTED="${CORRECTED:-collect_grass=24 pick_flower=24 collect_leaves=20 chop_tree=20 craft_planks=16 light_lamp=16 build_wall=16 look_at_sky=12 swim=12 explore=12}"
# Shares in the policy's training where they are not 1, NAME=SHARE. One press of the inventory's key ends most other skills.
SHARES="${SHARES:-look_at_sky=2 open_inventory=0.5}"
GAMES="${GAMES:-2}"                        # games in parallel
SEED="${SEED:-0}"

OUT="${OUT:-data/mini}"                    # folder of the finished family
MINECLIP_STEPS="${MINECLIP_STEPS:-1500}"   # optimizer steps of the contrastive training
CNN_FRAMES="${CNN_FRAMES:-1000000}"        # frames that the whole policy is trained on
MORE_FRAMES="${MORE_FRAMES:-1000000}"      # … and again, with the corrections
POLICY_FRAMES="${POLICY_FRAMES:-1000000}"  # frames that all but the CNN is trained on, with cached features
REPLAY_FRAMES="${REPLAY_FRAMES:-16000}"    # frames of the replay pack, from the demonstrations that the policy was trained on
# What is trained by reinforcement learning at the end, one after the other, NAME=ITERATIONS (collect_leaves=6); the replay pack keeps the policy as it was elsewhere.
RL="${RL:-}"
MATRIX_EPISODES="${MATRIX_EPISODES:-20}"   # episodes per prompt

IDM_EPISODES="${IDM_EPISODES:-48}"         # babbling players, per biome, of 600 ticks
# … and demonstrations of 300 ticks beside those of the family, NAME=COUNT: most of those that look steeply down or up. The first of each are
# recorded at held-out places too.
IDM_SHOWN="${IDM_SHOWN:-build_pillar=40 dig_deep=36 look_at_sky=24 explore=24 collect_grass=16 swim=12 chop_tree=12}"
IDM_FRAMES="${IDM_FRAMES:-1000000}"        # frames that the inverse dynamics model is trained on

case "${1:-}" in -h|--help) exit 0 ;; esac
whole_numbers SHORT_STEPS MIDDLE_STEPS LONG_STEPS GAMES SEED MINECLIP_STEPS CNN_FRAMES MORE_FRAMES POLICY_FRAMES REPLAY_FRAMES MATRIX_EPISODES IDM_EPISODES IDM_FRAMES
[ $# -gt 0 ] || set -- record convert mineclip embed prior cnn correct more policy finish replay rl measure
mkdir -p "$OUT"

# The family that is there is replaced, but for a run of ours that goes on.
replacing() { [ -e "data/finetuning_checkpoint/$1/settings.json" ] || echo --overwrite; }

say() { printf '\n== %s: %s\n' "$(date +%H:%M:%S)" "$*"; }

# The names of NAME=COUNT …
names() {
  local part
  for part in "$@"; do printf '%s ' "${part%%=*}"; done
}

ALL="$(names $SHORT $MIDDLE $LONG)"

# Those that the policy is trained on.
trained() {
  local name
  for name in $ALL; do
    case " $HELD_OUT " in *" $name "*) ;; *) printf '%s ' "$name" ;; esac
  done
}

# Shares of everything that the policy is trained on, for 2_create_sampling.sh; corrections have half of their behaviour's.
shares() {
  local name
  for name in $(trained); do printf 'data/dataset_mini_%s=%s ' "$name" "$(share_of "$name" 1)"; done
}

corrected_shares() {
  local name
  for name in $(names $CORRECTED); do printf 'data/dataset_mini_corrected_%s=%s ' "$name" "$(share_of "$name" 0.5)"; done
}

# share_of NAME PART: its share times PART.
share_of() {
  local part share=1
  for part in $SHARES; do
    if [ "${part%%=*}" = "$1" ]; then share="${part##*=}"; fi
  done
  awk -v share="$share" -v part="$2" 'BEGIN { printf "%g", share * part }'
}

corrected() {
  local name
  for name in $(names $CORRECTED); do printf 'data/dataset_mini_corrected_%s ' "$name"; done
}

# The prompt of a task.
prompt_of() {
  "$PYTHON" -c 'import sys; from steve1.evaluation.tasks.suite import load_suite; print(load_suite("luanti").tasks[sys.argv[1]].prompts["en"])' "$1"
}

datasets() {
  local name
  for name in "$@"; do printf 'data/dataset_mini_%s ' "$name"; done
}

record() {
  local steps="$1"
  shift
  say "recording $* ($steps ticks)"
  "$PYTHON" -m steve1 record --output_dir "data/recordings_mini/$steps" --by_behaviour --behaviours "$@" \
    --steps "$steps" --seed "$SEED" --workers "$GAMES"
}

stage_record() {
  record "$SHORT_STEPS" $SHORT
  record "$MIDDLE_STEPS" $MIDDLE
  record "$LONG_STEPS" $LONG
}

# Null actions are kept: standing still is half of looking at the sky.
convert() {
  say "converting $1"
  "$PYTHON" tools/convert_recordings.py --input_dir "$1" --output_dir "$2" --keep_nulls
}

stage_convert() {
  local folder
  for folder in data/recordings_mini/*/*/; do
    folder="${folder%/}"
    convert "$folder" "data/dataset_mini_${folder##*/}"
  done
}

stage_mineclip() {
  say "training the mini MineCLIP"
  "$PYTHON" -m research.train_mineclip --dataset_dir $(datasets $ALL) \
    --out_weights "$OUT/mini_mineclip.safetensors" --seed "$SEED" --steps "$MINECLIP_STEPS" --batch_size 48 --eval_every 100 $(replacing mini_mineclip)
}

embed() {
  local folder
  for folder in "$@"; do
    say "embedding $folder"
    "$PYTHON" tools/generate_mineclip_embeds.py --dataset_dir "$folder" --weights "$OUT/mini_mineclip.safetensors"
  done
}

stage_embed() { embed $(datasets $ALL); }

stage_prior() {
  say "training the mini prior"
  DATA=data/prior_data/mini_pairs.npz DATASET_DIRS="$(datasets $ALL)" MINECLIP="$OUT/mini_mineclip.safetensors" \
    OUT_WEIGHTS="$OUT/mini_prior.safetensors" SEED="$SEED" MAX_EPOCHS=80 bash 4_train_prior.sh --half --hidden_dim 128 --latent_dim 64 $(replacing mini_prior)
}

# What both trainings of the policy share. Windows begin after the 15 frames in which scripted players wait: an episode is played from its first
# frame, so with them in its windows the policy learned to wait. Turns are few and decide the rest, so they count more.
train_policy() {
  IN_MODEL="$OUT/mini.model" SAMPLING_NAME=mini MIN_BTWN_GOALS=15 MAX_BTWN_GOALS=60 \
    bash 3_train_finetune_template.sh --jitter --force_resume "$@"
}

stage_cnn() {
  say "training the whole mini policy"
  [ -f "$OUT/mini.model" ] || "$PYTHON" -m steve1 new_model --hidsize 256 --output "$OUT/mini.model"
  bash 2_create_sampling.sh mini --mix $(shares) --overwrite
  # Many small steps: with 512 frames a step and 800 steps the network learned from its goals alone and nothing from what it saw.
  IN_WEIGHTS=none OUT_WEIGHTS=data/weights/steve1/mini_cnn.weights BATCH_SIZE=8 T=32 TRUNC_T=8 LEARNING_RATE=5e-4 TOTAL_FRAMES="$CNN_FRAMES" \
    WARMUP_FRAMES=20000 VAL_FREQ=2000 SAVE_EVERY=2000 SEED="$SEED" train_policy --turn_loss_weight 3
}

stage_correct() {
  local prompts=() part name
  for part in $CORRECTED; do
    name="${part%%=*}"
    prompts+=("$(prompt_of "$name")=${part##*=}")
  done
  half data/weights/steve1/mini_cnn.weights data/weights/steve1/mini_first.weights
  say "recording corrections: ${prompts[*]}"
  "$PYTHON" -m steve1 record --weights data/weights/steve1/mini_first.weights --prompts "${prompts[@]}" --takeover 30 140 --steps "$MIDDLE_STEPS" \
    --seed "$((SEED + 77))" --workers "$GAMES" --by_behaviour --output_dir data/recordings_mini_corrected
  for name in $(names $CORRECTED); do convert "data/recordings_mini_corrected/$name" "data/dataset_mini_corrected_$name"; done
  embed $(corrected)
}

stage_more() {
  say "training the whole mini policy, with the corrections"
  bash 2_create_sampling.sh mini --mix $(shares) $(corrected_shares) --overwrite
  IN_WEIGHTS=data/weights/steve1/mini_cnn.weights OUT_WEIGHTS=data/weights/steve1/mini_more.weights BATCH_SIZE=8 T=32 TRUNC_T=8 LEARNING_RATE=3e-4 \
    TOTAL_FRAMES="$MORE_FRAMES" WARMUP_FRAMES=20000 VAL_FREQ=2000 SAVE_EVERY=2000 SEED="$((SEED + 2))" train_policy --turn_loss_weight 3
}

stage_policy() {
  say "training all but the CNN"
  bash 2_create_sampling.sh mini --mix $(shares) $(corrected_shares) --overwrite
  IN_WEIGHTS=data/weights/steve1/mini_more.weights OUT_WEIGHTS=data/weights/steve1/mini_policy.weights FINETUNE_MODE=frozen_cnn BATCH_SIZE=8 T=64 \
    TRUNC_T=16 LEARNING_RATE=5e-4 TOTAL_FRAMES="$POLICY_FRAMES" WARMUP_FRAMES=50000 VAL_FREQ=3000 SAVE_EVERY=3000 SEED="$((SEED + 1))" \
    train_policy --feature_cache --turn_loss_weight 2
}

# Half precision, with the files that belong together. The middle of the prior is nearest the task that the prompt names.
half() {
  "$PYTHON" -m steve1 convert_weights --in_model "$OUT/mini.model" --in_weights "$1" --out_weights "$2" --dtype float16 --overwrite \
    --mineclip "$OUT/mini_mineclip.safetensors" --prior "$OUT/mini_prior.safetensors" --prior_code middle --env luanti --cond_scale 0 --temperature 0.65
}

stage_finish() {
  say "converting to half precision, into $OUT"
  half data/weights/steve1/mini_policy.weights "$OUT/mini.weights"
  ls -l "$OUT"
}

stage_replay() {
  say "packing old episodes for replay"
  TRAIN_FRAMES="$REPLAY_FRAMES" bash 2_create_sampling.sh mini_replay --mix $(shares) --overwrite
  "$PYTHON" -m steve1 make_replay --output "$OUT/mini.replay.safetensors" --sampling_name mini_replay \
    --in_model "$OUT/mini.model" --in_weights "$OUT/mini.weights" --overwrite
}

# From the finished weights, whose image network is that of the pack, and into their place.
stage_rl() {
  local part name weights=data/weights/steve1/mini_before_rl.weights
  half data/weights/steve1/mini_policy.weights "$weights"
  for part in $RL; do
    name="${part%%=*}"
    say "reinforcement learning: $name (${part##*=} iterations)"
    IN_WEIGHTS="$weights" OUT_WEIGHTS="data/weights/steve1/mini_rl_$name.weights" REWARD="$name" ITERATIONS="${part##*=}" \
      REPLAY="$OUT/mini.replay.safetensors" WORKERS="$GAMES" SEED="$((SEED + 3))" bash 3_train_finetune_rl.sh
    weights="data/weights/steve1/mini_rl_$name.weights"
  done
  half "$weights" "$OUT/mini.weights"
}

stage_measure() {
  say "measuring every prompt on every task"
  "$PYTHON" -m research.prompt_matrix --weights "$OUT/mini.weights" --episodes "$MATRIX_EPISODES" --workers "$GAMES"
}

stage_idm() {
  # Movements have to vary: a player that presses anything, beside the demonstrations. Validated at other places, which evaluations use.
  local babble="babble_meadow babble_forest babble_shore" part mix="data/dataset_mini_idm_train=0.4 data/dataset_mini_idm_shown=0.3" few=$(( (IDM_EPISODES + 15) / 16 )) name
  say "recording for the inverse dynamics model"
  "$PYTHON" -m steve1 record --output_dir data/recordings_mini_idm/train --behaviours $babble --episodes "$IDM_EPISODES" --steps 600 \
    --split demo --seed "$SEED" --workers "$GAMES" --no_only_successful
  "$PYTHON" -m steve1 record --output_dir data/recordings_mini_idm/val --behaviours $babble --episodes "$few" --steps 600 \
    --split "eval" --seed "$SEED" --workers "$GAMES" --no_only_successful
  "$PYTHON" -m steve1 record --output_dir data/recordings_mini_idm/val --behaviours $(names $IDM_SHOWN) --episodes "$few" --steps 300 \
    --split "eval" --seed "$SEED" --workers "$GAMES"
  "$PYTHON" -m steve1 record --output_dir data/recordings_mini_idm/shown --behaviours $IDM_SHOWN --steps 300 \
    --split demo --seed "$((SEED + 5))" --workers "$GAMES"
  for part in train shown val; do
    "$PYTHON" tools/convert_recordings.py --input_dir "data/recordings_mini_idm/$part" --output_dir "data/dataset_mini_idm_$part" --keep_nulls --no_mineclip_frames
  done
  # Two fifths of the windows are the babbling player's. In a menu the mouse moves the pointer, so demonstrations of menus are left out.
  local shown=()
  for name in $ALL; do
    case "$name" in open_inventory|craft_planks) ;; *) shown+=("$name") ;; esac
  done
  for name in "${shown[@]}"; do mix="$mix data/dataset_mini_$name=$(awk -v n="${#shown[@]}" 'BEGIN { printf "%.4f", 0.3 / n }')"; done
  mkdir -p data/samplings
  find data/dataset_mini_idm_val -mindepth 1 -maxdepth 1 -type d ! -name '.*' | sort > data/samplings/mini_idm_val_list.txt
  VAL_LIST=data/samplings/mini_idm_val_list.txt bash 2_create_sampling.sh mini_idm --mix $mix --overwrite
  say "training the mini inverse dynamics model"
  SAMPLING_NAME=mini_idm OUT_WEIGHTS="$OUT/mini_idm.weights" TOTAL_FRAMES="$IDM_FRAMES" SEED="$SEED" \
    bash 3_train_idm.sh --half --precision bf16 --env luanti $(replacing mini_idm)
}

for stage in "$@"; do
  case "$stage" in
    record|convert|mineclip|embed|prior|cnn|correct|more|policy|finish|replay|rl|measure|idm) "stage_$stage" ;;
    *) said "error: unknown stage: $stage (stages: record convert mineclip embed prior cnn correct more policy finish replay rl measure idm)" >&2; exit 2 ;;
  esac
done
say "done: $*"
