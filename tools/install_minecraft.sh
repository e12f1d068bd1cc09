#!/usr/bin/env bash
# Installs one Minecraft package in its own environment, and says what is still needed.
#   needs: a suitable Python (mcio 3.12+, minerl 3.8-3.10, minedojo 3.9-3.10, minestudio 3.10-3.12), the network;
#          minerl, minedojo and minestudio: Java 8 (a JDK); on a machine without a display: xvfb
#   makes: data/backends/<name>/; Minecraft itself is downloaded by a command printed at the end (mcio), during the build (minerl) or at the first start
#   usage: bash tools/install_minecraft.sh mcio|minerl|minedojo|minestudio [--check]
# Running it again changes nothing if all is well. --check only reports what is installed and what is missing.
# docs/guides/INSTALL_MINECRAFT.md explains every step.
set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh

PYTHON_FOR_IT="${PYTHON_FOR_IT:-}"                    # the Python to use; empty: the first suitable one
FOLDER="${FOLDER:-data/backends}"                     # folder of the environments; if you change it, set STEVE1_<NAME>_PYTHON afterwards
MINERL_SOURCE="${MINERL_SOURCE:-}"                    # a folder with MineRL's source; empty: it is cloned
MINERL_URL="${MINERL_URL:-https://github.com/minerllabs/minerl}"
MIXIN_URL="${MIXIN_URL:-https://github.com/verityw/MixinGradle-dcfaf61}"
NAME="" CHECK=0
case "$FOLDER" in /*) ;; *) FOLDER="$PWD/$FOLDER" ;; esac

say() { printf '[%s] %s\n' "$NAME" "$(said "$@")"; }
wrong() { printf '\n%s: %s\n' "$(said error)" "$(said "$1")" >&2; shift; for line in "$@"; do printf '  %s\n' "$(said "$line")" >&2; done; exit 2; }

for argument in "$@"; do
  case "$argument" in
    -h|--help) exit 0 ;;
    --check) CHECK=1 ;;
    mcio|minerl|minedojo|minestudio) NAME="$argument" ;;
    *) wrong "unknown argument: $argument" "expected: mcio, minerl, minedojo or minestudio, and --check" ;;
  esac
done
[ -n "$NAME" ] || { script_help >&2; exit 2; }

case "$NAME" in
  mcio)       PYTHONS="3.12 3.13 3.14" JAVA=0 PACKAGE=mcio_ctrl ;;
  minerl)     PYTHONS="3.10 3.9 3.8" JAVA=8 PACKAGE=minerl ;;
  minedojo)   PYTHONS="3.9 3.10" JAVA=8 PACKAGE=minedojo ;;
  minestudio) PYTHONS="3.10 3.11 3.12" JAVA=8 PACKAGE=minestudio ;;
esac
HOME_OF_IT="$FOLDER/$NAME"
MISSING=0

runs_as() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)" = "$2" ]; }

# Prints the first suitable Python: the user's, on PATH, in pyenv's folders (a pyenv shim may exist but not run).
find_python() {
  local version candidate
  for version in $PYTHONS; do
    for candidate in ${PYTHON_FOR_IT:-"python$version" python3 "$HOME"/.pyenv/versions/"$version".*/bin/python "$HOME"/.pyenv/versions/"$version"/bin/python}; do
      if command -v "$candidate" >/dev/null 2>&1 && runs_as "$candidate" "$version"; then echo "$candidate"; return 0; fi
    done
  done
  return 1
}

# Prints the installed version of the package, from pip's metadata folder; nothing if it is not installed.
installed() {
  local folder name
  for folder in "$HOME_OF_IT"/lib/python3*/site-packages/"$PACKAGE"-*.dist-info "$HOME_OF_IT"/lib/python3*/site-packages/"$PACKAGE"-*.egg-info; do
    [ -e "$folder" ] || continue
    name="$(basename "$folder")"; name="${name#"$PACKAGE"-}"
    name="${name%.dist-info}"; name="${name%.egg-info}"; echo "${name%%-py*}"; return 0
  done
}

java_major() { "$1" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1; }

