#!/usr/bin/env bash
# Make a virtual environment with Python 3.12: scripts/make_venv.sh FOLDER REQUIREMENTS
set -euo pipefail

folder=$1 requirements=$2

if [ -L "$folder" ]; then
    echo "$folder is a link, and others may use what it leads to; make it there, or remove the link" >&2
    exit 1
fi

is_312() {
    command -v "$1" >/dev/null 2>&1 &&
        [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.12 ]
}

python=
for candidate in "${PYTHON:-python3.12}" python3.12 python3 python; do
    if is_312 "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>&1 || echo "none")
    echo "Python 3.12 is needed (found: $found); install it, or say where it is: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

umask 022 # the tests run an image's user on these packages
echo "making $folder with $("$python" --version) (a minute or two)"
"$python" -m venv --clear "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
