#!/usr/bin/env bash
# Build the image with s2i, else with Docker: scripts/build_image.sh [NAME:TAG]
set -euo pipefail
cd "$(dirname "$0")/.."

seldon=$(sed -n 's/^seldon-core==//p' requirements.in)
image=${1:-$(sed -n 's/^ *image: *//p' deployment.yaml)}

if command -v s2i >/dev/null; then
    if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
        echo "s2i builds the current commit; what is not committed will not be in the image" >&2
    fi
    exec s2i build . "seldonio/seldon-core-s2i-python312:$seldon" "$image"
elif command -v docker >/dev/null; then
    exec docker build --tag "$image" .
fi
echo "neither s2i nor docker is installed; get s2i from https://github.com/openshift/source-to-image/releases" >&2
exit 1
