#!/usr/bin/env bash
# Fills the tables of docs/performance.md on a machine with a CUDA GPU, and says which files to send.
#
#     benchmarks/gpu.sh TOKENIZER [DEVICE]
#
# TOKENIZER is a folder with the tokenizer of InternVL3 (of any size), DEVICE is "cuda" (the default) or "cuda:1".
# Weights are random; nothing is downloaded. Runs in the Python of $PYTHON, else of .venv, with `pip install -e '.[dev,plot]'`
# done. A run that fails is named in the end; the others go on. Results are written after each setting.

set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 ]]; then
    echo "usage: $0 TOKENIZER [DEVICE]" >&2
    exit 2
fi
if [[ ! -f "$1/tokenizer.json" && ! -f "$1/vocab.json" ]]; then
    echo "$1 holds no tokenizer: give a folder with InternVL3's tokenizer.json, or vocab.json and merges.txt" >&2
    exit 2
fi
tokenizer=$(cd "$1" && pwd)
device=${2:-cuda}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
if ! command -v "$python" >/dev/null; then
    echo "there is no $python: name a Python that has self1e, as in PYTHON=python3 $0 ..." >&2
    exit 2
fi

if [[ $device != cuda* ]]; then
    echo "$device is no CUDA device: give cuda, or cuda:1" >&2
    exit 2
fi
if ! "$python" -c 'import sys, torch; torch.zeros(1, device=sys.argv[1])' "$device"; then
    echo "torch cannot use $device here, see above. It says of itself:" >&2
    "$python" -c 'import torch; print("torch", torch.__version__, "built for CUDA", torch.version.cuda)' >&2 || true
    nvidia-smi >&2 || echo "nvidia-smi does not run either: is there an NVIDIA driver?" >&2
    exit 1
fi

failed=()
run() {
    echo "== $*"
    "$python" -m "$@" || failed+=("$*")
}

for size in 1B 2B; do
    model=(--size "$size" --dtype bfloat16 --tokenizer "$tokenizer" --device "$device")
    masks=(benchmarks.inference "${model[@]}" --expressions 1 4 16 32 --tiles 1 4)
    run "${masks[@]}" --passes 10
    run "${masks[@]}" --passes 10 --compile
    run "${masks[@]}" --memory
    run benchmarks.scaling "${model[@]}" --passes 5
    run benchmarks.savings "${model[@]}" --passes 10
done
for options in "" --optimiser; do
    # Of all weights, in bfloat16: 2B takes 8 GiB for them and their gradients, and as much again for AdamW.
    for size in 1B 2B; do
        model=(--size "$size" --dtype bfloat16 --tokenizer "$tokenizer" --device "$device")
        run benchmarks.training "${model[@]}" --passes 10 ${options:+"$options"}
        run benchmarks.training "${model[@]}" --memory ${options:+"$options"}
    done
done
run benchmarks.attention --dtype bfloat16 --device "$device"
run pytest -q -k cuda tests/segment/test_flex_attention.py  # masks and words by FlexAttention are those of SDPA
run benchmarks.inference --cold-start --device "$device" --passes 10
run benchmarks.performance

echo
echo "Please send docs/performance.md and"
ls benchmarks/results/{inference,training,scaling,savings}.json docs/pictures/scaling-*.svg || true
if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'These did not end well, see above; a row whose masks differ is in the table all the same:\n' >&2
    printf '    %s\n' "${failed[@]}" >&2
    exit 1
fi