# Prints a Java of this version from JAVA_HOME, PATH or the usual folders.
find_java() {
  local candidate
  for candidate in "${JAVA_HOME:-/nowhere}/bin/java" java /usr/lib/jvm/*/bin/java /Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java; do
    if command -v "$candidate" >/dev/null 2>&1 && [ "$(java_major "$candidate")" = "$1" ]; then command -v "$candidate"; return 0; fi
  done
  return 1
}

check_java() {
  [ "$JAVA" != 0 ] || { say "Java: the package downloads its own."; return 0; }
  local found other
  if found="$(find_java "$JAVA")"; then say "Java $JAVA: $found"; return 0; fi
  if command -v java >/dev/null 2>&1; then other="found Java $(java_major java) ($(command -v java)), the wrong version"; else other="no Java found"; fi
  MISSING=1
  say "STILL NEEDED: Java $JAVA (a JDK); $other."
  if [ "$(uname -s)" = Darwin ]; then say "  brew install --cask zulu@8"
  else
    say "  apt-get install openjdk-8-jdk      (Ubuntu)"
    say "  Debian 12 and later: Temurin 8, see docs/guides/INSTALL_MINECRAFT.md; several Javas can be installed side by side"
  fi
}

check_display() {
  [ "$(uname -s)" = Linux ] || return 0
  if command -v Xvfb >/dev/null 2>&1; then say "Xvfb: $(command -v Xvfb)"; return 0; fi
  if [ -n "${DISPLAY:-}" ]; then say "no Xvfb: the game opens windows on $DISPLAY (to hide them: apt-get install xvfb)"; return 0; fi
  MISSING=1
  say "STILL NEEDED: a display, or Xvfb:  apt-get install xvfb libgl1-mesa-dri"
}

wrong_minerl() {
  wrong "minerl $1 is installed in $HOME_OF_IT, but VPT and STEVE-1 need MineRL 1.0." \
    "'pip install minerl' installs 0.4, which has other actions, other images and another Minecraft." \
    "next: rm -rf $HOME_OF_IT && bash tools/install_minecraft.sh minerl"
}

check_version() {
  local version
  version="$(installed)"
  case "$NAME $version" in
    "minerl 0."*) wrong_minerl "$version" ;;
    "mcio 0."*|"mcio 1.0"*|"mcio 1.1"*|"mcio 1.2"*|"mcio 1.3"*|"mcio 1.4"*) wrong "mcio-ctrl $version is too old." "next: rm -rf $HOME_OF_IT && bash tools/install_minecraft.sh mcio" ;;
  esac
  echo "$version"
}

pip_install() {
  say "installing $* (pip prints nothing until it is done or fails)"
  "$HOME_OF_IT/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || wrong "pip could not install $*." \
    "next: read pip's messages above; without network access, set PIP_INDEX_URL to a PyPI mirror; then run this command again"
}

make_environment() {
  [ -x "$HOME_OF_IT/bin/python" ] && return 0
  local python
  python="$(find_python)" || wrong "no suitable Python for $NAME was found." \
    "expected: one of $PYTHONS, on PATH or in ~/.pyenv/versions" \
    "next: install one (pyenv install ${PYTHONS%% *}, apt-get install python${PYTHONS%% *}-venv, uv python install ${PYTHONS%% *})," \
    "      or name it: PYTHON_FOR_IT=/path/to/python bash tools/install_minecraft.sh $NAME"
  say "making $HOME_OF_IT with $("$python" --version 2>&1)"
  mkdir -p "$FOLDER"
  # Debian's venv module fails halfway if the package with ensurepip is missing.
  "$python" -c "import venv, ensurepip" >/dev/null 2>&1 || wrong "$python cannot make virtual environments." "next: apt-get install python${PYTHONS%% *}-venv"
  "$python" -m venv "$HOME_OF_IT"
}

# mcio-ctrl 1.5 allows cbor2 6 but cannot read its own packets with it.
install_mcio() { pip_install "mcio-ctrl>=1.5,<2" "cbor2<6"; }

# Newer build tools reject gym 0.21's setup file, so the build uses these older ones.
install_old_tools() { pip_install "pip<24.1" "setuptools==65.5.0" "wheel==0.38.4" "numpy<2"; }

install_minedojo() {
  install_old_tools
  pip_install --no-build-isolation "gym==0.21.0"
  # It imports omegaconf, which comes with hydra-core. Later versions of OpenCV need numpy 2.
  pip_install minedojo "numpy<2" "opencv-python<4.10"
}

install_minerl() {
  install_old_tools
  local source="${MINERL_SOURCE:-$FOLDER/minerl-source}"
  if [ ! -f "$source/setup.py" ]; then
    say "fetching MineRL's source, v1.0.2"
    git clone --quiet --depth 1 --branch v1.0.2 "$MINERL_URL" "$source" || wrong "MineRL's source could not be fetched." \
      "next: clone $MINERL_URL (tag v1.0.2) elsewhere, bring it here, and run MINERL_SOURCE=/path/to/minerl bash tools/install_minecraft.sh minerl"
  fi
  patch_gradle "$source/minerl/Malmo/Minecraft"   # still in the source of 1.0, and built by some of its versions
  say "building Minecraft 1.16.5 and its mod: this can take half an hour"
  local java
  java="$(find_java 8)" || wrong "MineRL is compiled with Java 8, which is not installed." "next: install it (see above), then run this command again"
  JAVA_HOME="$(cd "$(dirname "$java")/.." && pwd -P)" pip_install --no-build-isolation "gym==0.23.1" "opencv-python<4.10" "numpy<2" "$source"
}

# Its simulator imports psutil, which is not among its requirements.
install_minestudio() { say "MineStudio installs its own PyTorch: several GB"; pip_install "minestudio>=1.1,<2" psutil; say "its engine is downloaded at the first start"; }

# The build file needs com.github.SpongePowered:MixinGradle:dcfaf61, which its server no longer has. A copy of the jar is cloned, and
# the build file is pointed at it. A build file without that line stays unchanged.
needs_mixin() { [ -f "$1/build.gradle" ] && grep -q "com.github.SpongePowered:MixinGradle:dcfaf61" "$1/build.gradle"; }

patch_gradle() {
  local file="$1/build.gradle" mirror
  needs_mixin "$1" || return 0
  mirror="$FOLDER/mixin"
  if [ ! -d "$mirror/MixinGradle-dcfaf61" ]; then
    say "fetching MixinGradle dcfaf61, which is no longer on its own server"
    mkdir -p "$mirror"
    git clone --quiet --depth 1 "$MIXIN_URL" "$mirror/MixinGradle-dcfaf61" || wrong "MixinGradle could not be fetched." \
      "next: clone $MIXIN_URL into $mirror/MixinGradle-dcfaf61 by hand, then run this command again"
  fi
  cp -n "$file" "$file.published" 2>/dev/null || true
  awk -v url="file:$mirror" '
    { gsub(/com\.github\.SpongePowered:MixinGradle:dcfaf61/, "MixinGradle-dcfaf61:MixinGradle:dcfaf61"); print }
    !done && /repositories[ \t]*\{/ { print "        maven { url \"" url "\" }"; done = 1 }' "$file.published" > "$file.part"
  mv "$file.part" "$file"
  say "pointed $file at the copy (the original is kept as build.gradle.published)"
}

VERSION="$(check_version)"
if [ -n "$VERSION" ]; then
  say "$PACKAGE $VERSION is installed in $HOME_OF_IT"
elif [ "$CHECK" = 1 ]; then
  MISSING=1
  say "STILL NEEDED: bash tools/install_minecraft.sh $NAME"
fi
check_java
check_display
if [ -z "$VERSION" ] && [ "$CHECK" = 0 ]; then
  if [ "$NAME" = minerl ] && ! find_java 8 >/dev/null; then wrong "MineRL is compiled with Java 8: install it first (see above)." "next: bash tools/install_minecraft.sh minerl"; fi
  make_environment
  "install_$NAME"
  VERSION="$(check_version)"
  [ -n "$VERSION" ] || wrong "$PACKAGE was not installed in $HOME_OF_IT." "next: read pip's messages above; docs/guides/INSTALL_MINECRAFT.md has the known ones"
  say "installed $PACKAGE $VERSION"
fi
# After the installation, so that the next run retries a copy that could not be fetched.
if [ "$NAME" = minedojo ] && [ -n "$VERSION" ]; then
  MALMO="$(echo "$HOME_OF_IT"/lib/python3*/site-packages/minedojo/sim/Malmo/Minecraft)"
  if [ "$CHECK" = 0 ]; then patch_gradle "$MALMO"
  elif needs_mixin "$MALMO"; then MISSING=1; say "STILL NEEDED: MixinGradle, to build its Minecraft:  bash tools/install_minecraft.sh minedojo"; fi
fi
[ "$MISSING" = 0 ] || { say "not ready: see STILL NEEDED above"; exit 1; }
if [ "$NAME" = mcio ] && ! grep -qs "^  steve1:" "${STEVE1_MCIO_DIR:-$HOME/.mcio}/mcio.yaml"; then
  say "run once to download Minecraft itself (1 GB, from Mojang, Fabric and Modrinth): $HOME_OF_IT/bin/mcio inst install steve1"
fi
say "ready. Try it: .venv/bin/python tools/doctor.py --env $NAME"
