#!/usr/bin/env bash
# Runs every check and test that this machine supports: linters, types, import rules, shell scripts, tests.
#   needs: nothing; installs .venv and the game's packages first (tools/setup.sh --dev)
#   takes: about fourteen minutes on two cores, plus installation
#   usage: bash run_tests.sh [--fast] [pytest arguments …]     (--fast: no end-to-end runs, no game)
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

WHOLE=1
case "${1:-}" in
  -h|--help) exit 0 ;;
  --fast) WHOLE=0; shift ;;
esac

bash tools/setup.sh --dev
PYTHON=.venv/bin/python
say() { printf '\n== %s\n' "$*"; }
# Otherwise each process below, and each program that a test starts, would translate all sources again.
unset PYTHONDONTWRITEBYTECODE
# The tests themselves are translated while the types are checked.
"$PYTHON" -m pytest --collect-only -q >/dev/null 2>&1 &
COLLECTING=$!
trap 'kill "$COLLECTING" 2>/dev/null || true' EXIT   # in the background it does not hear Ctrl-C

say "ruff";          "$PYTHON" -m ruff check .; "$PYTHON" -m ruff format --check .
say "mypy";          "$PYTHON" -m mypy
say "import-linter"; .venv/bin/lint-imports
say "shell scripts"
SCRIPTS="$(find . -name '*.sh' -not -path './.venv*' -not -path './data/*' -not -path './build/*') .ci/run"
for script in $SCRIPTS; do bash -n "$script"; done
if command -v shellcheck >/dev/null 2>&1; then
  # shellcheck disable=SC2086  # a list of words on purpose
  shellcheck -x $SCRIPTS
else
  echo "skipped: shellcheck is not installed (apt-get install shellcheck)"
fi

say "tests"
wait "$COLLECTING" || true
trap - EXIT
# In their own process group, so that nothing a test leaves running survives or blocks.
run_group() {
  set -m
  "$PYTHON" -m pytest -rs --durations=8 "$@" &
  TESTS=$!
  set +m
  local result=0
  wait "$TESTS" || result=$?
  kill -KILL -- "-$TESTS" 2>/dev/null || true
  [ "$result" = 0 ] || [ "$result" = 5 ] || RESULT="$result"   # 5: no tests selected
}
trap 'kill -INT -- "-$TESTS" 2>/dev/null' INT TERM
TESTS=0
RESULT=0
# Four processes on two cores, whole files each: a fifth of the time is spent waiting for games.
if [ "$WHOLE" = 1 ]; then
  # tests/conftest.py decides whether the game may be missing: if apt could have installed it, that is a failure.
  STEVE1_TESTS=all run_group -n 4 --dist loadfile --no-loadscope-reorder "$@"
else
  run_group -n 2 --dist loadfile -m "not e2e and not game" "$@"
fi
exit "$RESULT"
