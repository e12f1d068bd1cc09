#!/usr/bin/env bash
# Plays a game at a page in a browser: type prompts, take over, record. The game itself needs no screen.
#   needs: the game (tools/setup.sh installs it), websockets (.venv/bin/python -m pip install -e ".[live]"), a browser here or at the end of an SSH tunnel
#   makes: recordings in data/recordings/live (contractor format), a log and films in data/live/<date>
#   usage: bash run_agent/3_run_interactive_session.sh --prompt "chop a tree"     (--help: all options)
# It prints the page's address, with a token. On a server, open a tunnel first: ssh -L 8765:localhost:8765 SERVER
# F1 on the page lists its keys, F2 starts a recording and keeps it. Finish there, or with Ctrl-C. Then:
#   SOURCE=folder RECORDINGS_DIR=data/recordings/live bash 1_generate_dataset.sh
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

WEIGHTS="${WEIGHTS-data/mini/mini.weights}"  # who plays until you take over; empty: you alone
SEED="${SEED:-0}"                            # seed of the first world; the next ones use SEED+1, ...
PORT="${PORT:-8765}"                         # of the page; 0 takes any free one

exec "$PYTHON" -m steve1 live --weights "$WEIGHTS" --seed "$SEED" --port "$PORT" "$@"
