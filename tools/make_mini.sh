#!/usr/bin/env bash
# Makes the mini weights in data/mini/ from scratch: records, converts, trains MineCLIP, prior and policy, measures.
#   needs: the game (tools/setup.sh); about 4 GB of disk
#   makes: data/mini/*, and the outputs of the stages in data/{recordings,dataset}_mini*, data/finetuning_checkpoint/, data/prompt_matrices/
#   takes: about two hours on 2 cores (docs/mini.md has each stage's time)
#   usage: bash tools/make_mini.sh [STAGE …]        stages, in order: record convert mineclip embed prior policy aim finish measure
#          bash tools/make_mini.sh idm              the inverse dynamics model, from recordings of its own
# Run it again to resume. Without a STAGE all of them but idm run; finished ones take seconds.
# shellcheck disable=SC2046,SC2086  # lists of words on purpose
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
. tools/python.sh

# The policy learns these; only MineCLIP and the prior see the new skill.
SKILLS="${SKILLS:-look_at_sky explore collect_grass build_pillar swim chop_tree}"
NEW_SKILL="${NEW_SKILL:-dig_dirt}"
EPISODES="${EPISODES:-17}"                 # per behaviour
STEPS="${STEPS:-300}"                      # ticks per episode
GAMES="${GAMES:-2}"                        # games in parallel
SEED="${SEED:-0}"

MINECLIP_STEPS="${MINECLIP_STEPS:-500}"    # optimizer steps of the contrastive training
POLICY_FRAMES="${POLICY_FRAMES:-500000}"   # frames that the policy is trained on
AIM_FRAMES="${AIM_FRAMES:-200000}"         # frames of the second pass, on aiming
MATRIX_EPISODES="${MATRIX_EPISODES:-20}"   # episodes per prompt

IDM_EPISODES="${IDM_EPISODES:-24}"         # babbling players, per biome, of 600 ticks
IDM_BEHAVIOURS="${IDM_BEHAVIOURS:-look_at_sky explore collect_grass build_pillar swim chop_tree dig_dirt}"   # as many demonstrations of each
IDM_FRAMES="${IDM_FRAMES:-400000}"         # frames that the inverse dynamics model is trained on

