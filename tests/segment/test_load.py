"""Models that are there, and the many ways in which they are not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import InternVLForConditionalGeneration

import self1e.checkpoints.hub
from self1e import ModelError, Segmenter, SELF1EProcessor
from self1e.checkpoints.hub import BUNDLED
from self1e.segment.devices import LARGE, choose_device, choose_dtype
from self1e.segment.load import load_model
from self1e.segment.options import LoadOptions
from self1e.segment.share import take_gpu

SMALL = 1_000_000
CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A copy of the tiny model to damage."""
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def test_a_folder_is_loaded(tiny_model_folder):
    loaded = load_model(tiny_model_folder, LoadOptions(device="cpu"))
    assert not loaded.model.training
    assert (loaded.name, loaded.calibration) == (str(tiny_model_folder), None)
    assert (loaded.model.device, loaded.model.dtype) == (CPU, torch.float32)
    assert load_model(tiny_model_folder, LoadOptions(device="cpu", dtype="bfloat16")).model.dtype == torch.bfloat16
    assert load_model(tiny_model_folder.parent, LoadOptions(subfolder=tiny_model_folder.name)).name.endswith(
        tiny_model_folder.name
    )


def test_home_is_found_in_python(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    Image.new("RGB", (80, 60)).save(folder.parent / "black.png")
    segmenter = Segmenter.from_pretrained(f"~/{folder.name}")
    assert SELF1EProcessor.from_pretrained(f"~/{folder.name}").image_size == segmenter.processor.image_size
    segmenter.segment("~/black.png", "the ball").save("~/mask.png")
    assert (folder.parent / "mask.png").is_file()


def test_a_segmenter_says_what_it_is(tiny_model_folder):
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", max_tiles=4)
    assert segmenter.processor.max_tiles == 4
    assert repr(segmenter) == f"Segmenter('{tiny_model_folder}', device='cpu', dtype='float32')"
    for tiles in (0, "2"):
        with pytest.raises(ValueError, match=f"max_tiles must be a whole number of at least 1, not {tiles!r}"):
            Segmenter.from_pretrained(tiny_model_folder, max_tiles=tiles)
    with pytest.raises(ValueError, match="at most 256"):
        Segmenter.from_pretrained(tiny_model_folder, max_tiles=1000)


def test_tiles_are_those_of_the_training(folder):
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps(settings | {"max_tiles": 3}))
    assert Segmenter.from_pretrained(folder).processor.max_tiles == 3
    assert Segmenter.from_pretrained(folder, max_tiles=2).processor.max_tiles == 2


def test_calibration_is_taken_along(folder):
    path = folder / "calibration.json"
    path.write_text(json.dumps({"present": [[0.0, 0.25], [1.0, 0.25]], "absent": [[0.0, 0.5]]}))
    result = Segmenter.from_pretrained(folder, device="cpu").segment(torch.rand(9, 9, 3).numpy(), "a ball")
    assert result.score in (0.25, 0.5)
    path.write_text('{"presence": []}')
    with pytest.raises(ModelError, match=r"calibration\.json cannot be used \(unknown keys"):
        load_model(folder)


def test_bundled_models_are_found_by_name(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(BUNDLED, "nano", tiny_model_folder)
    assert load_model("nano", LoadOptions(device="cpu")).name == "nano"
    monkeypatch.setitem(BUNDLED, "nano", tmp_path / "absent")
    with pytest.raises(ModelError, match="bundled model 'nano' is missing"):
        load_model("nano")


@pytest.mark.parametrize("name", ["nanno", "runs/no/such/model", "/no/such/model", ""])
def test_unknown_names(name):
    with pytest.raises(
        ModelError, match=r"there is no model '.*': give 'mini' or 'nano', an existing folder, or a Hub"
    ):
        load_model(name)


def test_the_hub_out_of_reach(monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(self1e.checkpoints.hub, "snapshot_download", offline)
    with pytest.raises(
        ModelError, match=r"someone/model is no folder here and cannot be had .* \(no network\)"
    ) as error:
        load_model("someone/model", LoadOptions(revision="main"))
    assert error.value.__suppress_context__


def test_revisions_are_of_the_hub(folder):
    with pytest.raises(ModelError, match="revision 'main' was given"):
        load_model(folder, LoadOptions(revision="main"))
    with pytest.raises(ModelError, match="has no folder part"):
        load_model(folder, LoadOptions(subfolder="part"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"is no model folder: it has no config\.json"),
        ("config.json", b"{", "cannot be read as JSON"),
        ("config.json", b'{"model_type": "llama"}', "llama"),
        ("config.json", b'{"model_type": "self1e", "refilling": "full"}', "does not describe a model .*refilling"),
        ("model.safetensors", None, "has no weights"),
        ("model.safetensors", b"\x08\x00", "cut short or damaged"),
        ("tokenizer.json", None, "incomplete: it has no tokenizer"),
        ("tokenizer.json", b'{"version"', "tokenizer or processor_config.json in .* cannot be used"),
        ("processor_config.json", b"[", "tokenizer or processor_config.json in .* cannot be used"),
    ],
)
def test_incomplete_and_damaged_folders(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        load_model(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("text_config", {"hidden_size": "wide"}, "does not describe a model .*hidden_size"),
        ("text_config", {"hidden_size": 0}, "does not describe a model"),
        ("text_config", {"num_attention_heads": 0}, "does not describe a model"),
        ("text_config", {"vocab_size": 5}, "does not describe a model"),
        ("text_config", {"hidden_size": 10_000_000}, r"do not fit(.|\n)*misshapen: .* instead of \[331, 10000000\]"),
        ("vision_config", {"num_hidden_layers": 3}, r"do not fit(.|\n)*36 missing"),
        ("vision_config", {"patch_size": [8]}, "does not describe a model"),
        (None, {"ce_weight": "x"}, "does not describe a model .*ce_weight"),
        (None, {"mask_loss_side": 0}, "mask_loss_side must be at least 1"),
        (None, {"seg_token_id": None}, "does not describe a model .*seg_token_id"),
        (None, {"refilling": "rfr"}, r"do not fit(.|\n)*8 unexpected"),
        (None, {"attn_implementation": "flash_attention_2"}, "FlashAttention2"),
    ],
)
def test_settings_that_do_not_fit_the_weights(folder, part, change, message):
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config).update(change)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_a_file_is_no_folder(folder):
    with pytest.raises(ModelError, match="is a file: give the folder"):
        load_model(folder / "model.safetensors")


