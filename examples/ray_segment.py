"""Segments pictures in a Ray Data pipeline: `python examples/ray_segment.py PICTURES OUT "the dog"`.

PICTURES is a folder or address that Ray reads. OUT gets Parquet files; `Segmentation.from_dict` reads their `result`.
"""

import json
import sys

import ray


class Segment:
    def __init__(self, prompt):
        from self1e import Segmenter

        self.prompt, self.segmenter = prompt, Segmenter.from_pretrained()

    def __call__(self, batch):
        done = list(self.segmenter.segment_files(batch["bytes"], self.prompt))
        results = ["" if each.error else json.dumps(each.value.to_dict()) for each in done]
        return {"path": batch["path"], "result": results, "error": [str(each.error or "") for each in done]}


ray.init()
actors = int(ray.cluster_resources()["CPU"]) - 1  # if they held all CPUs, reading would wait for one for ever
assert actors > 0, "this needs a Ray cluster with two CPUs"
pool = ray.data.ActorPoolStrategy(size=actors)  # where there are GPUs: one for each, and num_gpus=1 below
pictures = ray.data.read_binary_files(sys.argv[1], include_paths=True)
results = pictures.map_batches(Segment, fn_constructor_args=[sys.argv[3]], batch_size=16, compute=pool, num_cpus=1)
results.write_parquet(sys.argv[2])