case "${1:-}" in -h|--help) exit 0 ;; esac
whole_numbers EPISODES STEPS GAMES SEED MINECLIP_STEPS POLICY_FRAMES AIM_FRAMES MATRIX_EPISODES IDM_EPISODES IDM_FRAMES
[ $# -gt 0 ] || set -- record convert mineclip embed prior policy aim finish measure

say() { printf '\n== %s: %s\n' "$(date +%H:%M:%S)" "$*"; }

datasets() {
  local name
  for name in "$@"; do printf 'data/dataset_mini_%s ' "$name"; done
}

stage_record() {
  say "recording"
  "$PYTHON" -m steve1 record --output_dir data/recordings_mini --by_behaviour --behaviours $SKILLS $NEW_SKILL \
    --episodes "$EPISODES" --steps "$STEPS" --seed "$SEED" --workers "$GAMES"
}

stage_convert() {
  local name
  for name in $SKILLS $NEW_SKILL; do
    say "converting $name"
    # Null actions are kept: standing still is half of looking at the sky.
    "$PYTHON" tools/convert_recordings.py --input_dir "data/recordings_mini/$name" --output_dir "data/dataset_mini_$name" --keep_nulls
  done
}

stage_mineclip() {
  say "training the mini MineCLIP"
  "$PYTHON" -m research.train_mineclip --dataset_dir $(datasets $SKILLS $NEW_SKILL) \
    --out_weights data/mini/mini_mineclip.safetensors --seed "$SEED" --steps "$MINECLIP_STEPS" --batch_size 28 --eval_every 100
}

stage_embed() {
  local folder
  for folder in $(datasets $SKILLS $NEW_SKILL); do
    say "embedding $folder"
    "$PYTHON" tools/generate_mineclip_embeds.py --dataset_dir "$folder" --weights data/mini/mini_mineclip.safetensors
  done
}

stage_prior() {
  say "training the mini prior"
  DATA=data/prior_data/mini_pairs.npz DATASET_DIRS="$(datasets $SKILLS $NEW_SKILL)" MINECLIP=data/mini/mini_mineclip.safetensors \
    OUT_WEIGHTS=data/mini/mini_prior.safetensors SEED="$SEED" MAX_EPOCHS=80 bash 4_train_prior.sh --half --hidden_dim 128 --latent_dim 64
}

stage_policy() {
  say "training the mini policy"
  [ -f data/mini/mini.model ] || "$PYTHON" -m steve1 new_model --output data/mini/mini.model
  bash 2_create_sampling.sh mini --mix $(for folder in $(datasets $SKILLS); do printf '%s=1 ' "$folder"; done) --overwrite
  IN_MODEL=data/mini/mini.model IN_WEIGHTS=none OUT_WEIGHTS=data/weights/steve1/mini_base.weights SAMPLING_NAME=mini \
    BATCH_SIZE=8 T=64 TRUNC_T=64 LEARNING_RATE=1e-3 TOTAL_FRAMES="$POLICY_FRAMES" WARMUP_FRAMES=20000 MIN_BTWN_GOALS=15 MAX_BTWN_GOALS=60 \
    VAL_FREQ=200 SAVE_EVERY=200 SEED="$SEED" bash 3_train_finetune_template.sh --jitter --force_resume
}

stage_aim() {
  # Aiming is a tenth of the frames and decides the rest: in this second pass, frames that turn the view count three times.
  say "training the mini policy on aiming"
  IN_MODEL=data/mini/mini.model IN_WEIGHTS=data/weights/steve1/mini_base.weights OUT_WEIGHTS=data/weights/steve1/mini_aim.weights \
    SAMPLING_NAME=mini BATCH_SIZE=8 T=64 TRUNC_T=64 LEARNING_RATE=7e-4 TOTAL_FRAMES="$AIM_FRAMES" WARMUP_FRAMES=10000 MIN_BTWN_GOALS=15 \
    MAX_BTWN_GOALS=60 VAL_FREQ=200 SAVE_EVERY=200 SEED="$((SEED + 1))" bash 3_train_finetune_template.sh --jitter --turn_loss_weight 3 --force_resume
}

stage_finish() {
  say "converting to half precision, into data/mini"
  "$PYTHON" -m steve1 convert_weights --in_model data/mini/mini.model --in_weights data/weights/steve1/mini_aim.weights \
    --out_weights data/mini/mini.weights --dtype float16 --overwrite --mineclip data/mini/mini_mineclip.safetensors \
    --prior data/mini/mini_prior.safetensors --env luanti --cond_scale 0 --temperature 0.65
  ls -l data/mini
}

stage_measure() {
  say "measuring every prompt on every task"
  "$PYTHON" -m research.prompt_matrix --weights data/mini/mini.weights --episodes "$MATRIX_EPISODES" --workers "$GAMES"
}

stage_idm() {
  # Movements have to vary: a player that presses anything, beside the demonstrations. Validated at other places, which evaluations use.
  local babble="babble_meadow babble_forest babble_shore" part split episodes
  say "recording for the inverse dynamics model"
  for part in train val; do
    split=demo episodes="$IDM_EPISODES"
    [ "$part" = train ] || { split="eval"; episodes=$(( (IDM_EPISODES + 7) / 8 )); }
    "$PYTHON" -m steve1 record --output_dir "data/recordings_mini_idm/$part" --behaviours $babble --episodes "$episodes" --steps 600 \
      --split "$split" --seed "$SEED" --workers "$GAMES" --no_only_successful
    "$PYTHON" -m steve1 record --output_dir "data/recordings_mini_idm/$part" --behaviours $IDM_BEHAVIOURS --episodes "$episodes" --steps 300 \
      --split "$split" --seed "$SEED" --workers "$GAMES"
    "$PYTHON" tools/convert_recordings.py --input_dir "data/recordings_mini_idm/$part" --output_dir "data/dataset_mini_idm_$part" --keep_nulls --no_mineclip_frames
  done
  mkdir -p data/samplings
  find data/dataset_mini_idm_val -mindepth 1 -maxdepth 1 -type d ! -name '.*' | sort > data/samplings/mini_idm_val_list.txt
  VAL_LIST=data/samplings/mini_idm_val_list.txt bash 2_create_sampling.sh mini_idm --dataset_dir data/dataset_mini_idm_train --overwrite
  say "training the mini inverse dynamics model"
  SAMPLING_NAME=mini_idm OUT_WEIGHTS=data/mini/mini_idm.weights TOTAL_FRAMES="$IDM_FRAMES" SEED="$SEED" \
    bash 3_train_idm.sh --half --precision bf16 --env luanti
}

for stage in "$@"; do
  case "$stage" in
    record|convert|mineclip|embed|prior|policy|aim|finish|measure|idm) "stage_$stage" ;;
    *) echo "unknown stage: $stage (stages: record convert mineclip embed prior policy aim finish measure idm)" >&2; exit 2 ;;
  esac
done
say "done: $*"
