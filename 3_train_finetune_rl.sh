#!/usr/bin/env bash
# Fine-tunes by reinforcement learning: the policy plays, a reward judges, what went better than expected becomes more probable.
# Costly, and for skills that succeed sometimes: it sharpens what is there and discovers nothing.
#   needs: weights that play, the game, a reward (steve1/rl/rewards/, or a YAML file; check it: python -m steve1 check_reward)
#   makes: OUT_WEIGHTS; report.html, films, curves, rollouts and traces in data/finetuning_checkpoint/<name of OUT_WEIGHTS>/
#   takes: 22 minutes on 2 cores for look_at_sky with the mini weights. Run it again to resume.
#   usage: bash 3_train_finetune_rl.sh [flags]            (--help: all of them; --dry_run: what it would take)
#          REWARD=dig_dirt IN_WEIGHTS=data/weights/steve1/quickstart.weights OUT_WEIGHTS=data/weights/steve1/dig_rl.weights bash 3_train_finetune_rl.sh
#   watch: tensorboard --logdir data/finetuning_checkpoint
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

IN_WEIGHTS="${IN_WEIGHTS:-data/mini/mini.weights}"
OUT_WEIGHTS="${OUT_WEIGHTS:-data/weights/steve1/mini_sky_rl.weights}"
REWARD="${REWARD:-look_at_sky}"              # a name of steve1/rl/rewards/<game>.yaml, or a YAML file
PROMPT="${PROMPT:-}"                         # empty: that of the reward's task
METHOD="${METHOD:-ppo}"                      # ppo | group | clone | preference (explained in --help)
GROUP_FORM="${GROUP_FORM:-steps}"            # METHOD=group: steps (what comes after each step) | episode (the whole return)
FINETUNE_MODE="${FINETUNE_MODE:-frozen_cnn}" # with frozen_cnn, lora, heads_and_goal or goal, each frame is encoded once, while playing

# Playing
ITERATIONS="${ITERATIONS:-12}"
PLACES="${PLACES:-4}"                        # start states of an iteration
GROUP="${GROUP:-8}"                          # episodes at each: the same start, other draws
STEPS="${STEPS:-0}"                          # of an episode, 20 a second; 0: the reward's own
WORKERS="${WORKERS:-2}"                      # games at a time
RAY="${RAY:-0}"                              # 1: games on a Ray cluster

# Learning
LEARNING_RATE="${LEARNING_RATE:-3e-5}"       # 2e-5 for STEVE-1's weights; ten times as much for LoRA; 1e-2 for a goal
EPOCHS="${EPOCHS:-2}"
MINIBATCHES="${MINIBATCHES:-4}"
CLIP="${CLIP:-0.2}"
CLIP_HIGH="${CLIP_HIGH:-0}"                  # 0: as CLIP; 0.28 lets probabilities rise further
GAMMA="${GAMMA:-0.999}"
LAMBDA="${LAMBDA:-0.97}"
VALUE="${VALUE:-linear}"                     # linear | head (the policy's value head, reset) | none
TARGET_KL="${TARGET_KL:-0.02}"               # nats a step and iteration, looked at after every optimizer step
MAX_GRAD_NORM="${MAX_GRAD_NORM:-5.0}"        # gradients are clipped to it; 0: never
SEED="${SEED:-0}"                            # of places, draws and minibatches
CHECKPOINT_DIR="${CHECKPOINT_DIR:-data/finetuning_checkpoint}"   # the run's folder is made in it

# Keeping old skills (KEEP and REPLAY as in 3_train_finetune_template.sh)
KEEP="${KEEP:-auto}"                         # self: stay close to what the start does under KEEP_PROMPTS; kl: stay close to it on REPLAY; replay: imitate REPLAY; both; none; auto: self without REPLAY, kl with a pack, replay with a sampling
REPLAY="${REPLAY:-}"                         # a replay pack, or the name of a sampling
KL_COEF="${KL_COEF:-0.1}"                    # to the starting policy on what is visited; 0.2 for STEVE-1's weights
KL_DECAY="${KL_DECAY:-1.0}"                  # an iteration
KEEP_PROMPTS="${KEEP_PROMPTS-auto}"          # other prompts on which the policy stays as it was; auto: what it is known to do, and no goal; "": none
KEEP_EPISODES="${KEEP_EPISODES:-6}"
KEEP_COEF="${KEEP_COEF:-1.0}"                # weight of self, replay, kl or both

whole_numbers ITERATIONS PLACES GROUP STEPS WORKERS EPOCHS MINIBATCHES KEEP_EPISODES
[ -z "${REPLAY_SHARE:-}" ] || { printf '%s: %s\n' "$(text error)" "$(text "rl replay share")" >&2; exit 2; }

[ "$RAY" = 0 ] || set -- --ray "$@"
exec "$PYTHON" -m steve1 train_rl --in_weights "$IN_WEIGHTS" --out_weights "$OUT_WEIGHTS" --reward "$REWARD" --prompt "$PROMPT" \
  --method "$METHOD" --group_form "$GROUP_FORM" --finetune_mode "$FINETUNE_MODE" --iterations "$ITERATIONS" --places "$PLACES" --group "$GROUP" --steps "$STEPS" \
  --workers "$WORKERS" --learning_rate "$LEARNING_RATE" --epochs "$EPOCHS" --minibatches "$MINIBATCHES" --clip "$CLIP" \
  --clip_high "$CLIP_HIGH" --gamma "$GAMMA" --lam "$LAMBDA" --value "$VALUE" --target_kl "$TARGET_KL" --max_grad_norm "$MAX_GRAD_NORM" \
  --seed "$SEED" --checkpoint_dir "$CHECKPOINT_DIR" --kl_coef "$KL_COEF" \
  --kl_decay "$KL_DECAY" --keep "$KEEP" --replay "$REPLAY" --keep_prompts "$KEEP_PROMPTS" --keep_episodes "$KEEP_EPISODES" --keep_coef "$KEEP_COEF" "$@"
