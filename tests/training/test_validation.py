"""What is looked at on the way: validation, pictures, averages, warnings, and which checkpoints stay."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_runs import config, history, own_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from self1e.data.example import Example
from self1e.evaluation.metrics import MaskScores
from self1e.modeling.model import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.training.checkpoints import last_checkpoint
from self1e.training.collate import Collator
from self1e.training.config import MixtureData
from self1e.training.run import train
from self1e.training.sources import validation_set
from self1e.training.validation import validate
from self1e.training.watch import SILENCE, Watch


def test_validation_is_a_plain_loop_over_the_examples(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Figures of one call are those of looking at every mask by itself, with `Segmenter`'s arithmetic left out."""
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()
    collator = Collator(SELF1EProcessor.from_pretrained(tiny_model_folder), packed=False)
    dataset = validation_set(MixtureData.model_validate(own_data(tmp_path)), 7)
    figures, sheet = validate(
        model,
        dataset,
        collator,
        seg_token_id=model.config.seg_token_id,
        shown=2,
        process=0,
        processes=1,
        prepare=dict,
    )
    scores, ce, tokens, said = MaskScores(), 0.0, 0, []
    for index in range(7):
        example: Example = dataset[index]
        for talk in example.conversations:
            alone = collator([Example(example.image, (talk,), "one")])
            alone.pop("counts")
            with torch.no_grad():
                outputs = model(**alone, output_logits=True)
            labels = alone["labels"][0, 1:]
            scored = labels != -100
            log_likely = outputs.logits[0, :-1].log_softmax(-1)[scored, labels[scored]]
            ce, tokens = ce - float(log_likely.sum()), tokens + int(scored.sum())
            if talk.segmenting:
                due = alone["input_ids"][0, 1:] == model.config.seg_token_id
                said += (outputs.logits[0, :-1].argmax(-1)[due] == model.config.seg_token_id).tolist()
                size = (example.image.height, example.image.width)
                maps = torch.nn.functional.interpolate(outputs.mask_logits[0][None], size, mode="bilinear")[0]
                for one, mask in zip(maps, talk.masks, strict=True):
                    scores.update((one > 0).numpy(), mask)
    expected = scores.compute()
    assert figures["ciou"] == pytest.approx(expected["ciou"])
    assert figures["giou"] == pytest.approx(expected["giou"])
    assert figures["ce"] == pytest.approx(ce / tokens, rel=1e-4)
    assert figures["seg_produced"] == pytest.approx(sum(said) / len(said))
    assert sheet is not None and sheet.width > 500


def test_checkpoints_are_validated_and_the_best_stays(tmp_path: Path, tiny_model_folder: Path) -> None:
    data = own_data(tmp_path)
    settings = config(
        tmp_path,
        data,
        init=str(tiny_model_folder),
        optimisation={"steps": 5, "learning_rate": 3e-3},
        validation={"data": data, "examples": 6, "shown": 1},
        save_every=1,
        keep=1,
    )
    finished = train(settings, device="cpu")
    run = tmp_path / "run"
    giou = {line["step"]: line["eval_giou"] for line in history(run / "checkpoint-5") if "eval_giou" in line}
    assert list(giou) == [1, 2, 3, 4, 5]
    best = min(step for step, value in giou.items() if value == max(giou.values()))
    kept = {int(path.name.split("-")[1]) for path in run.glob("checkpoint-*")}
    assert kept == {best, 5}
    for folder, step in ((finished, 5), (run / "best", best)):
        result, origin = (load_file(each / "model.safetensors") for each in (folder, run / f"checkpoint-{step}"))
        assert all(torch.equal(result[name], origin[name]) for name in origin)
        assert not list(folder.glob("*.pt")) and not (folder / "trainer_state.json").exists()
    assert [path.name for path in sorted((run / "validation").iterdir())] == [f"step-00000{step}.png" for step in giou]
    assert Image.open(run / "validation" / "step-000001.png").width > 500
    events = EventAccumulator(str(next((run / "runs").iterdir()) if (run / "runs").is_dir() else run))
    events.Reload()
    assert events.Tags()["images"] == ["validation"] and "eval/giou" in events.Tags()["scalars"]


def test_average_is_that_of_the_steps(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Averaged by hand over the weights of each step's checkpoint; and a resumed run has the same."""
    settings = config(
        tmp_path,
        own_data(tmp_path),
        init=str(tiny_model_folder),
        optimisation={"steps": 4, "ema": 0.25},
        save_every=1,
        keep=9,
    )
    finished = load_file(train(settings, device="cpu") / "model.safetensors")
    name = "refilling_head.fuse.linear_1.weight"
    average = load_file(tiny_model_folder / "model.safetensors")[name].float()
    for step in range(1, 5):
        decay = min(0.25, (1 + step) / (10 + step))
        weights = load_file(tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors")[name]
        average = decay * average + (1 - decay) * weights
    torch.testing.assert_close(finished[name], average, rtol=1e-6, atol=1e-7)
    assert not torch.equal(finished[name], weights)
    for step in (3, 4):
        __import__("shutil").rmtree(tmp_path / "run" / f"checkpoint-{step}")
    again = load_file(train(settings, device="cpu") / "model.safetensors")
    assert all(torch.equal(again[name], finished[name]) for name in finished)


def test_half_written_checkpoints_are_not_seen(tmp_path: Path) -> None:
    (tmp_path / "unfinished" / "checkpoint-9").mkdir(parents=True)
    assert last_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint-3").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    assert last_checkpoint(tmp_path / "absent") is None


def test_watch_warns_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(patience=2)
    bad = {"seg_produced": 0.1, "blank": 0.95}
    with caplog.at_level(logging.WARNING, logger="self1e"):
        assert watch.look(1, bad) == watch.look(2, bad) == []
        said = watch.look(3, bad)
        assert len(said) == 2 and "10% of the [SEG]s" in said[0] and "95% of the masks" in said[1]
        assert all(watch.look(step, bad) == [] for step in range(4, 3 + SILENCE))
        assert len(watch.look(99, bad)) == 2
        assert watch.look(100, {"seg_produced": 0.9, "blank": 0.2}) == watch.look(101, {}) == []
    assert len(caplog.records) == 4


def test_training_notices_what_goes_wrong(tmp_path: Path, tiny_model_folder: Path) -> None:
    """The figures that are watched are logged, and say what the model does: at first it cannot say [SEG]."""
    settings = config(tmp_path, own_data(tmp_path), init=str(tiny_model_folder), optimisation={"learning_rate": 1e-6})
    train(settings, device="cpu")
    lines = [line for line in history(tmp_path / "run" / "checkpoint-3") if "loss" in line]
    assert all(line["seg_produced"] == 0.0 and 0 <= line["blank"] <= 1 and 0 <= line["padding"] < 0.5 for line in lines)
