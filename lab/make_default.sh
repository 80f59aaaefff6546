#!/usr/bin/env bash
# From the checkpoint to the default model, by the project's own commands, into build/default/int8:
# lab/make_default.sh PYTHON TORCH_PYTHON DATA [CHECKPOINT_FILE]
set -euo pipefail

python=$1 torch=$2 data=$3 build=build/default
run() { echo "+ $*" >&2 && "$@"; }

lab/checkpoint.sh "${4:-}"
rm -rf "$build"
run "$torch" -m lab.training.calibration "$data" $build/calibration.txt
run "$python" -m lab.training.head lab/training/checkpoint $build/checkpoint
run "$torch" -m roberta_sentiment convert $build/checkpoint $build/fp32 \
    --tokenizer models/default --name roberta-sentiment-mini --licence Apache-2.0 --origin \
    "sentence-transformers/all-MiniLM-L6-v2 with a vocabulary of its own, distilled by training/ of \
this project from a fine-tuned sentence-transformers/all-mpnet-base-v2"
run "$python" -m roberta_sentiment verify $build/fp32
run "$python" -m roberta_sentiment evaluate "$data/sst2_dev.tsv" --model $build/fp32 \
    --json $build/fp32.json
run "$python" -m roberta_sentiment quantize $build/fp32 $build/int8 \
    --evaluation "$data/sst2_dev.tsv" --calibration $build/calibration.txt
run "$python" -m roberta_sentiment verify $build/int8
run "$python" -m roberta_sentiment evaluate "$data/sst2_dev.tsv" --model $build/int8 \
    --compare $build/fp32 --json $build/int8.json
run "$torch" -m lab.training.judged "$data" $build
run "$python" -m lab.training.evaluate_forms $build/int8 --data "$data" --heldout $build/heldout.tsv \
    --out $build/forms.json
run "$python" -m roberta_sentiment evaluate $build/heldout.tsv --model $build/int8 --json $build/heldout.json
for truncation in end middle windows; do
    run "$python" -m roberta_sentiment evaluate $build/reviews.tsv --model $build/int8 \
        --truncation $truncation --json $build/reviews-$truncation.json
done
