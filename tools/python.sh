# Sourced by the numbered scripts: PYTHON is the project's own environment where there is one.
# shellcheck shell=bash
if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON="$PWD/.venv/bin/python"; else PYTHON=python3; fi
fi
export PYTHON
# A variable under its earlier name stops the script instead of being ignored.
for renamed in TRAIN_PARTS:FINETUNE_MODE; do
  old="${renamed%%:*}"
  if [ -n "${!old:-}" ]; then
    echo "error: $old is called ${renamed#*:} now.  next: ${renamed#*:}=${!old} in its place" >&2
    exit 2
  fi
done
