# Sourced by 3_train_finetune_template.sh: defaults for a GPU or a purpose; variables that are set win.
# shellcheck shell=bash
# PRESET may name several; the first wins: PRESET="8gb", PRESET="pretrain 16gb".
# Smaller GPUs accumulate gradients, so that every optimizer step sees eight windows.
for preset in ${PRESET:-}; do
  case "$preset" in
    # begin: python -m research.memory_table
    24gb) : "${BATCH_SIZE:=8}" "${GRADIENT_ACCUM_STEPS:=1}" "${T:=320}" "${TRUNC_T:=64}" "${ACTIVATION_CHECKPOINTING:=light}" ;;
    16gb) : "${BATCH_SIZE:=8}" "${GRADIENT_ACCUM_STEPS:=1}" "${T:=160}" "${TRUNC_T:=64}" "${ACTIVATION_CHECKPOINTING:=light}" ;;
    12gb) : "${BATCH_SIZE:=4}" "${GRADIENT_ACCUM_STEPS:=2}" "${T:=128}" "${TRUNC_T:=64}" "${ACTIVATION_CHECKPOINTING:=light}" ;;
    8gb) : "${BATCH_SIZE:=1}" "${GRADIENT_ACCUM_STEPS:=8}" "${T:=64}" "${TRUNC_T:=64}" "${ACTIVATION_CHECKPOINTING:=light}" ;;
    # end
    pretrain)
      : "${BATCH_SIZE:=12}" "${LEARNING_RATE:=4e-5}" "${TOTAL_FRAMES:=100000000}" "${WARMUP_FRAMES:=10000000}"
      : "${WEIGHT_DECAY:=0.039428}" "${T:=640}" "${MAX_BTWN_GOALS:=200}" ;;
    finetune) ;;  # the template's own values
    *) said "error: PRESET=$preset is not known: 24gb, 16gb, 12gb, 8gb, pretrain, finetune" >&2; exit 2 ;;
  esac
done
