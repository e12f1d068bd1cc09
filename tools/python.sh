# Sourced by the scripts: sets PYTHON to the project's .venv if there is one, and rejects renamed variables.
# shellcheck shell=bash
if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON="$PWD/.venv/bin/python"; else PYTHON=python3; fi
fi

# A line of steve1/core/messages.py in the user's language: text KEY [name=value …]
text() { "$PYTHON" steve1/core/messages.py "$@"; }

RENAMED="TRAIN_PARTS=FINETUNE_MODE"   # old=new, separated by spaces; otherwise an old variable would be silently ignored
for renamed in $RENAMED; do
  old="${renamed%%=*}"
  if [ -n "${!old:-}" ]; then
    echo "error: the variable $old is called ${renamed#*=} now; set that instead: ${renamed#*=}=${!old}" >&2
    exit 2
  fi
done
