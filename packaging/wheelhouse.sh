#!/bin/sh
# Collect everything a workstation without a network needs into wheelhouse/: wheels, a bundle, install scripts.
#   PYTHON   the interpreter the workstation will use (same version and platform as here)
#   BUNDLE   a bundle to carry along; without it the demo bundle in the package serves
#   OUT      the folder to make (default wheelhouse)
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-wheelhouse}
rm -rf "$out"
mkdir -p "$out/wheels"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$out/wheels" .
# hnswlib compiles for this very processor unless told otherwise, and would crash on an older one.
HNSWLIB_NO_NATIVE=1 "$scratch/venv/bin/python" -m pip wheel --quiet --no-cache-dir --no-deps --no-binary hnswlib \
    --constraint constraints.txt --wheel-dir "$out/wheels" hnswlib
"$scratch/venv/bin/python" -m pip wheel --quiet --find-links "$out/wheels" --constraint constraints.txt \
    --wheel-dir "$out/wheels" "$(echo "$out"/wheels/mtclip_edge-*.whl)[cpu]"
cp packaging/install.sh packaging/install.ps1 constraints.txt "$out/"
if [ -n "${BUNDLE:-}" ]; then cp -r "$BUNDLE" "$out/bundle"; fi
du -sh "$out" | cut -f1 | sed "s|^|$out: |"
