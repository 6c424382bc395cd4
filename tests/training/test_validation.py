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
from transformers import Trainer

from self1e.conversation import Example
from self1e.data.records import DataError
from self1e.data.settings import MixtureData
from self1e.metrics import MaskScores
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import encode_conversation
from self1e.training.checkpoints import claim, clean, last_checkpoint
from self1e.training.collate import Collator
from self1e.training.config import ConfigError, TrainConfig, load_config
from self1e.training.run import train
from self1e.training.trainer import SELF1ETrainer
from self1e.training.validation import validate
from self1e.training.watch import SILENCE, Watch


def test_validation_is_a_plain_loop_over_the_examples(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Figures of one call are those of looking at every mask by itself, with `Segmenter`'s arithmetic left out."""
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()
    collator = Collator(SELF1EProcessor.from_pretrained(tiny_model_folder), packed=False)
    dataset = MixtureData.model_validate(own_data(tmp_path)).examples(7, training=False)
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
            alone = collator([Example(example.image, (talk,), "one")])["batch"]
            ids = alone.input_ids[0]
            with torch.no_grad():
                outputs = model(alone, logits_at=torch.arange(len(ids)))
            words = encode_conversation(
                collator.processor.tokenizer, talk.turns, len(alone.pixel_values) * collator.processor.tokens_per_tile
            )
            labels = torch.tensor(words.labels)[1:]
            scored = labels != -100
            log_likely = outputs.logits[:-1].log_softmax(-1)[scored, labels[scored]]
            ce, tokens = ce - float(log_likely.sum()), tokens + int(scored.sum())
            if talk.segmenting:
                due = ids[1:] == model.config.seg_token_id
                said += (outputs.logits[:-1].argmax(-1)[due] == model.config.seg_token_id).tolist()
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


@pytest.mark.parametrize("best", [2, 5])
def test_checkpoints_are_validated_and_the_best_stays(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    """Whether the best is an earlier one or the last: scores are as if it were so, all else is real."""
    data = own_data(tmp_path)

    def scored(self: SELF1ETrainer, metrics: dict[str, float], trial: object) -> bool:
        metrics["eval_score"] = -abs(self.state.global_step - best)
        return Trainer._determine_best_metric(self, metrics, trial)

    monkeypatch.setattr(SELF1ETrainer, "_determine_best_metric", scored)
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


def test_words_alone_are_validated_by_their_loss(tmp_path: Path, tiny_model_folder: Path) -> None:
    data = own_data(tmp_path)
    words = tmp_path / "words.jsonl"
    words.write_text(
        "\n".join(line for line in (tmp_path / "own.jsonl").read_text().splitlines() if 'answer": "A' in line)
    )
    validation = {"data": {"parts": {"words": {"rate": 1, "own": [{"jsonl": str(words)}]}}}, "examples": 3}
    train(config(tmp_path, data, init=str(tiny_model_folder), validation=validation), device="cpu")
    line = next(line for line in history(tmp_path / "run" / "checkpoint-3") if "eval_loss" in line)
    assert line["eval_score"] == -line["eval_loss"] < 0 and "eval_giou" not in line
    assert (tmp_path / "run" / "best").is_dir()


def test_what_is_the_users_stays(tmp_path: Path, tiny_model_folder: Path) -> None:
    mine = tmp_path / "run" / "model"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    settings = config(tmp_path, own_data(tmp_path), init=str(tiny_model_folder))
    with pytest.raises(ConfigError, match="holds model, but not of a run of ours"):
        train(settings, device="cpu")
    assert (mine / "notes.txt").read_text() == "mine"
    inside = config(tmp_path, own_data(tmp_path), init=str(mine))
    with pytest.raises(ConfigError, match="where this run writes"):
        train(inside, device="cpu")


def test_leftovers_of_a_kill_are_cleaned_up(tmp_path: Path) -> None:
    for name in (".model.12ab.partial", ".model.34cd.old", ".best.56ef.old", "best", "unfinished", ".mine.old"):
        (tmp_path / name).mkdir()
    (tmp_path / ".model.34cd.old" / "kept").touch()
    clean(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "best", ".mine.old"}
    assert (tmp_path / "model" / "kept").exists()


def test_what_may_change_when_a_run_goes_on(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what decides it, and not how many pictures make a step; but how they are dealt out."""
    data = own_data(tmp_path)

    def settings(**changes: object) -> TrainConfig:
        optimisation = {"pictures_per_step": 2, "accumulate": 2, **changes.pop("optimisation", {})}  # type: ignore[dict-item]
        return config(tmp_path, data, init=str(tiny_model_folder), optimisation=optimisation, **changes)

    claim(settings(), processes=1)
    (tmp_path / "run" / "checkpoint-3").mkdir()
    claim(settings(workers=2, log_every=7, keep=5), processes=1)
    claim(settings(optimisation={"accumulate": 1}), processes=2)
    claim(settings(optimisation={"accumulate": 4, "pictures_per_step": 1}), processes=1)
    with pytest.raises(ConfigError, match="has 4 pictures, and would have 8 with 2 processes"):
        claim(settings(), processes=2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="started with no sharding, and cannot go on with FSDP"):
        claim(settings(), processes=1)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    with pytest.raises(ConfigError, match=r"settings \(data\.at_most: 3 there, 1 now; seed: 1 there, 2 now\):"):
        data["at_most"] = 1
        claim(settings(seed=2), processes=1)


def test_a_start_that_came_to_nothing_claims_no_folder(tmp_path: Path, tiny_model_folder: Path) -> None:
    data, run = own_data(tmp_path), tmp_path / "run"
    claim(config(tmp_path, data, init="a-wrong-name"), processes=1)
    right = config(tmp_path, data, init=str(tiny_model_folder))
    claim(right, processes=4)
    assert load_config(run / "config.yaml") == right
    (run / "run.json").rename(run / "else.json")
    with pytest.raises(ConfigError, match=r"holds config\.yaml, but not of a run of ours"):
        claim(right, processes=4)  # a file of the user's
    (run / "else.json").rename(run / "run.json")
    (run / "model").mkdir()
    claim(right, processes=4)
    with pytest.raises(ConfigError, match=r"\(init: .* there, a-wrong-name now\)"):
        claim(config(tmp_path, data, init="a-wrong-name"), processes=4)


def test_data_that_are_missing_leave_the_folder_alone(tmp_path: Path) -> None:
    data = {"root": str(tmp_path / "nope"), "parts": {"a": {"rate": 1, "sets": ["ade20k"]}}}
    with pytest.raises(DataError, match="nope"):  # though there is no such model, which costs more to find out
        train(config(tmp_path, data, init="a-wrong-name"), device="cpu")
    assert not (tmp_path / "run").exists()
    lost = {"data": {"parts": {"val": {"rate": 1, "own": [{"jsonl": "lost.jsonl"}]}}}}
    with pytest.raises(DataError, match=r"lost\.jsonl"):
        train(config(tmp_path, own_data(tmp_path), init="a-wrong-name", validation=lost), device="cpu")
    assert not (tmp_path / "run").exists()


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
        assert "loss is nan: " in watch.look(102, {"loss": float("nan"), "ce": 0.5})[0]
    assert len(caplog.records) == 5


def test_training_notices_what_goes_wrong(tmp_path: Path, tiny_model_folder: Path) -> None:
    """The figures that are watched are logged, and say what the model does: at first it cannot say [SEG]."""
    settings = config(tmp_path, own_data(tmp_path), init=str(tiny_model_folder), optimisation={"learning_rate": 1e-6})
    train(settings, device="cpu")
    lines = [line for line in history(tmp_path / "run" / "checkpoint-3") if "loss" in line]
    assert all(line["seg_produced"] == 0.0 and 0 <= line["padding"] < 0.5 for line in lines)
