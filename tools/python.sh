# Sourced by the numbered scripts: PYTHON is the project's own environment where there is one.
# shellcheck shell=bash
if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON="$PWD/.venv/bin/python"; else PYTHON=python3; fi
fi
export PYTHON
