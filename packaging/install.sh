#!/bin/sh
# Install from this folder alone:  sh install.sh [TARGET]   (default ./mtclip)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-mtclip}
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --no-index --find-links "$here/wheels" "$(echo "$here"/wheels/mtclip_edge-*.whl)[cpu]"
echo "installed: $target/bin/mtclip"
if [ -d "$here/bundle" ]; then echo "next: $target/bin/mtclip query FILM --bundle $here/bundle"; else echo "next: $target/bin/mtclip query FILM"; fi
