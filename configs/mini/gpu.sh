#!/usr/bin/env bash
# Trains mini on for some minutes of a GPU, and leaves files of at most 16 MiB to take home.
#
#     configs/mini/gpu.sh MODEL DATA OUT MINUTES [SIZE]
#
# MODEL is the folder to go on from (src/self1e/assets/mini), DATA what pack.py made, OUT the folder for the results,
# SIZE the side of the squares that photographs are stretched to, in pixels (default: as the model has it). Trains as
# 9-closed.yaml says, but with larger batches. A first minute finds out how many steps fit, so that the learning rate ends
# at 0 in time. Started again with the same OUT and SIZE, training goes on. Take OUT/model-SIZE home, and make it a model
# to give away with finish.py there.
#
# Not run on a GPU yet (with DEVICE=cpu and 4-fine.yaml it was, to its end): size of batches and learning rate are guesses.

set -euo pipefail

if [[ $# -lt 4 || $# -gt 5 ]]; then
    echo "usage: $0 MODEL DATA OUT MINUTES [SIZE]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
device=${DEVICE:-auto}
mkdir -p "$3"
model=$(cd "$1" && pwd) data=$(cd "$2" && pwd) out=$(cd "$3" && pwd) minutes=$4
folders=$(printf '%s,' "$data"/*/)

read -r own size batch workers < <("$python" - "$model" "${5:-}" "$device" <<'PYTHON'
import json, os, sys
import torch
folder, size, device = sys.argv[1:]
own = json.load(open(f"{folder}/config.json"))["vision_config"]["image_size"][0]
size = int(size or own)
memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if device != "cpu" and torch.cuda.is_available() else 4
print(own, size, max(4, min(96, int(memory * 0.8 * (224 / size) ** 3))), max(1, min(14, (os.cpu_count() or 2) - 2)))
PYTHON
)
if [[ $size != "$own" ]]; then
    start=$out/start-$size
    [[ -d $start ]] || "$python" "$here/enlarge.py" "$model" "$size" "$start"
    model=$start
fi

train() { # OUTPUT STEPS SECONDS [--set ...]
    timeout --signal=TERM "$(($3 > 1 ? $3 : 1))" "$python" -m self1e train "$here/9-closed.yaml" --device "$device" \
        --set output="$1" --set init="$model" --set "data.photos.folders=[$folders]" --set data.photos.size="$size" \
        --set optimisation.pictures_per_step="$batch" --set optimisation.steps="$2" --set workers="$workers" "${@:4}"
}

end=$((SECONDS + 60 * minutes))
if [[ ! -f $out/steps-$size ]]; then
    probe=$(mktemp -d)
    code=0
    train "$probe" 60 "$((60 * minutes / 3))" --set save_every=60 --set log_every=5 >"$out/probe.log" 2>&1 || code=$?
    if [[ $code != 0 && $code != 124 ]]; then
        tail -c 2000 "$out/probe.log" >&2
        echo "the first 60 steps failed with $code, see above" >&2
        exit 1
    fi
    # Without the first twenty steps or so, which wait for workers and kernels.
    "$python" - "$probe/curve.csv" "$((end - SECONDS - 45))" >"$out/steps.new" <<'PYTHON'
import csv, sys
times = {int(row["step"]): float(row["seconds"]) for row in csv.DictReader(open(sys.argv[1]))}
times = {step: seconds for step, seconds in times.items() if step >= 20}
if len(times) < 2:
    sys.exit("a third of the time was not enough for 25 steps: give more minutes or a smaller SIZE")
first, last = min(times), max(times)
print(max(60, int((last - first) / max(0.1, times[last] - times[first]) * int(sys.argv[2]) * 0.93)))
PYTHON
    rm -rf "$probe"
    mv "$out/steps.new" "$out/steps-$size"
fi
steps=$(cat "$out/steps-$size")
echo "$size pixels, $batch photographs a step, $steps steps"
code=0
train "$out/run-$size" "$steps" "$((end - SECONDS - 30))" --set optimisation.learning_rate=2.0e-3 \
    --set save_every=$((steps / 10 + 1)) >"$out/train.log" 2>&1 || code=$?
tail -c 2000 "$out/train.log"
if [[ $code == 124 ]]; then
    echo "time was up before the last step: the last checkpoint counts" >&2
elif [[ $code != 0 ]]; then
    echo "training ended with $code, see above" >&2
    exit 1
fi
"$python" - "$out/run-$size" "$out/model-$size" <<'PYTHON'
import sys
from pathlib import Path
import torch
from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.processing.processor import SELF1EProcessor
run, out = map(Path, sys.argv[1:])
kept = sorted(run.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
if not (run / "model").is_dir() and not kept:
    sys.exit(f"{run} has no checkpoint yet: give more minutes")
best = run / "model" if (run / "model").is_dir() else kept[-1] / "average"
load_network(open_checkpoint(best), torch.float16).save_pretrained(out, max_shard_size="15MB")
SELF1EProcessor.from_pretrained(best).save_pretrained(out)
print(f"{best}: in half precision in {out}")
PYTHON
