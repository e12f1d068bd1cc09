#!/usr/bin/env bash
# Installs whatever is missing: .venv with the Python packages, and the game's system packages.
#   needs: Python 3.11 or newer; for the game: Linux with apt and root or passwordless sudo
#   makes: .venv/ (about 1.5 GB with the CPU build of PyTorch), with .venv/setup.stamp
#   usage: bash tools/setup.sh [--dev]      (--dev adds what the tests need)
GIVEN="${PYTHON:-}"   # a Python named by the user is used or rejected, never replaced
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

DEV=0
for argument in "$@"; do
  case "$argument" in
    --dev) DEV=1 ;;
    -h|--help) exit 0 ;;
    *) said "unknown argument: $argument (known: --dev, --help)" >&2; exit 2 ;;
  esac
done

GAME_PACKAGES="minetest minetest-data xvfb libgl1-mesa-dri g++ libc6-dev libx11-dev"
NICE_PACKAGES="fonts-wqy-microhei minetest-mod-mesecons"   # for Chinese prompts on videos; for tasks with circuits
[ "$DEV" = 0 ] || NICE_PACKAGES="$NICE_PACKAGES shellcheck g++"   # g++: the tests of torch.compile

say() { printf '[setup] %s\n' "$(said "$@")"; }

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  [ -z "$GIVEN" ] || set -- "$GIVEN"
  for candidate in "$@"; do
    if fits "$candidate"; then echo "$candidate"; return 0; fi
  done
  return 1
}

make_environment() {
  local wanted stamp python
  wanted="$(cat requirements.txt requirements-dev.txt | cksum) dev=$DEV"
  stamp=".venv/setup.stamp"
  if fits .venv/bin/python && [ -f "$stamp" ]; then
    case "$(cat "$stamp")" in "$wanted"|"${wanted% dev=*} dev=1") return 0 ;; esac
  fi
  if ! fits .venv/bin/python; then
    python="$(find_python python3.12 python3.11 python3.13 python3)" || {
      said "error: ${GIVEN:-python3} is not a working Python 3.11 or newer; install one, then: PYTHON=/path/to/python3.11 bash tools/setup.sh" >&2
      exit 2
    }
    if [ -e .venv ] || [ -L .venv ]; then
      say ".venv is broken or older than Python 3.11 ($(.venv/bin/python --version 2>&1 || true)); it is kept as .venv.old"
      rm -rf .venv.old
      mv .venv .venv.old
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv || { said "error: this Python has no venv module; try: sudo apt-get install python3-venv" >&2; exit 2; }
  fi
  say "installing Python packages (PyTorch is large: a few minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
  [ "$DEV" = 0 ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
  echo "$wanted" > "$stamp"
}

missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q "install ok installed" || printf '%s ' "$name"
  done
}

install_game() {
  local missing nice sudo
  if [ "$(uname -s)" != Linux ] || ! command -v apt-get >/dev/null 2>&1; then
    if ! command -v minetest >/dev/null 2>&1 && [ ! -x /usr/games/minetest ]; then
      say "cannot install the game (Luanti/Minetest 5.6, Xvfb, g++, libX11 headers): this is not a Debian-like Linux."
      say "data, embedding, training and their tests work without it."
    fi
    return 0
  fi
  # shellcheck disable=SC2086
  missing="$(missing_packages $GAME_PACKAGES)"
  # shellcheck disable=SC2086
  nice="$(missing_packages $NICE_PACKAGES)"
  [ -n "$missing$nice" ] || return 0
  if [ "$(id -u)" = 0 ]; then sudo=""
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo -n"
  else
    say "some system packages are missing, and there is no root or passwordless sudo. To install the game, run:"
    printf '[setup]   %s\n' "sudo apt-get install --no-install-recommends $missing$nice"
    say "continuing without the game."
    return 0
  fi
  say "installing system packages: $missing$nice"
  $sudo apt-get update -qq || say "apt-get update failed; trying the existing package lists"
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null \
    || say "the game's packages could not be installed: $missing"
  for missing in $nice; do   # one by one: not every system has all of them
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$missing" >/dev/null \
      || say "an optional package could not be installed: $missing"
  done
}

# With an NVIDIA driver: whether PyTorch can use the card, else the command that installs the build which can.
check_gpu() {
  command -v nvidia-smi >/dev/null 2>&1 || return 0
  .venv/bin/python -m steve1 doctor --no_checksums 2>/dev/null | grep -A1 "GPU:" | grep "GPU:\|->" || true
}

make_environment
install_game
check_gpu
