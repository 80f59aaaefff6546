#!/usr/bin/env bash
# Put the weights of the default model's checkpoint in place, from FILE or this repository's history, if their sha256
# is right: lab/checkpoint.sh [FILE]
set -euo pipefail

given=${1:+$(realpath "$1")}
cd "$(dirname "$0")/training/checkpoint"
weights=model.safetensors
source=${given:-$weights}
trap 'rm -f "$weights.part"' EXIT

if [ ! -e "$source" ] && [ -z "$given" ]; then
    source=$weights.part
    git cat-file blob "$(sed -n 's/^# git blob //p' SHA256SUMS)" >"$source" 2>/dev/null || {
        echo "this clone's history does not hold the checkpoint: run git fetch --unshallow, or name a file:" \
            "make model CHECKPOINT=/path/to/$weights" >&2
        exit 1
    }
fi
failed=$(sed "s|$weights|$source|" SHA256SUMS | sha256sum --check --quiet 2>/dev/null) || {
    echo "${failed%%:*} is not the file that lab/training/checkpoint/SHA256SUMS names; delete it to get that from the" \
        "history, or after a training of your own renew SHA256SUMS" >&2
    exit 1
}
[ "$source" = "$weights" ] || cp "$source" "$weights"
