# Sourced by every script at the project's root: bash alone, PYTHON from the project's .venv if there is one, messages, checks of variables.
# shellcheck shell=bash
[ -n "${BASH_VERSION:-}" ] || { echo "error: this script needs bash. next: bash $0" >&2; exit 2; }
set -euo pipefail
TYPED="${STEVE1_SCRIPT:-}"                    # the script that started this one
export STEVE1_SCRIPT="${STEVE1_SCRIPT:-$0}"   # the one that was typed, for messages

if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON="$PWD/.venv/bin/python"; else PYTHON=python3; fi
fi
if ! command -v "$PYTHON" >/dev/null 2>&1 && [ "${0##*/}" != setup.sh ]; then
  printf 'error: %s cannot be run.\n  next:     bash tools/setup.sh\n' "$PYTHON" >&2
  exit 2
fi

# A line of steve1/core/messages.py in the user's language: text KEY [name=value …]
text() { "$PYTHON" steve1/core/messages.py "$@"; }

# Ends the script where one of these variables is no whole number.
whole_numbers() {
  local name
  for name in "$@"; do
    case "${!name}" in
      ""|*[!0-9]*) printf '%s: %s\n  %s: %s\n' "$(text error)" "$(text "option whole number" flag="$name")" "$(text got)" "${!name}" >&2; exit 2 ;;
    esac
  done
}

# What it reads, in Chinese where the user's language is that and a Python is there.
in_users_language() {
  case "${STEVE1_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}}" in
    [zZ][hH]*) PYTHONUTF8=1 "$PYTHON" steve1/core/messages.py --script-help 2>/dev/null || cat ;;
    *) cat ;;
  esac
}

# A line in the user's language, found as a whole in steve1/core/chinese/scripts.json.
said() { printf '%s\n' "$*" | in_users_language; }

RENAMED="TRAIN_PARTS=FINETUNE_MODE"   # old=new, separated by spaces; otherwise an old variable would be silently ignored
for renamed in $RENAMED; do
  old="${renamed%%=*}"
  if [ -n "${!old:-}" ]; then
    said "error: the variable $old is called ${renamed#*=} now; set that instead: ${renamed#*=}=${!old}" >&2
    exit 2
  fi
done

# The script's own comment and variables, without those that scripts pass to each other. The command behind it adds its options.
script_help() {
  sed -n '2,/^[^#]/{/^# shellcheck/d; s/^# \{0,1\}//p;}' "$SELF"
  sed -nE '/^export STEVE1_/d; s/ +#/   #/; s/^(export )?([A-Z_0-9]+)="\$\{\2:?-([^}]*)\}"/    \2=\3/p' "$SELF"
  echo
}
[ -n "${TYPED:-}" ] || case " $* " in *" --help "*|*" -h "*) script_help | in_users_language ;; esac
