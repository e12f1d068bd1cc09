#!/usr/bin/env bash
# Trains the prior: text embedding → goal embedding.
#   needs: pairs of text and video embeddings (the published ones: bash 0_download_weights.sh prior_data), or captioned episodes
#          with goals (tools/generate_mineclip_embeds.py) and the MineCLIP weights that made the goals
#   makes: OUT_WEIGHTS, and curves in data/finetuning_checkpoint/<name of OUT_WEIGHTS>/
#   takes: a minute for 10,000 pairs of the mini weights on 2 cores; 20 MB of disk
#   usage: bash 4_train_prior.sh [further flags]            (--help: all options)
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

DATA="${DATA:-data/prior_data/steve1_prior_data.pkl}"   # pairs: .pkl or .npz; with DATASET_DIRS: the .npz to write
DATASET_DIRS="${DATASET_DIRS:-}"                 # folders of embedded, captioned episodes, separated by spaces; empty: read DATA
MINECLIP="${MINECLIP:-data/weights/mineclip/attn.pth}"   # encodes the captions; only with DATASET_DIRS
OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/my_prior.safetensors}"   # .pt: STEVE-1's format

BETA="${BETA:-0.1}"                    # KL weight; lower: more varied goals, higher: closer to the text's mean goal
LEARNING_RATE="${LEARNING_RATE:-5e-4}"
BATCH_SIZE="${BATCH_SIZE:-256}"
MAX_EPOCHS="${MAX_EPOCHS:-300}"
PATIENCE="${PATIENCE:-30}"             # stop after this many epochs without a better validation loss
VAL_FRACTION="${VAL_FRACTION:-0.1}"    # share of episodes for validation
SEED="${SEED:-0}"

# shellcheck disable=SC2086  # DATASET_DIRS is a list of words on purpose
exec "$PYTHON" -m steve1 train_prior \
  --data "$DATA" ${DATASET_DIRS:+--dataset_dir $DATASET_DIRS --mineclip "$MINECLIP"} --out_weights "$OUT_WEIGHTS" \
  --beta "$BETA" --learning_rate "$LEARNING_RATE" --batch_size "$BATCH_SIZE" --max_epochs "$MAX_EPOCHS" \
  --patience "$PATIENCE" --val_fraction "$VAL_FRACTION" --seed "$SEED" "$@"
