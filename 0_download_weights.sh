#!/usr/bin/env bash
# Downloads the published weights (VPT, STEVE-1, MineCLIP, prior).
#   needs: the network, or a mirror
#   makes: data/weights/{vpt,steve1,mineclip}/…  (about 2.7 GB; 8 minutes at 50 Mbit/s)
#   usage: bash 0_download_weights.sh [--list] [NAME …]     (--help: all options)
# Run it again to resume.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

MIRROR="${MIRROR:-}"   # a folder or URL to try first: MIRROR=/media/usb bash 0_download_weights.sh

exec "$PYTHON" -m steve1 download_weights --mirror "$MIRROR" "$@"
