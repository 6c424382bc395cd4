"""The converter on tiny checkpoints of every layout."""

import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from builders import IMAGE, VOCABULARY, batch_of, conversation, pixels, tiny_config, tiny_model
from official import IDS, assert_same_weights, edit_config, hf_base, official_config, official_tensors, write_folder
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from self1e import SELF1EForSegmentation
from self1e.checkpoints import convert, weights
from self1e.checkpoints.check import expected_shapes
from self1e.checkpoints.convert import convert_checkpoint
from self1e.checkpoints.names import our_settings
from self1e.checkpoints.weights import ModelError


class TestRelease:
    @pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
    @pytest.mark.parametrize("shards", [1, 3])
    def test_weights_and_outputs(self, text_model, shards, tmp_path):
        original = tiny_model(text_model)
        source = write_folder(
            tmp_path / "source", official_config(text_model), official_tensors(original), shards=shards
        )
        report = convert_checkpoint(source, tmp_path / "model", **IDS)
        assert report.checkpoint.can_segment and report.fresh == [] and report.checkpoint.layout == "official"
        assert (report.rows, report.config.text_config.vocab_size) == (VOCABULARY, VOCABULARY)
        assert report.parameters == sum(parameter.numel() for parameter in original.parameters())
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model").eval()
        assert_same_weights(model, original)
        batch = batch_of([conversation(1, 1)], pixels(1))
        assert_close(model(batch).mask_logits[0], original(batch).mask_logits[0])

    def test_loads_directly(self, release):
        model = SELF1EForSegmentation.from_pretrained(release, **IDS)
        assert_same_weights(model, tiny_model())
        assert not any(parameter.is_meta for parameter in model.parameters())

    def test_loads_directly_with_options(self, release):
        model, info = SELF1EForSegmentation.from_pretrained(
            str(release.parent),
            subfolder=release.name,
            **IDS,
            dtype=torch.bfloat16,
            attn_implementation="eager",
            mask_loss_side=7,
            output_loading_info=True,
        )
        assert model.dtype == torch.bfloat16
        assert model.config.mask_loss_side == 7
        assert model.config.text_config._attn_implementation == "eager"
        assert not info["missing_keys"]

    def test_output_of_shards(self, release, tmp_path):
        convert_checkpoint(release, tmp_path / "model", **IDS, max_shard_bytes=40_000)
        shards = list((tmp_path / "model").glob("model-*-of-*.safetensors"))
        assert len(shards) > 2 and all(shard.stat().st_size < 60_000 for shard in shards)
        assert (tmp_path / "model" / "model.safetensors.index.json").is_file()
        assert_same_weights(SELF1EForSegmentation.from_pretrained(tmp_path / "model"), tiny_model())

    def test_dtype(self, release, tmp_path):
        convert_checkpoint(release, tmp_path / "model", **IDS, dtype=torch.bfloat16)
        stored = load_file(tmp_path / "model" / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
        assert SELF1EForSegmentation.from_pretrained(tmp_path / "model").dtype == torch.bfloat16

    def test_saved_again(self, release, tmp_path):
        SELF1EForSegmentation.from_pretrained(release, **IDS).save_pretrained(tmp_path / "again")
        assert_same_weights(SELF1EForSegmentation.from_pretrained(tmp_path / "again"), tiny_model())

    def test_rows_that_config_does_not_know_of(self, tmp_path):
        """Resizing embeddings does not always reach config.json."""
        source = write_folder(
            tmp_path / "source", official_config(text={"vocab_size": 60}), official_tensors(tiny_model())
        )
        report = convert_checkpoint(source, tmp_path / "model", **IDS)
        assert (report.rows, report.config.text_config.vocab_size) == (VOCABULARY, VOCABULARY)
        assert "60 rows" in report.notes[0]

    def test_vision_variants(self, tmp_path):
        """The larger towers have RMS norms, normalised queries and keys, and no bias; absent settings mean that."""
        vision = {"norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": False}
        config = official_config()
        for key in ("qkv_bias", "qk_normalization", "norm_type"):
            del config["vision_config"][key]
        settings = our_settings(config, "official")["vision_config"]
        assert {key: settings[key] for key in vision} == vision
        model = SELF1EForSegmentation(tiny_config())
        model.config.vision_config.__dict__.update(vision)
        model = SELF1EForSegmentation(model.config)
        source = write_folder(tmp_path / "source", config, official_tensors(model))
        assert_same_weights(SELF1EForSegmentation.from_pretrained(source, **IDS), model)


class TestBase:
    def base(self, folder, **options):
        config = official_config(**options)
        return write_folder(folder, config, official_tensors(tiny_model(**options), head=False))

    def test_head_is_fresh_and_said_so(self, tmp_path):
        source = self.base(tmp_path / "base")
        report = convert_checkpoint(source, tmp_path / "model", image_token_id=IMAGE, seg_token_id=VOCABULARY)
        assert not report.checkpoint.can_segment
        assert any("refilling head" in each for each in report.fresh)
        assert any("[SEG] row" in each for each in report.fresh)
        assert (report.rows, report.config.text_config.vocab_size) == (VOCABULARY, VOCABULARY + 1)
        assert "newly initialised" in str(report)
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
            assert embeddings.weight.shape[0] == VOCABULARY + 1
            assert_close(embeddings.weight[-1], embeddings.weight[:-1].mean(dim=0))
        head = model.refilling_head.amplify_llm
        assert head.linear_1.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert head.linear_1.bias.abs().max() == 0
        output = model(batch_of([[*conversation(1, 0), 3, VOCABULARY]], pixels(1), seg=VOCABULARY))
        assert output.mask_logits[0].isfinite().all()

    def test_seed(self, tmp_path):
        source = self.base(tmp_path / "base")
        options = {"image_token_id": IMAGE, "seg_token_id": VOCABULARY}
        convert_checkpoint(source, tmp_path / "one", **options, seed=1)
        again = SELF1EForSegmentation.from_pretrained(source, **options, seed=1)
        other = SELF1EForSegmentation.from_pretrained(source, **options, seed=2)
        assert_same_weights(again, SELF1EForSegmentation.from_pretrained(tmp_path / "one"))
        ours, theirs = again.refilling_head.fuse.linear_1.weight, other.refilling_head.fuse.linear_1.weight
        assert not torch.equal(ours, theirs)
        assert not torch.equal(ours, again.refilling_head.fuse.linear_2.weight)

    @pytest.mark.parametrize("refilling", ["baseline", "rfr"])
    def test_other_rungs(self, refilling, tmp_path):
        source = self.base(tmp_path / "base")
        convert_checkpoint(
            source, tmp_path / "model", image_token_id=IMAGE, seg_token_id=VOCABULARY, refilling=refilling
        )
        assert SELF1EForSegmentation.from_pretrained(tmp_path / "model").config.refilling == refilling

    def test_rung_of_a_release_is_fixed(self, release, tmp_path):
        with pytest.raises(ModelError, match="rung"):
            convert_checkpoint(release, tmp_path / "model", **IDS, refilling="rfr")

    @pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
    def test_tied_embeddings(self, text_model, tmp_path):
        original = tiny_model(text_model, tie_word_embeddings=True)
        config = official_config(text_model, text={"tie_word_embeddings": True})
        source = write_folder(tmp_path / "base", config, official_tensors(original, head=False))
        convert_checkpoint(source, tmp_path / "model", image_token_id=IMAGE, seg_token_id=VOCABULARY)
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
        assert model.lm_head.weight is model.get_input_embeddings().weight

    def test_weights_outvote_a_config_that_says_tied(self, release, tmp_path):
        edit_config(release, tie_word_embeddings=True)
        convert_checkpoint(release, tmp_path / "model", **IDS)
        assert_same_weights(SELF1EForSegmentation.from_pretrained(tmp_path / "model"), tiny_model())


class TestTransformersLayout:
    """Folders like those of the `-hf` repositories."""

    def assert_converts(self, source, base, destination):
        report = convert_checkpoint(source, destination, seg_token_id=VOCABULARY)
        assert report.checkpoint.layout == "hf" and not report.checkpoint.can_segment
        assert report.config.image_token_id == IMAGE
        model = SELF1EForSegmentation.from_pretrained(destination)
        theirs = base.state_dict()
        for name, tensor in model.state_dict().items():
            if not name.startswith("refilling_head"):
                assert torch.equal(tensor[:VOCABULARY], theirs[name][:VOCABULARY]), name

    @pytest.mark.parametrize("tied", [True, False])
    @pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
    def test_as_transformers_saves_it(self, text_model, tied, tmp_path):
        base = hf_base(text_model, tie_word_embeddings=tied)
        base.save_pretrained(tmp_path / "hf")
        self.assert_converts(tmp_path / "hf", base, tmp_path / "model")

    def test_as_a_state_dict(self, tmp_path):
        base = hf_base()
        base.config.save_pretrained(tmp_path / "hf")
        save_file(base.state_dict(), tmp_path / "hf" / "model.safetensors")
        self.assert_converts(tmp_path / "hf", base, tmp_path / "model")

    def test_tied_by_default_only(self, tmp_path):
        """transformers 4 left out a setting that its version 5 takes for True."""
        base = hf_base()
        base.save_pretrained(tmp_path / "hf")
        config = json.loads((tmp_path / "hf" / "config.json").read_text())
        config["tie_word_embeddings"] = True
        (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
        self.assert_converts(tmp_path / "hf", base, tmp_path / "model")

    def test_loads_directly(self, tmp_path):
        base = hf_base()
        base.save_pretrained(tmp_path / "hf")
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "hf", seg_token_id=VOCABULARY)
        assert model.config.text_config.vocab_size == VOCABULARY + 1


class TestSettings:
    def test_rope_scaling_of_internvl3(self, tmp_path):
        scaling = {"rope_theta": 1e6, "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"}}
        source = write_folder(tmp_path / "source", official_config(text=scaling), official_tensors(tiny_model()))
        convert_checkpoint(source, tmp_path / "model", **IDS)
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
        assert model.config.text_config.rope_parameters == {
            "rope_type": "dynamic",
            "factor": 2.0,
            "rope_theta": 1e6,
        }
        rotary = model.model.language_model.rotary_emb
        assert rotary.rope_type == "dynamic"
        frequencies = 1e6 ** (-torch.arange(0, 6, 2) / 6)  # heads are 6 wide
        assert_close(rotary.inv_freq, frequencies)
        # Beyond 512 positions the base grows: theta * (factor * length / 512 - (factor - 1)) ^ (d / (d - 2)).
        positions = torch.arange(1024)[None]
        rotary(torch.zeros(1, 1024, 24), positions)
        base = 1e6 * (2.0 * 1024 / 512 - 1) ** (6 / 4)
        assert_close(rotary.inv_freq, base ** (-torch.arange(0, 6, 2) / 6))

    def test_settings_arrive(self, tmp_path):
        text = {
            "rms_norm_eps": 1e-5,
            "rope_theta": 12345.0,
            "head_dim": 12,
            "attention_bias": True,
            "eos_token_id": 7,
            "bos_token_id": 8,
        }
        config = official_config("qwen3", text=text)
        config["vision_config"] |= {"layer_norm_eps": 1e-4, "initializer_factor": 0.3, "hidden_act": "gelu_new"}
        model = tiny_model("qwen3", text={"head_dim": 12, "attention_bias": True})
        source = write_folder(tmp_path / "source", config, official_tensors(model))
        loaded = SELF1EForSegmentation.from_pretrained(source, **IDS)
        kept = loaded.config.text_config
        assert kept.rope_parameters == {"rope_type": "default", "rope_theta": 12345.0}
        assert (kept.rms_norm_eps, kept.head_dim, kept.attention_bias) == (1e-5, 12, True)
        assert (kept.eos_token_id, kept.bos_token_id) == (7, 8)
        vision = loaded.config.vision_config
        assert (vision.layer_norm_eps, vision.layer_scale_init_value, vision.hidden_act) == (1e-4, 0.3, "gelu_new")
        assert loaded.config.image_seq_length == 4
        assert_same_weights(loaded, model)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"ps_version": "v1"}, "ps_version"),
            ({"select_layer": -2}, "select_layer"),
            ({"downsample_ratio": 0.25}, "downsample_ratio"),
            ({"force_image_size": 448}, "force_image_size"),
            ({"llm_config": {"model_type": "internlm2"}}, "internlm2"),
            ({"vision_config": None}, "no vision_config"),
            ({"llm_config": {"model_type": "qwen2", "hidden_size": "wide"}}, "does not describe a model"),
            ({"model_type": "llava"}, "model_type 'llava'"),
            ({"model_type": "self1e"}, "needs no conversion"),
        ],
    )
    def test_what_cannot_be_converted(self, release, tmp_path, change, message):
        edit_config(release, **change)
        with pytest.raises(ModelError, match=message):
            convert_checkpoint(release, tmp_path / "model", **IDS)
        assert not (tmp_path / "model").exists()

    def test_shapes_of_the_8b_model_take_no_memory(self):
        text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "vocab_size": 151676}
        shapes = expected_shapes(
            tiny_config(text={**text, "num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128})
        )
        assert sum(torch.Size(shape).numel() for shape in shapes.values()) > 7.6e9


class TestDestination:
    def test_is_not_overwritten_unasked(self, release, tmp_path):
        convert_checkpoint(release, tmp_path / "model", **IDS)
        with pytest.raises(FileExistsError, match="exists"):
            convert_checkpoint(release, tmp_path / "model", **IDS)
        convert_checkpoint(release, tmp_path / "model", **IDS, overwrite=True, dtype=torch.float16)
        assert SELF1EForSegmentation.from_pretrained(tmp_path / "model").dtype == torch.float16
        assert list(tmp_path.glob(".*")) == []

    def test_other_folders_are_never_overwritten(self, release, tmp_path):
        for folder in (release, tmp_path):
            with pytest.raises(FileExistsError, match="no converted model"):
                convert_checkpoint(release, folder, **IDS, overwrite=True)
        assert (release / "model.safetensors").is_file()

    def test_what_appears_while_it_is_written_is_kept(self, release, tmp_path, monkeypatch):
        notes = tmp_path / "model" / "notes"
        write = weights.write_weights

        def others_write_too(*arguments):
            shutil.rmtree(notes.parent, ignore_errors=True)
            notes.parent.mkdir()
            notes.touch()
            return write(*arguments)

        monkeypatch.setattr(convert, "write_weights", others_write_too)
        for overwrite in (False, True):
            with pytest.raises(FileExistsError):
                convert_checkpoint(release, notes.parent, **IDS, overwrite=overwrite)
            assert [path.name for path in notes.parent.iterdir()] == ["notes"]
            assert list(tmp_path.glob(".*")) == []
            shutil.rmtree(notes.parent)

    def test_empty_folder_and_missing_parents(self, release, tmp_path):
        (tmp_path / "empty").mkdir()
        convert_checkpoint(release, tmp_path / "empty", **IDS)
        convert_checkpoint(release, tmp_path / "a" / "b" / "model", **IDS)
        assert (tmp_path / "empty" / "config.json").is_file()
        assert (tmp_path / "a" / "b" / "model" / "config.json").is_file()

    def test_failure_leaves_everything_as_it_was(self, release, tmp_path, monkeypatch):
        convert_checkpoint(release, tmp_path / "model", **IDS)
        before = (tmp_path / "model" / "model.safetensors").read_bytes()

        def full_disk(*_args, **_kwargs):
            raise OSError("No space left on device")

        monkeypatch.setattr(weights, "save_file", full_disk)
        with pytest.raises(OSError, match="No space"):
            convert_checkpoint(release, tmp_path / "model", **IDS, overwrite=True)
        assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
        assert list(tmp_path.glob(".*")) == []

    def test_the_old_model_comes_back_when_the_new_one_cannot_take_its_place(self, release, tmp_path, monkeypatch):
        convert_checkpoint(release, tmp_path / "model", **IDS)
        rename = Path.rename

        def fails_for_the_new_one(self, target):
            if self.suffix == ".partial":
                raise OSError("Stale file handle")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
        with pytest.raises(OSError, match="Stale"):
            convert_checkpoint(release, tmp_path / "model", **IDS, overwrite=True)
        assert (tmp_path / "model" / "model.safetensors").is_file()
        assert list(tmp_path.glob(".*")) == []

    def test_into_the_folder_one_is_in(self, release, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        convert_checkpoint(release, ".", **IDS)
        assert (tmp_path / "here" / "config.json").is_file()


def test_memory_is_bounded_by_a_shard(release, tmp_path, monkeypatch):
    """When a shard is written, nothing of earlier ones is alive, and it holds no more than it may."""
    alive: list[weakref.ref] = []
    sizes = []
    make, save = weights.PlannedTensor.make, weights.save_file

    def watched_make(self):
        tensor = make(self)
        alive.append(weakref.ref(tensor))
        return tensor

    def watched_save(tensors, *args, **kwargs):
        assert sum(reference() is not None for reference in alive) == len(tensors)
        sizes.append(sum(tensor.nbytes for tensor in tensors.values()))
        save(tensors, *args, **kwargs)

    monkeypatch.setattr(weights.PlannedTensor, "make", watched_make)
    monkeypatch.setattr(weights, "save_file", watched_save)
    convert_checkpoint(release, tmp_path / "model", **IDS, max_shard_bytes=50_000)
    assert len(sizes) > 3
    assert max(sizes) <= 50_000
    assert sum(sizes) == sum(parameter.nbytes for parameter in tiny_model().parameters())
