# Sourced by the scripts: PYTHON is the project's own environment where there is one; variables that have another name now are refused.
# shellcheck shell=bash
if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON="$PWD/.venv/bin/python"; else PYTHON=python3; fi
fi
export PYTHON

RENAMED="TRAIN_PARTS=FINETUNE_MODE"   # old=new, separated by spaces: a variable that nothing reads would be ignored without a word
for renamed in $RENAMED; do
  old="${renamed%%=*}"
  if [ -n "${!old:-}" ]; then
    echo "error: the variable $old is called ${renamed#*=} now; set that instead: ${renamed#*=}=${!old}" >&2
    exit 2
  fi
done
