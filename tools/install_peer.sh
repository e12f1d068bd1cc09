#!/usr/bin/env bash
# Installs LeRobot or MineStudio in an environment of its own, in which the tests let it read our exports.
#   needs: the network; lerobot: Python 3.12 or newer; minestudio: Python 3.10 to 3.12; each brings its own PyTorch (several GB)
#   makes: data/peers/<name>/; tests/data/exchange/test_peers.py uses it
#   usage: bash tools/install_peer.sh lerobot|minestudio
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

PYTHON_FOR_IT="${PYTHON_FOR_IT:-}"                   # the Python to use; empty: the first suitable one
LEROBOT="${LEROBOT:-lerobot[dataset]==0.6.1}"        # what pip installs
MINESTUDIO="${MINESTUDIO:-minestudio==1.1.6}"
# What MineStudio's reader imports. Its own list of requirements, without versions, keeps pip searching for longer than ten minutes;
# it needs PyAV before 14 and albumentations before 2.
MINESTUDIO_NEEDS="${MINESTUDIO_NEEDS:-torch lightning albumentations==1.4.18 av==13.1.0 lmdb einops gym==0.26.2 gym3 gymnasium imageio absl-py opencv-python-headless rich tqdm requests redis huggingface_hub}"

case "${1:-}" in
  -h|--help) exit 0 ;;
  lerobot)    PYTHONS="3.12 3.13"; WANTED="$LEROBOT"; NEEDS="" ;;
  minestudio) PYTHONS="3.11 3.10 3.12"; WANTED="$MINESTUDIO"; NEEDS="$MINESTUDIO_NEEDS" ;;
  *) said "error: which program? expected: bash tools/install_peer.sh lerobot, or minestudio" >&2; exit 2 ;;
esac

FOUND=""
for version in $PYTHONS; do
  for candidate in ${PYTHON_FOR_IT:-"python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python}; do
    if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)" = "$version" ]; then
      FOUND="${FOUND:-$candidate}"
    fi
  done
done
[ -n "$FOUND" ] || { said "error: no suitable Python; expected: one of $PYTHONS, on PATH or with PYTHON_FOR_IT=/path/to/python" >&2; exit 2; }

HOME_OF_IT="data/peers/$1"
[ -x "$HOME_OF_IT/bin/python" ] || "$FOUND" -m venv "$HOME_OF_IT"
said "installing $WANTED with $("$FOUND" --version) into $HOME_OF_IT"
install() { "$HOME_OF_IT/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
if [ -n "$NEEDS" ]; then
  # shellcheck disable=SC2086  # a list of words on purpose
  install $NEEDS
  install --no-deps "$WANTED"
else
  install "$WANTED"
fi
said "done; now: .venv/bin/python -m pytest tests/data/exchange/test_peers.py"
