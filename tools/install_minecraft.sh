#!/usr/bin/env bash
# Makes the environment of one Minecraft package, apart from the project's own, and says what it still needs.
#   needs: a Python that the package runs on (mcio 3.12+, minerl 3.8-3.10, minedojo 3.9-3.10, minestudio 3.10-3.12), the network;
#          minerl, minedojo and minestudio: Java 8 (a JDK); on a machine without a display: xvfb
#   makes: data/backends/<name>/; Minecraft itself is downloaded by a command that this one tells (mcio), while it is built (minerl) or at the first start
#   usage: bash tools/install_minecraft.sh mcio|minerl|minedojo|minestudio [--check]
# The same command again changes nothing where all is well. --check only says what is there and what is missing.
# docs/guides/INSTALL_MINECRAFT.md explains every step.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")/.."

PYTHON_FOR_IT="${PYTHON_FOR_IT:-}"                    # the Python to build on; empty: the first that fits
FOLDER="${FOLDER:-data/backends}"                     # where environments lie; elsewhere: set STEVE1_<NAME>_PYTHON afterwards
MINERL_SOURCE="${MINERL_SOURCE:-}"                    # a folder with MineRL's source; empty: it is cloned
MINERL_URL="${MINERL_URL:-https://github.com/minerllabs/minerl}"
MIXIN_URL="${MIXIN_URL:-https://github.com/verityw/MixinGradle-dcfaf61}"
NAME="" CHECK=0
case "$FOLDER" in /*) ;; *) FOLDER="$PWD/$FOLDER" ;; esac

usage() { sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; }
say() { printf '[%s] %s\n' "$NAME" "$*"; }
wrong() { printf '\nerror: %s\n' "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 2; }

for argument in "$@"; do
  case "$argument" in
    -h|--help) usage; exit 0 ;;
    --check) CHECK=1 ;;
    mcio|minerl|minedojo|minestudio) NAME="$argument" ;;
    *) wrong "unknown argument: $argument" "expected: mcio, minerl, minedojo or minestudio, and --check" ;;
  esac
done
[ -n "$NAME" ] || { usage >&2; exit 2; }

case "$NAME" in
  mcio)       PYTHONS="3.12 3.13 3.14" JAVA=0 PACKAGE=mcio_ctrl ;;
  minerl)     PYTHONS="3.10 3.9 3.8" JAVA=8 PACKAGE=minerl ;;
  minedojo)   PYTHONS="3.9 3.10" JAVA=8 PACKAGE=minedojo ;;
  minestudio) PYTHONS="3.10 3.11 3.12" JAVA=8 PACKAGE=minestudio ;;
esac
HOME_OF_IT="$FOLDER/$NAME"
MISSING=0

runs_as() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)" = "$2" ]; }

# Prints the first Python that fits: what the user says, PATH, then pyenv's folders (a pyenv shim may exist and not run).
find_python() {
  local version candidate
  for version in $PYTHONS; do
    for candidate in ${PYTHON_FOR_IT:-"python$version" python3 "$HOME"/.pyenv/versions/"$version".*/bin/python "$HOME"/.pyenv/versions/"$version"/bin/python}; do
      if command -v "$candidate" >/dev/null 2>&1 && runs_as "$candidate" "$version"; then echo "$candidate"; return 0; fi
    done
  done
  return 1
}

# The installed version of the package, from the folder that pip left; nothing where it is not installed.
installed() {
  local folder name
  for folder in "$HOME_OF_IT"/lib/python3*/site-packages/"$PACKAGE"-*.dist-info "$HOME_OF_IT"/lib/python3*/site-packages/"$PACKAGE"-*.egg-info; do
    [ -e "$folder" ] || continue
    name="$(basename "$folder")"; name="${name#"$PACKAGE"-}"
    name="${name%.dist-info}"; name="${name%.egg-info}"; echo "${name%%-py*}"; return 0
  done
}

java_major() { "$1" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1; }

