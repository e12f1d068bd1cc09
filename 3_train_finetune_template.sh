#!/usr/bin/env bash
# Fine-tunes a policy on the episodes of a sampling. Copy this file, edit the variables, run the copy.
#   needs: pretrained weights (0_download_weights.sh), a sampling (2_create_sampling.sh)
#   makes: OUT_WEIGHTS and its _best version; curves and checkpoints in data/finetuning_checkpoint/<name of OUT_WEIGHTS>/
#   takes: 2-4 hours on a 24 GB GPU by the original guide, not measured; 1 GB of disk per checkpoint. Run it again to resume.
#   usage: bash 3_train_finetune_template.sh [flags]            (--help: all of them)
#          LEARNING_RATE=5e-6 BATCH_SIZE=4 bash 3_train_finetune_template.sh --val_freq 500
#          PRESET=12gb bash 3_train_finetune_template.sh       (24gb, 16gb, 12gb, 8gb: batch, T and checkpointing for that much GPU memory)
#   watch: tensorboard --logdir data/finetuning_checkpoint
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

# Defaults for a GPU (24gb, 16gb, 12gb, 8gb) or for pretraining (pretrain); variables that you set win
PRESET="${PRESET:-}"
. tools/presets.sh

# Model and weights
IN_MODEL="${IN_MODEL:-data/weights/vpt/2x.model}"
IN_WEIGHTS="${IN_WEIGHTS:-data/weights/steve1/steve1.weights}"            # pretrained STEVE-1
OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/steve1_finetuned.weights}"

# Data
SAMPLING_NAME="${SAMPLING_NAME:-finetune_task}"         # data/samplings/<name>_train.txt and _val.txt

# Keeping old skills: old episodes mixed into training, a replay pack or the name of a sampling
REPLAY="${REPLAY:-}"                                    # e.g. data/replay/contractor.replay.safetensors (FINETUNE_MODE=frozen_cnn or lora, --feature_cache)
REPLAY_SHARE="${REPLAY_SHARE:-0.5}"
KEEP="${KEEP:-auto}"                                    # kl: stay close to the start on them; replay: imitate them; auto: kl with a pack, else replay; self, both, none: see --help

# What is trained: all, norm_bias, frozen_cnn, lora, heads_and_goal, goal (explained in --help)
FINETUNE_MODE="${FINETUNE_MODE:-all}"

# Training
BATCH_SIZE="${BATCH_SIZE:-8}"                           # 8 fits 32 GB of GPU memory, with ACTIVATION_CHECKPOINTING=light 16 GB
GRADIENT_ACCUM_STEPS="${GRADIENT_ACCUM_STEPS:-1}"       # effective batch = BATCH_SIZE x this
LEARNING_RATE="${LEARNING_RATE:-1e-5}"                  # lower than in pretraining, to keep old skills; LoRA, heads, norms: 1e-4
TOTAL_FRAMES="${TOTAL_FRAMES:-10000000}"
WARMUP_FRAMES="${WARMUP_FRAMES:-1000000}"
WEIGHT_DECAY="${WEIGHT_DECAY:-0.039}"
MAX_GRAD_NORM="${MAX_GRAD_NORM:-5.0}"                   # normal norms: 0.5 to 5 for the 2x network, 20 to 100 for the mini network

# Sequence length (out of memory: lower BATCH_SIZE, then TRUNC_T)
T="${T:-320}"
TRUNC_T="${TRUNC_T:-64}"                                # gradients flow back over this many frames

# Goals
MIN_BTWN_GOALS="${MIN_BTWN_GOALS:-15}"
MAX_BTWN_GOALS="${MAX_BTWN_GOALS:-100}"
P_UNCOND="${P_UNCOND:-0.1}"

# Validation and checkpoints, in optimizer steps
VAL_FREQ="${VAL_FREQ:-1000}"
SAVE_EVERY="${SAVE_EVERY:-1000}"
PATIENCE="${PATIENCE:-0}"                               # stop after this many validations without improvement; 0: never
RETENTION_SAMPLING="${RETENTION_SAMPLING:-}"            # also validate on this sampling's <name>_val.txt (old skills)
BEST_BY="${BEST_BY:-task}"                              # or task+retention
ROLLOUT_EVERY="${ROLLOUT_EVERY:-0}"                     # record videos of checkpoints, at least this many steps apart; 0: never
CHECKPOINT_DIR="${CHECKPOINT_DIR:-data/finetuning_checkpoint}"

# Machine
PROCESSES="${PROCESSES:-1}"                             # one per GPU
NUM_WORKERS="${NUM_WORKERS:-auto}"                     # processes that load batches: auto is 1, for pictures on a GPU 2
ACTIVATION_CHECKPOINTING="${ACTIVATION_CHECKPOINTING:-none}"   # none, light or full: less GPU memory, more arithmetic (see --help)
THREADS="${THREADS:-auto}"                              # on a CPU, and frames that go through the convolutions together:
FRAMES_AT_ONCE="${FRAMES_AT_ONCE:-auto}"                # auto measures before the first step and takes the fastest
SEED="${SEED:-0}"

whole_numbers PROCESSES
LAUNCH=("$PYTHON")
if [ "$PROCESSES" -gt 1 ]; then
  LAUNCH=("$PYTHON" tools/torchrun.py --standalone --nproc_per_node "$PROCESSES")
fi

exec "${LAUNCH[@]}" -m steve1 train \
  --in_model "$IN_MODEL" --in_weights "$IN_WEIGHTS" --out_weights "$OUT_WEIGHTS" \
  --sampling_name "$SAMPLING_NAME" --replay "$REPLAY" --replay_share "$REPLAY_SHARE" --keep "$KEEP" --finetune_mode "$FINETUNE_MODE" \
  --batch_size "$BATCH_SIZE" --gradient_accum_steps "$GRADIENT_ACCUM_STEPS" --learning_rate "$LEARNING_RATE" \
  --total_frames "$TOTAL_FRAMES" --warmup_frames "$WARMUP_FRAMES" --weight_decay "$WEIGHT_DECAY" \
  --max_grad_norm "$MAX_GRAD_NORM" --T "$T" --trunc_t "$TRUNC_T" \
  --min_btwn_goals "$MIN_BTWN_GOALS" --max_btwn_goals "$MAX_BTWN_GOALS" --p_uncond "$P_UNCOND" \
  --val_freq "$VAL_FREQ" --save_every "$SAVE_EVERY" --checkpoint_dir "$CHECKPOINT_DIR" \
  --patience "$PATIENCE" --retention_sampling "$RETENTION_SAMPLING" --best_by "$BEST_BY" --rollout_every "$ROLLOUT_EVERY" \
  --num_workers "$NUM_WORKERS" --activation_checkpointing "$ACTIVATION_CHECKPOINTING" --threads "$THREADS" --frames_at_once "$FRAMES_AT_ONCE" --seed "$SEED" "$@"
