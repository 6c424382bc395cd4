"""The converter on tiny checkpoints of every layout, whole and broken."""

import json
import shutil
import weakref

import pytest
import torch
from builders import IMAGE, SEG, VOCABULARY, batch_of, conversation, pixels, tiny_config, tiny_model
from official import official_config, official_tensors, write_folder
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedTokenizerFast

from self1e.modeling import CheckpointError, SELF1EForSegmentation, convert_checkpoint, weights
from self1e.modeling.convert import expected_shapes
from self1e.modeling.layouts import our_settings
from self1e.processing.tokens import add_seg_token, train_tokenizer

IDS = {"seg_token_id": SEG, "image_token_id": IMAGE}
EMBEDDINGS = "model.language_model.embed_tokens.weight"


@pytest.fixture
def release(tmp_path):
    """A folder with a released checkpoint of `tiny_model()`."""
    return write_folder(tmp_path / "release", official_config(), official_tensors(tiny_model()))


def assert_same_weights(model, expected, but=()):
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name not in but:
            assert torch.equal(ours[name], theirs[name]), name


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


class TestRelease:
    @pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
    @pytest.mark.parametrize("shards", [1, 3])
    def test_weights_and_outputs(self, text_model, shards, tmp_path):
        original = tiny_model(text_model)
        source = write_folder(
            tmp_path / "source", official_config(text_model), official_tensors(original), shards=shards
        )
        report = convert_checkpoint(source, tmp_path / "model", **IDS)
        assert report.released and report.fresh == () and report.layout == "official"
        assert report.vocabulary == (VOCABULARY, VOCABULARY)
        assert report.parameters == sum(parameter.numel() for parameter in original.parameters())
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model").eval()
        assert_same_weights(model, original)
        batch = batch_of([conversation(1, 1)])
        expected = original(**batch, pixel_values=pixels(1)).mask_logits[0]
        assert_close(model(**batch, pixel_values=pixels(1)).mask_logits[0], expected)

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
        report = convert_checkpoint(release, tmp_path / "model", **IDS, max_shard_bytes=40_000)
        assert len(report.weight_files) > 2
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
        assert report.vocabulary == (VOCABULARY, VOCABULARY)
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
        assert not report.released
        assert any("refilling head" in each for each in report.fresh)
        assert any("[SEG] row" in each for each in report.fresh)
        assert report.vocabulary == (VOCABULARY, VOCABULARY + 1)
        assert "newly initialised" in str(report)
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
            assert embeddings.weight.shape[0] == VOCABULARY + 1
            assert_close(embeddings.weight[-1], embeddings.weight[:-1].mean(dim=0))
        head = model.refilling_head.amplify_llm
        assert head.linear_1.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert head.linear_1.bias.abs().max() == 0
        output = model(**batch_of([[*conversation(1, 0), 3, VOCABULARY]]), pixel_values=pixels(1))
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
        with pytest.raises(CheckpointError, match="rung"):
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

    def base(self, text_model="qwen2", **options):
        ours = tiny_config(text_model, **options)
        config = InternVLConfig(
            vision_config=ours.vision_config.to_dict(),
            text_config=ours.text_config.to_dict(),
            image_token_id=IMAGE,
            image_seq_length=4,
            tie_word_embeddings=ours.tie_word_embeddings,
        )
        return InternVLForConditionalGeneration(config)

    def assert_converts(self, source, base, destination):
        report = convert_checkpoint(source, destination, seg_token_id=VOCABULARY)
        assert report.layout == "hf" and not report.released and report.image_token_id == IMAGE
        model = SELF1EForSegmentation.from_pretrained(destination)
        theirs = base.state_dict()
        for name, tensor in model.state_dict().items():
            if not name.startswith("refilling_head"):
                assert torch.equal(tensor[:VOCABULARY], theirs[name][:VOCABULARY]), name

    @pytest.mark.parametrize("tied", [True, False])
    @pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
    def test_as_transformers_saves_it(self, text_model, tied, tmp_path):
        base = self.base(text_model, tie_word_embeddings=tied)
        base.save_pretrained(tmp_path / "hf")
        self.assert_converts(tmp_path / "hf", base, tmp_path / "model")

    def test_as_a_state_dict(self, tmp_path):
        base = self.base()
        base.config.save_pretrained(tmp_path / "hf")
        save_file(base.state_dict(), tmp_path / "hf" / "model.safetensors")
        self.assert_converts(tmp_path / "hf", base, tmp_path / "model")

    def test_tied_by_default_only(self, tmp_path):
        """transformers 4 left out a setting that its version 5 takes for True."""
        base = self.base()
        base.save_pretrained(tmp_path / "hf")
        config = json.loads((tmp_path / "hf" / "config.json").read_text())
        config["tie_word_embeddings"] = True
        (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
        self.assert_converts(tmp_path / "hf", base, tmp_path / "model")

    def test_loads_directly(self, tmp_path):
        base = self.base()
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
            ({"model_type": "llava"}, "model_type 'llava'"),
            ({"model_type": "self1e"}, "needs no conversion"),
        ],
    )
    def test_what_cannot_be_converted(self, release, tmp_path, change, message):
        edit_config(release, **change)
        with pytest.raises(CheckpointError, match=message):
            convert_checkpoint(release, tmp_path / "model", **IDS)
        assert not (tmp_path / "model").exists()

    def test_shapes_of_the_8b_model_take_no_memory(self):
        text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "vocab_size": 151676}
        shapes = expected_shapes(
            tiny_config(text={**text, "num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128})
        )
        assert sum(torch.Size(shape).numel() for shape in shapes.values()) > 7.6e9


class TestTokenIds:
    @pytest.fixture
    def tokenizer(self):
        return train_tokenizer(["some words to learn from"], vocab_size=300)

    def without_seg(self, tokenizer, folder):
        """The same tokenizer as a base model has it."""
        tokenizer.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            content = json.loads((folder / name).read_text())
            if name == "tokenizer.json":
                content["added_tokens"] = [each for each in content["added_tokens"] if each["content"] != "[SEG]"]
            else:
                content.get("added_tokens_decoder", {}).pop(str(tokenizer.convert_tokens_to_ids("[SEG]")), None)
            (folder / name).write_text(json.dumps(content))
        bare = PreTrainedTokenizerFast.from_pretrained(folder)
        assert "[SEG]" not in bare.get_vocab()
        return bare

    def checkpoint(self, folder, rows, head):
        config = official_config(text={"vocab_size": rows})
        return write_folder(folder, config, official_tensors(tiny_model(text={"vocab_size": rows}), head=head))

    def test_release_with_a_tokenizer(self, tokenizer, tmp_path):
        source = self.checkpoint(tmp_path / "source", len(tokenizer) + 1, head=True)
        tokenizer.save_pretrained(source)
        report = convert_checkpoint(source, tmp_path / "model")
        assert report.seg_token_id == tokenizer.convert_tokens_to_ids("[SEG]")
        assert report.image_token_id == tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
        assert report.vocabulary == (len(tokenizer) + 1, len(tokenizer) + 1)
        kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
        assert kept.get_vocab() == tokenizer.get_vocab()
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
        assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")

    @pytest.mark.parametrize("spare", [0, 20])
    def test_base_with_a_tokenizer(self, tokenizer, tmp_path, spare):
        """`[SEG]` goes behind the tokenizer's last token: into a new row, or into the first spare one."""
        (tmp_path / "bare").mkdir()
        bare = self.without_seg(tokenizer, tmp_path / "bare")
        source = self.checkpoint(tmp_path / "source", len(bare) + spare, head=False)
        bare.save_pretrained(source)
        report = convert_checkpoint(source, tmp_path / "model")
        assert report.seg_token_id == len(bare)
        assert report.vocabulary == (len(bare) + spare, max(len(bare) + 1, len(bare) + spare))
        kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
        assert kept.convert_tokens_to_ids("[SEG]") == len(bare)
        model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
        rows = model.get_input_embeddings().weight
        assert_close(rows[len(bare)], rows[: len(bare)].mean(dim=0))
        original = tiny_model(text={"vocab_size": len(bare) + spare}).get_input_embeddings().weight
        assert torch.equal(rows[: len(bare)], original[: len(bare)])
        assert torch.equal(rows[len(bare) + 1 :], original[len(bare) + 1 :])

    def test_conflict_with_the_tokenizer(self, tokenizer, tmp_path):
        source = self.checkpoint(tmp_path / "source", len(tokenizer), head=True)
        tokenizer.save_pretrained(source)
        with pytest.raises(CheckpointError, match="seg_token_id = 5 was given"):
            convert_checkpoint(source, tmp_path / "model", seg_token_id=5)

    def test_broken_tokenizer(self, tokenizer, release, tmp_path):
        tokenizer.save_pretrained(release)
        (release / "tokenizer.json").write_text("{")
        with pytest.raises(CheckpointError, match="tokenizer"):
            convert_checkpoint(release, tmp_path / "model")

    def test_unknown(self, release, tmp_path):
        with pytest.raises(CheckpointError, match=r"id of \[SEG\] is unknown.*say seg_token_id"):
            convert_checkpoint(release, tmp_path / "model")
        with pytest.raises(CheckpointError, match="say image_token_id"):
            convert_checkpoint(release, tmp_path / "model", seg_token_id=SEG)

    @pytest.mark.parametrize(("rows", "head"), [(151674, False), (151676, True)])
    def test_known_vocabularies(self, rows, head, tmp_path):
        text = {"vocab_size": rows, "hidden_size": 8, "num_attention_heads": 2}
        model = tiny_model(text=text)
        source = write_folder(tmp_path / "source", official_config(text=text), official_tensors(model, head=head))
        report = convert_checkpoint(source, tmp_path / "model")
        assert (report.seg_token_id, report.image_token_id) == (151674, 151667)
        assert report.vocabulary == (rows, max(rows, 151675))

    def test_release_without_a_row_for_seg(self, release, tmp_path):
        with pytest.raises(CheckpointError, match=r"no trained \[SEG\]"):
            convert_checkpoint(release, tmp_path / "model", seg_token_id=VOCABULARY, image_token_id=IMAGE)

    def test_real_tokenizer(self, shared, tmp_path):
        """That of InternVL3-2B, in its original files, on weights with as many rows as it has tokens."""
        text = {"vocab_size": 151674, "hidden_size": 8, "num_attention_heads": 2}
        tensors = official_tensors(tiny_model(text=text), head=False)
        source = write_folder(tmp_path / "source", official_config(text=text), tensors)
        for file in (shared / "real-data" / "tokenizer" / "InternVL3-2B").iterdir():
            shutil.copyfile(file, source / file.name)
        report = convert_checkpoint(source, tmp_path / "model")
        assert (report.seg_token_id, report.image_token_id) == (151674, 151667)
        kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
        assert add_seg_token(kept) == 151674
        assert (tmp_path / "model" / "preprocessor_config.json").is_file()


class TestBrokenSources:
    def error(self, source, tmp_path, **ids):
        with pytest.raises(CheckpointError) as caught:
            convert_checkpoint(source, tmp_path / "model", **(ids or IDS))
        assert not (tmp_path / "model").exists()
        assert list(tmp_path.glob(".model*")) == []
        with pytest.raises(CheckpointError):
            SELF1EForSegmentation.from_pretrained(source, **(ids or IDS))
        return str(caught.value)

    def test_everything_that_does_not_fit_is_listed(self, tmp_path):
        tensors = official_tensors(tiny_model())
        for name in ("mlp1.3.bias", "language_model.model.norm.weight", "combine_decode_proj_ori.2.bias"):
            del tensors[name]
        for name in ("mlp1.4.weight", "vision_model.encoder.layers.7.ls1", "combine_decode_proj_new.0.weight"):
            tensors[name] = torch.zeros(3)
        tensors["mlp1.1.bias"] = torch.zeros(7)
        tensors["vision_model.encoder.layers.0.attn.qkv.weight"] = torch.zeros(47, 16)
        message = self.error(write_folder(tmp_path / "source", official_config(), tensors), tmp_path)
        assert "3 missing: " in message and "3 unexpected: " in message and "2 misshapen: " in message
        for name in ("linear_2.bias", "model.language_model.norm.weight", "amplify_vit.linear_2.bias"):
            assert name in message
        for name in ("mlp1.4.weight", "vision_model.encoder.layers.7.ls1", "combine_decode_proj_new.0.weight"):
            assert name in message
        assert "mlp1.1.bias [7] instead of [24]" in message
        assert "attn.qkv.weight [47, 16] instead of [48, 16]" in message

    def test_too_few_rows(self, tmp_path):
        tensors = official_tensors(tiny_model())
        tensors["language_model.model.embed_tokens.weight"] = torch.zeros(VOCABULARY - 1, 24)
        assert "misshapen" in self.error(write_folder(tmp_path / "source", official_config(), tensors), tmp_path)

    def test_missing_shard(self, tmp_path):
        source = write_folder(tmp_path / "source", official_config(), official_tensors(tiny_model()), shards=3)
        (source / "model-00002-of-00003.safetensors").unlink()
        message = self.error(source, tmp_path)
        assert "model-00002-of-00003.safetensors is missing" in message and "finish the download" in message

    def test_missing_index(self, tmp_path):
        source = write_folder(tmp_path / "source", official_config(), official_tensors(tiny_model()), shards=3)
        (source / "model.safetensors.index.json").unlink()
        assert "no model.safetensors.index.json" in self.error(source, tmp_path)

    @pytest.mark.parametrize("kept", [0, 5, 1000, -1])
    def test_cut_short(self, release, tmp_path, kept):
        content = (release / "model.safetensors").read_bytes()
        (release / "model.safetensors").write_bytes(content[:kept])
        assert "cut short or damaged" in self.error(release, tmp_path)

    def test_pickles_are_refused(self, release, tmp_path):
        (release / "model.safetensors").unlink()
        (release / "pytorch_model.bin").write_bytes(b"anything")
        message = self.error(release, tmp_path)
        assert "pytorch_model.bin, a pickle" in message and "safetensors" in message

    def test_no_weights(self, release, tmp_path):
        (release / "model.safetensors").unlink()
        assert "has no weights" in self.error(release, tmp_path)

    def test_quantised(self, tmp_path):
        tensors = official_tensors(tiny_model())
        tensors["mlp1.1.weight"] = tensors["mlp1.1.weight"].to(torch.int8)
        message = self.error(write_folder(tmp_path / "source", official_config(), tensors), tmp_path)
        assert "stored as I8" in message

    def test_no_folder(self, tmp_path):
        assert "there is no folder" in self.error(tmp_path / "nowhere", tmp_path)

    def test_no_config(self, release, tmp_path):
        (release / "config.json").unlink()
        assert "no config.json" in self.error(release, tmp_path)

    def test_broken_config(self, release, tmp_path):
        (release / "config.json").write_text("{")
        assert "cannot be read as JSON" in self.error(release, tmp_path)

    def test_hub_without_a_connection(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(CheckpointError, match="no folder here and cannot be had from the Hugging Face Hub"):
            SELF1EForSegmentation.from_pretrained("nobody/nothing", local_files_only=True, cache_dir=tmp_path)

    def test_two_tensors_for_one(self, tmp_path):
        base = TestTransformersLayout().base()
        base.save_pretrained(tmp_path / "hf")
        tensors = load_file(tmp_path / "hf" / "model.safetensors")
        tensors["lm_head.weight"] = tensors["language_model.lm_head.weight"].clone()
        save_file(tensors, tmp_path / "hf" / "model.safetensors")
        assert "two tensors for lm_head.weight" in self.error(tmp_path / "hf", tmp_path, seg_token_id=VOCABULARY)


class TestOwnFolders:
    """Loading what this package saved is as strict as converting."""

    @pytest.fixture
    def folder(self, tmp_path):
        tiny_model().save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    def changed(self, folder, change):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError) as caught:
            SELF1EForSegmentation.from_pretrained(folder)
        return str(caught.value)

    def test_missing(self, folder):
        message = self.changed(folder, lambda tensors: tensors.pop("refilling_head.fuse.linear_1.bias"))
        assert "1 missing: refilling_head.fuse.linear_1.bias" in message

    def test_unexpected(self, folder):
        message = self.changed(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
        assert "1 unexpected: extra" in message

    def test_misshapen(self, folder):
        name = "refilling_head.fuse.linear_1.bias"
        message = self.changed(folder, lambda tensors: tensors.update({name: torch.zeros(5)}))
        assert f"1 misshapen: {name} [5] instead of [24]" in message

    def test_config_of_another_rung(self, folder):
        edit_config(folder, refilling="rfr")
        with pytest.raises(CheckpointError, match=r"8 unexpected: .*amplify"):
            SELF1EForSegmentation.from_pretrained(folder)

    def test_cut_short(self, folder):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:-100])
        with pytest.raises(CheckpointError, match="cut short"):
            SELF1EForSegmentation.from_pretrained(folder)

    def test_settings_can_be_overridden(self, folder):
        model = SELF1EForSegmentation.from_pretrained(folder, image_to_segmentation=False, dice_weight=2.0)
        assert (model.config.image_to_segmentation, model.config.dice_weight) == (False, 2.0)


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