# Prints a Java of the wanted version: JAVA_HOME, PATH, the usual folders.
find_java() {
  local candidate
  for candidate in "${JAVA_HOME:-/nowhere}/bin/java" java /usr/lib/jvm/*/bin/java /Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java; do
    if command -v "$candidate" >/dev/null 2>&1 && [ "$(java_major "$candidate")" = "$1" ]; then command -v "$candidate"; return 0; fi
  done
  return 1
}

check_java() {
  [ "$JAVA" != 0 ] || { say "Java: it downloads its own."; return 0; }
  local found other
  if found="$(find_java "$JAVA")"; then say "Java $JAVA: $found"; return 0; fi
  if command -v java >/dev/null 2>&1; then other="the Java here is $(java_major java) ($(command -v java)): the wrong one"; else other="there is no Java here"; fi
  MISSING=1
  say "STILL NEEDED: Java $JAVA (a JDK); $other."
  if [ "$(uname -s)" = Darwin ]; then say "  brew install --cask zulu@8"
  else
    say "  apt-get install openjdk-8-jdk      (Ubuntu)"
    say "  Debian 12 and later have none: use Temurin 8, see docs/guides/INSTALL_MINECRAFT.md; several Javas live side by side"
  fi
}

check_display() {
  [ "$(uname -s)" = Linux ] || return 0
  if command -v Xvfb >/dev/null 2>&1; then say "Xvfb: $(command -v Xvfb)"; return 0; fi
  if [ -n "${DISPLAY:-}" ]; then say "no Xvfb; the game will open windows on $DISPLAY (apt-get install xvfb hides them)"; return 0; fi
  MISSING=1
  say "STILL NEEDED: a display, or Xvfb, which makes one:  apt-get install xvfb libgl1-mesa-dri"
}

wrong_minerl() {
  wrong "minerl $1 is in $HOME_OF_IT, and VPT and STEVE-1 need MineRL 1.0." \
    "0.4 is what 'pip install minerl' gives; it has other actions, other pictures and another Minecraft." \
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
  say "installing $* (pip is quiet until it is done or fails)"
  "$HOME_OF_IT/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || wrong "pip could not install $*." \
    "next: read pip's own words above; without the network: set PIP_INDEX_URL to a mirror of PyPI; then this command again"
}

make_environment() {
  [ -x "$HOME_OF_IT/bin/python" ] && return 0
  local python
  python="$(find_python)" || wrong "no Python that $NAME runs on was found." \
    "expected: one of $PYTHONS, on PATH or in ~/.pyenv/versions" \
    "next: install one (pyenv install ${PYTHONS%% *}, apt-get install python${PYTHONS%% *}-venv, uv python install ${PYTHONS%% *})," \
    "      or name it: PYTHON_FOR_IT=/path/to/python bash tools/install_minecraft.sh $NAME"
  say "making $HOME_OF_IT with $("$python" --version 2>&1)"
  mkdir -p "$FOLDER"
  # Debian's Python has a venv module that fails halfway where the package with ensurepip is missing.
  "$python" -c "import venv, ensurepip" >/dev/null 2>&1 || wrong "$python cannot make environments." "next: apt-get install python${PYTHONS%% *}-venv"
  "$python" -m venv "$HOME_OF_IT"
}

# mcio-ctrl 1.5 cannot read its own packets with cbor2 6, which it does not forbid.
install_mcio() { pip_install "mcio-ctrl>=1.5,<2" "cbor2<6"; }

# gym 0.21's own setup file is refused by newer build tools, so these come first and the build uses them.
install_old_tools() { pip_install "pip<24.1" "setuptools==65.5.0" "wheel==0.38.4" "numpy<2"; }

install_minedojo() {
  install_old_tools
  pip_install --no-build-isolation "gym==0.21.0"
  # omegaconf, which it imports, comes with hydra-core. OpenCV: later ones want numpy 2.
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
  patch_gradle "$source/minerl/Malmo/Minecraft"   # left in the source of 1.0, and still built by some of its versions
  say "building Minecraft 1.16.5 and its mod: half an hour is not unusual"
  local java
  java="$(find_java 8)" || wrong "MineRL is compiled with Java 8, and there is none here." "next: see above for how to get one, then this command again"
  JAVA_HOME="$(cd "$(dirname "$java")/.." && pwd -P)" pip_install --no-build-isolation "gym==0.23.1" "opencv-python<4.10" "numpy<2" "$source"
}

# psutil: its simulator imports it, and its package does not ask for it.
install_minestudio() { say "MineStudio brings its own PyTorch: several GB"; pip_install "minestudio>=1.1,<2" psutil; say "its engine is downloaded at the first start"; }

# The build file names com.github.SpongePowered:MixinGradle:dcfaf61, which its server no longer has. A copy of that one jar is cloned, and
# the build file is pointed at it. A build file without the line is left alone.
needs_mixin() { [ -f "$1/build.gradle" ] && grep -q "com.github.SpongePowered:MixinGradle:dcfaf61" "$1/build.gradle"; }

patch_gradle() {
  local file="$1/build.gradle" mirror
  needs_mixin "$1" || return 0
  mirror="$FOLDER/mixin"
  if [ ! -d "$mirror/MixinGradle-dcfaf61" ]; then
    say "fetching MixinGradle dcfaf61, which the build's own servers no longer have"
    mkdir -p "$mirror"
    git clone --quiet --depth 1 "$MIXIN_URL" "$mirror/MixinGradle-dcfaf61" || wrong "MixinGradle could not be fetched." \
      "next: clone $MIXIN_URL into $mirror/MixinGradle-dcfaf61 by hand, then this command again"
  fi
  cp -n "$file" "$file.published" 2>/dev/null || true
  awk -v url="file:$mirror" '
    { gsub(/com\.github\.SpongePowered:MixinGradle:dcfaf61/, "MixinGradle-dcfaf61:MixinGradle:dcfaf61"); print }
    !done && /repositories[ \t]*\{/ { print "        maven { url \"" url "\" }"; done = 1 }' "$file.published" > "$file.part"
  mv "$file.part" "$file"
  say "pointed $file at the copy (the published file is beside it)"
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
  if [ "$NAME" = minerl ] && ! find_java 8 >/dev/null; then wrong "MineRL is compiled with Java 8: install it first (see above)." "then: bash tools/install_minecraft.sh minerl"; fi
  make_environment
  "install_$NAME"
  VERSION="$(check_version)"
  [ -n "$VERSION" ] || wrong "$PACKAGE was not installed in $HOME_OF_IT." "next: read pip's messages above; docs/guides/INSTALL_MINECRAFT.md has the known ones"
  say "installed $PACKAGE $VERSION"
fi
# After the installation, so that a copy that could not be fetched is fetched by the next call.
if [ "$NAME" = minedojo ] && [ -n "$VERSION" ]; then
  MALMO="$(echo "$HOME_OF_IT"/lib/python3*/site-packages/minedojo/sim/Malmo/Minecraft)"
  if [ "$CHECK" = 0 ]; then patch_gradle "$MALMO"
  elif needs_mixin "$MALMO"; then MISSING=1; say "STILL NEEDED: MixinGradle, without which its Minecraft is not built:  bash tools/install_minecraft.sh minedojo"; fi
fi
[ "$MISSING" = 0 ] || { say "not ready yet: see STILL NEEDED above"; exit 1; }
if [ "$NAME" = mcio ] && ! grep -qs "^  steve1:" "${STEVE1_MCIO_DIR:-$HOME/.mcio}/mcio.yaml"; then
  say "once, Minecraft itself (1 GB, from Mojang, Fabric and Modrinth): $HOME_OF_IT/bin/mcio inst install steve1"
fi
say "ready. Try it: .venv/bin/python tools/doctor.py --env $NAME"
