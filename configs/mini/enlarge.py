"""A copy of a model that sees pictures at another size, to train on with.

python configs/mini/enlarge.py runs/mini/2-tuned/model 128 runs/mini/tuned-128
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.files import folder_when_complete
from self1e.photos.build import with_image_size
from self1e.processing.processor import SELF1EProcessor
from self1e.training.losses import EXTRA_LOSSES, weights_of_losses


def main() -> None:
    parser = argparse.ArgumentParser(description="A copy of a model that sees pictures at another size.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("image_size", type=int, help="side of the square that pictures are stretched to, pixels")
    parser.add_argument("out", type=Path, help="folder to write it to")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another folder, or delete it first")
    checkpoint = open_checkpoint(options.model)
    network = load_network(checkpoint, torch.float32)
    processor = SELF1EProcessor.from_pretrained(checkpoint.folder)
    model, processor = with_image_size(network, processor, options.image_size)
    probes = weights_of_losses(checkpoint.folder)
    with folder_when_complete(options.out, replace=False) as staging:
        model.save_pretrained(staging)
        processor.save_pretrained(staging)
        if probes is not None:  # they read cells, however many there are
            shutil.copyfile(probes, staging / EXTRA_LOSSES)


if __name__ == "__main__":
    main()
