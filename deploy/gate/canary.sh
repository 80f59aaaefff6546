#!/usr/bin/env bash
# A SeldonDeployment canary that is promoted or taken back by the gate's exit code alone.
#
#   deploy/gate/canary.sh RECORD [FOLDER]
#
# applies canary-1.yaml and canary-2.yaml of the folder, and after each asks
# `sentiment-ab report RECORD-canary-1 --gate` every $PAUSE seconds: 0 goes to the next step and at last to
# canary-3.yaml, 3 waits, everything else applies canary-0.yaml again. Each step has a record of its own,
# because it changes the shares. Ends with the code of the last look, which is 3 after $LOOKS looks.
set -u
record=$1 folder=${2:-$(cd "$(dirname "$0")/.." && pwd)}
pause=${PAUSE:-60} looks=${LOOKS:-10000} gate=${GATE:-sentiment-ab report}

for step in canary-1 canary-2; do
  kubectl apply -f "$folder/$step.yaml" || exit 2
  code=3
  while [ $code = 3 ] && [ $((looks -= 1)) -ge 0 ]; do
    [ -s "$record-$step" ] && { $gate "$record-$step" --gate; code=$?; }
    [ $code = 3 ] && sleep "$pause"
  done
  if [ $code != 0 ]; then
    echo "$step: the gate says $code; back to v1 alone" >&2
    kubectl apply -f "$folder/canary-0.yaml"
    exit $code
  fi
done
kubectl apply -f "$folder/canary-3.yaml"
