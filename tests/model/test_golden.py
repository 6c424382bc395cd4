"""Parity with the released code: what it computed on two tiny checkpoints, held against ours."""

import io
import json
import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save, save_file

from self1e.checkpoints.convert import convert_checkpoint
from self1e.checkpoints.verify import reference_token_ids, verify
from self1e.checkpoints.weights import ModelError
from self1e.model.network import SELF1EForSegmentation, SELF1EOutput

REFERENCES = ("tiny-internvl3-qwen2", "tiny-internvl35-qwen3")
EXACT = ("attention_mask", "mask_logits.2")


@pytest.fixture(scope="module", params=REFERENCES)
def reference(request, golden):
    return golden / request.param


@pytest.fixture(scope="module")
def converted(reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / reference.name
    convert_checkpoint(reference, folder, **reference_token_ids(reference))
    return folder


def test_parity(converted, reference):
    report = verify(converted, reference)
    assert report.passed
    differences = {each.quantity: each.difference for each in report.comparisons}
    names = json.loads((reference / "reference.json").read_text())["grad_norms"]
    assert {f"grad {name}" for name in names} < differences.keys()
    for name, difference in differences.items():
        relative = name.startswith("grad") or name.endswith("loss")
        limit = 2e-6 if relative else 3e-5
        assert difference <= (0 if name in EXACT else limit), name
    for recorded in ("compressed_features", "uncompressed_features", "last_hidden_state", "logits", "mask_logits.1"):
        assert recorded in differences
    for recorded in ("loss", "ce_loss", "mask_loss", "mask_bce_loss", "mask_dice_loss"):
        assert recorded in differences


def test_eager_attention_has_parity_too(converted, reference, monkeypatch):
    load = SELF1EForSegmentation.from_pretrained
    monkeypatch.setattr(
        SELF1EForSegmentation,
        "from_pretrained",
        lambda *args, **kwargs: load(*args, attn_implementation="eager", **kwargs),
    )
    assert verify(converted, reference, tolerance=5e-5).passed


def test_report_prints(converted, reference):
    report = verify(converted, reference)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report)
    text = console.export_text()
    assert "last_hidden_state" in text and "grad vision_model.encoder.layers.0.attn.qkv.weight" in text
    assert "differs" not in text and f"all {len(report.comparisons)} quantities agree" in " ".join(text.split())


@pytest.mark.parametrize(
    ("changed", "caught"),
    [
        ("refilling_head.fuse.linear_2.bias", "mask_logits.0"),
        ("model.language_model.norm.weight", "last_hidden_state"),
        ("model.multi_modal_projector.linear_1.weight", "uncompressed_features"),
        ("lm_head.weight", "logits"),
    ],
)
def test_a_wrong_weight_is_caught(changed, caught, converted, reference, tmp_path):
    shutil.copytree(converted, tmp_path / "model")
    weights = load_file(converted / "model.safetensors")
    weights[changed] = weights[changed] * 1.01 + 0.001
    save_file(weights, tmp_path / "model" / "model.safetensors")
    report = verify(tmp_path / "model", reference)
    assert not report.passed
    assert caught in [each.quantity for each in report.failures]
    assert caught in str(report)


def test_nan_does_not_pass(converted, reference, monkeypatch):
    forward = SELF1EForSegmentation.forward

    def broken(self, *args, **kwargs) -> SELF1EOutput:
        output = forward(self, *args, **kwargs)
        output.logits = output.logits * float("nan")
        return output

    monkeypatch.setattr(SELF1EForSegmentation, "forward", broken)
    assert "logits" in [each.quantity for each in verify(converted, reference).failures]


def test_other_ids_are_refused(reference, tmp_path):
    convert_checkpoint(reference, tmp_path / "model", seg_token_id=311, image_token_id=300)
    with pytest.raises(ModelError, match="seg_token_id 311, the reference 310"):
        verify(tmp_path / "model", reference)


def test_a_folder_that_is_no_reference(converted, tmp_path):
    with pytest.raises(ModelError, match=r"needs reference\.json"):
        verify(converted, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("reference.json", b"{}", "lacks special_ids"),
        ("reference.json", b'{"special_ids": {"seg": 310}, "grid_cols_rows": []}', "lacks special_ids"),
        ("reference.safetensors", b"\x08\x00", "is damaged"),
        ("reference.safetensors", save({"input_ids": torch.zeros(1, 1)}), "lacks pixel_values"),
    ],
)
def test_a_damaged_reference(reference, converted, tmp_path, name, content, message):
    for file in ("reference.json", "reference.safetensors"):
        shutil.copyfile(reference / file, tmp_path / file)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        verify(converted, tmp_path)


def test_a_reference_of_other_sizes(tmp_path):
    """Made here by our own model: five rows, one of them text only, other widths, tiles and ids, no padding given."""
    from builders import IMAGE, SEG, batch_of, conversation, pixels, tiny_model

    model = tiny_model(ce_weight=0.5, text={"hidden_size": 32})
    model.save_pretrained(tmp_path / "model")
    grids = [(1, 1), (0, 0), (3, 1), (1, 2), (1, 1)]
    rows = [conversation(columns * lines, segs) for (columns, lines), segs in zip(grids, (1, 0, 2, 3, 1), strict=True)]
    length = max(map(len, rows))
    rows = [row + [1] * (length - len(row)) for row in rows]
    masks = [torch.ones(row.count(SEG), 10, 12) for row in rows]
    tiles = pixels(7)
    batch = batch_of(rows, tiles, grids=[grid for grid in grids if grid != (0, 0)], labels=True, masks=masks)
    output = model(batch)
    output.loss.backward()
    recorded = {
        "input_ids": batch.input_ids,
        "labels": batch.input_ids.clone(),
        "pixel_values": tiles,
        "last_hidden_state": output.last_hidden_state.detach(),
    }
    recorded |= {f"mask_logits.{row}": logits.detach().clone() for row, logits in enumerate(output.mask_logits)}
    recorded |= {f"gt_masks.{row}": mask for row, mask in enumerate(masks)}
    reference = {
        "special_ids": {"img_context": IMAGE, "seg": SEG},
        "grid_cols_rows": grids,
        "loss_weights": {"ce": 0.5, "bce": 2.0, "dice": 0.5},
        "losses": {"loss": output.loss.item()},
        "grad_norms": {"mlp1.0.bias": model.model.multi_modal_projector.layer_norm.bias.grad.norm().item()},
    }
    (tmp_path / "reference").mkdir()
    save_file(recorded, tmp_path / "reference" / "reference.safetensors")
    (tmp_path / "reference" / "reference.json").write_text(json.dumps(reference))
    report = verify(tmp_path / "model", tmp_path / "reference")
    assert report.passed, str(report)
    assert len(report.comparisons) == 1 + 5 + 1 + 1
