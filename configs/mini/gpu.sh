#!/usr/bin/env bash
# Trains mini on for some minutes of a GPU, and leaves a few files of at most 15 MiB to take home.
#
#     configs/mini/gpu.sh MODEL DATA OUT MINUTES SIZE [--set KEY=VALUE ...]
#
# MODEL is the model to go on from (mini, or a folder), DATA what pack.py made, OUT the folder for the results, SIZE the side of
# the squares that photographs are stretched to, in pixels (256, 320). Trains as gpu.yaml says; what comes behind SIZE changes
# its settings. Needs `pip install '.[train]'` in the Python of $PYTHON (default: python3). DEVICE=cpu leaves a GPU alone.
#
# All of it ends within MINUTES: two trials find out how many photographs fit into memory at a time, the first 60 steps how many
# fit into the time, and a checkpoint is written every 60. Started again with the same SIZE in the same folder, training goes on
# from the last one. At home, `cat OUT/mini-SIZE.tar.* | tar x` gives the model, which finish.py makes ready to be given away; on
# another machine it is the MODEL to go on from.
#
# Not run on a GPU yet. With DEVICE=cpu and a tiny model it was, to its end (tests/photos/test_mini_scripts.py).

set -euo pipefail

if [[ $# -lt 5 || ! $4 =~ ^[1-9][0-9]*$ || ! $5 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 MODEL DATA OUT MINUTES SIZE [--set KEY=VALUE ...]" >&2
    exit 2
fi
model=$1 data=$2 out=$3 minutes=$4 size=$5
FIRST=60    # steps, after which the speed is known
STARTING=30 # seconds until the first step
WRITING=40  # seconds, for the files to carry
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
run=runs/mini/gpu-$size
end=$((SECONDS + 60 * minutes - WRITING))
mkdir -p "$out" runs/mini
cores=$(nproc)
settings=(--set output="$run" --set init="$run-start" --set "data.photos.folders=[$(printf '%s,' "$data"/*/)]"
    --set data.photos.size="$size" --set workers=$((cores > 3 ? cores - 2 : 1)) "${@:6}")

[[ -d $run-start ]] || "$python" "$here/enlarge.py" "$model" "$size" "$run-start"
if [[ ! -f $run.fit ]]; then
    timeout -k 10 $((60 * minutes / 4)) "$python" "$here/gpu.py" fit "$here/gpu.yaml" --device "${DEVICE:-auto}" \
        "${settings[@]}" >"$run.fit.new" || { echo "two trials of memory failed, or took too long" >&2; exit 1; }
    mv "$run.fit.new" "$run.fit"
fi
read -r at_a_time times <"$run.fit"

train() { # STEPS UNTIL: ends well with the last step, and when the time is up
    local code=1 stop=$(($2 > SECONDS ? $2 : SECONDS + 1))
    while [[ $code != 0 ]]; do
        code=0
        timeout -k 10 $((stop > SECONDS ? stop - SECONDS : 1)) \
            "$python" -m self1e train "$here/gpu.yaml" --device "${DEVICE:-auto}" "${settings[@]}" \
            --set optimisation.steps="$1" --set optimisation.pictures_per_step="$at_a_time" \
            --set optimisation.accumulate="$times" >"$out/train.log" 2>&1 || code=$?
        # 137 is also the end of a process that the system kills for the memory it takes, but that comes earlier.
        if [[ $code == 124 || ($code == 137 && $SECONDS -ge $stop) ]]; then
            echo "time was up before step $1: the last checkpoint counts" >&2
            return
        elif [[ $code != 0 && $((at_a_time % 2)) == 0 ]] && grep -q "out of memory" "$out/train.log"; then
            at_a_time=$((at_a_time / 2)) times=$((times * 2))
            echo "$at_a_time $times" >"$run.fit"
            echo "memory was not enough: $at_a_time photographs at a time from here on" >&2
        elif [[ $code != 0 ]]; then
            tail -c 2000 "$out/train.log" >&2
            echo "training ended with $code, see above" >&2
            exit 1
        fi
    done
}

if [[ ! -f $run.steps ]]; then
    train "$FIRST" $(((SECONDS + end) / 2))
    "$python" "$here/gpu.py" steps "$run" $((end - SECONDS - STARTING)) >"$run.steps.new"
    mv "$run.steps.new" "$run.steps"
fi
steps=$(<"$run.steps")
echo "$size pixels, $times x $at_a_time photographs a step, $steps steps"
train "$steps" "$end"
tail -c 500 "$out/train.log"
"$python" "$here/gpu.py" carry "$run" "$out" "mini-$size"
