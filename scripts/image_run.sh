#!/usr/bin/env bash
# What s2i's run step does, for the images of the Dockerfile; variables of the pod win over the image's.
# With the argument oip: the server of the Open Inference Protocol.
set -euo pipefail
cd "$(dirname "$0")/.."

# A container's runtime sets HOME=/ for a user that has no entry in /etc/passwd.
[ -w "${HOME:-/}" ] || unset HOME
while IFS='=' read -r name value; do
    case $name in '' | '#'*) continue ;; esac
    [ -n "${!name+set}" ] || export "$name=$value"
done <.s2i/environment

[ ! -x before-run ] || ./before-run
if [ "${1:-}" = oip ]; then
    exec mlserver start "${MLSERVER_MODELS_DIR:-oip_node/sentiment}"
fi
exec seldon-core-microservice "$MODEL_NAME" --service-type "$SERVICE_TYPE" --persistence "$PERSISTENCE"