def test_tokenizer_and_weights_of_different_models(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "seg_token_id": 5}))
    with pytest.raises(ModelError, match=r"do not belong together: \[SEG\] is \d+ for the tokenizer and 5"):
        load_model(folder)


def test_a_model_that_never_learnt_to_segment(folder, tiny_model_folder):
    """InternVL in transformers' own form: it can talk, but its masks would be noise."""
    model = load_model(tiny_model_folder, LoadOptions(device="cpu")).model
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("refilling_head.")}
    settings = {**model.config.to_dict(), "model_type": "internvl"}
    config = InternVLForConditionalGeneration.config_class(**settings)
    InternVLForConditionalGeneration(config).save_pretrained(folder, state_dict=state)
    with pytest.warns(UserWarning, match="never trained to segment"):
        assert load_model(folder, LoadOptions(device="cpu")).processor.tokens_per_tile == 16


def test_devices():
    assert choose_device("cpu") == choose_device(CPU) == CPU
    assert choose_device().type in ("cuda", "mps", "cpu")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        choose_device("gpu")
    with pytest.raises(ValueError, match="device 'meta' cannot be used here"):
        choose_device("meta")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device 'cuda' cannot be used here"):
            choose_device("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a GPU")
def test_of_several_processes_each_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self1e.segment.share._own_gpu", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device() == torch.device("cuda")
    for number, device in ((0, "cuda:0"), (1, "cuda:1"), (3, "cuda:1")):
        take_gpu(number)
        assert choose_device() == torch.device(device)
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
            choose_device("cuda")
    with pytest.raises(ValueError, match="device 'cuda:0' cannot be used here"):
        choose_device("cuda:0")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("device", "stored", "parameters", "native", "expected"),
    [
        (CPU, torch.bfloat16, SMALL, True, torch.float32),
        (CPU, torch.float32, LARGE, True, torch.bfloat16),
        (CPU, torch.bfloat16, LARGE, False, torch.float32),
        (MPS, torch.bfloat16, SMALL, True, torch.float32),
        (MPS, torch.bfloat16, LARGE, True, torch.float16),
        (CUDA, torch.float32, SMALL, True, torch.float32),
        (CUDA, torch.float32, LARGE, True, torch.bfloat16),
        (CUDA, torch.bfloat16, SMALL, True, torch.bfloat16),
        (CUDA, torch.float16, LARGE, True, torch.float16),
        (CUDA, torch.bfloat16, SMALL, False, torch.float32),
        (CUDA, torch.bfloat16, LARGE, False, torch.float16),
    ],
)
def test_types_when_nobody_says(device, stored, parameters, native, expected, monkeypatch):
    monkeypatch.setattr("self1e.segment.devices.cpu_has", lambda instructions: native and instructions == "amx_tile")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_dtype("auto", device, stored, parameters) == expected


def test_types_that_are_named():
    assert choose_dtype("bfloat16", CPU, torch.float32, SMALL) == torch.bfloat16
    assert choose_dtype(torch.float16, CPU, torch.float32, SMALL) == torch.float16
    for wrong in ("int8", torch.int8):
        with pytest.raises(ValueError, match=r"unknown dtype '.*int8': use 'auto', 'float32'"):
            choose_dtype(wrong, CPU, torch.float32, SMALL)


def test_nothing_compiles_without_a_compiler(tiny_model_folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ValueError, match=r"to compile for a CPU torch needs"):
        load_model(tiny_model_folder, LoadOptions(device="cpu", compile=True))


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_model_draws_the_same(dtype):
    from torch._dynamo.utils import counters

    picture = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
    prompts = ["the white cow", "the house with the blue roof"]
    plain, compiled = (
        Segmenter.from_pretrained("nano", device="cpu", dtype=dtype, compile=each) for each in (False, True)
    )
    torch._dynamo.reset()  # or what another test compiled would do
    counters.clear()
    for number in (1, 2):  # another number of rows or tokens, too
        for one, other in zip(*(each.segment(picture, prompts[:number]) for each in (plain, compiled)), strict=True):
            assert np.count_nonzero(one.mask & other.mask) > 0.98 * np.count_nonzero(one.mask | other.mask) > 0
    assert counters["stats"]["unique_graphs"]
