"""Checkpoints that are broken, do not fit, or come from the Hub: each error is one that says what to do."""

import shutil

import pytest
import torch
from builders import VOCABULARY, tiny_model
from huggingface_hub.utils import filter_repo_objects
from official import IDS, assert_same_weights, edit_config, hf_base, official_config, official_tensors, write_folder
from safetensors.torch import load_file, save_file

from self1e import SELF1EForSegmentation
from self1e.checkpoints import hub
from self1e.checkpoints.convert import convert_checkpoint
from self1e.checkpoints.weights import ModelError


class TestBrokenSources:
    def error(self, source, tmp_path, **ids):
        with pytest.raises(ModelError) as caught:
            convert_checkpoint(source, tmp_path / "model", **(ids or IDS))
        assert not (tmp_path / "model").exists()
        assert list(tmp_path.glob(".model*")) == []
        with pytest.raises(ModelError):
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
        assert "there is no model" in self.error(tmp_path / "nowhere", tmp_path)

    def test_no_config(self, release, tmp_path):
        (release / "config.json").unlink()
        assert "no config.json" in self.error(release, tmp_path)

    def test_broken_config(self, release, tmp_path):
        (release / "config.json").write_text("{")
        assert "cannot be read as JSON" in self.error(release, tmp_path)

    def test_hub_without_a_connection(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ModelError, match="no folder here and cannot be had from the Hugging Face Hub"):
            SELF1EForSegmentation.from_pretrained("nobody/nothing", local_files_only=True, cache_dir=tmp_path)

    def test_two_tensors_for_one(self, tmp_path):
        base = hf_base()
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
        with pytest.raises(ModelError) as caught:
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
        with pytest.raises(ModelError, match=r"8 unexpected: .*amplify"):
            SELF1EForSegmentation.from_pretrained(folder)

    def test_cut_short(self, folder):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:-100])
        with pytest.raises(ModelError, match="cut short"):
            SELF1EForSegmentation.from_pretrained(folder)

    def test_settings_can_be_overridden(self, folder):
        model = SELF1EForSegmentation.from_pretrained(folder, image_to_segmentation=False, dice_weight=2.0)
        assert (model.config.image_to_segmentation, model.config.dice_weight) == (False, 2.0)


class TestHub:
    """Hub ids, with a download that is a folder here."""

    @pytest.fixture
    def asked(self, release, monkeypatch):
        """What was asked of the Hub. The repository holds a release in `official`, and our own form in `ours`."""
        repository = release.rename(release.parent / "official").parent
        convert_checkpoint(repository / "official", repository / "ours", **IDS)
        asked = []

        def download(name, **options):
            asked.append((name, options))
            return str(repository)

        monkeypatch.setattr(hub, "snapshot_download", download)
        return asked

    @pytest.mark.parametrize("subfolder", ["official", "ours"])
    def test_load(self, asked, subfolder):
        ids = IDS if subfolder == "official" else {}
        model = SELF1EForSegmentation.from_pretrained("owner/name", subfolder=subfolder, revision="v1", **ids)
        assert_same_weights(model, tiny_model())
        settings, everything = asked
        assert settings[0] == everything[0] == "owner/name"
        assert (settings[1]["allow_patterns"], settings[1]["revision"]) == ([f"{subfolder}/config.json"], "v1")
        assert f"{subfolder}/*.safetensors" in everything[1]["allow_patterns"]
        assert not any(pattern.endswith((".py", ".bin")) for pattern in everything[1]["allow_patterns"])

    @pytest.mark.parametrize("subfolder", ["", "ours"])
    def test_folders_inside_are_not_downloaded(self, asked, subfolder, tmp_path):
        shutil.copytree(tmp_path / "ours", tmp_path, dirs_exist_ok=True)
        hub.open_checkpoint("owner/name", subfolder=subfolder)
        files = [
            "config.json",
            "model.safetensors",
            "x.py",
            "ours/config.json",
            "ours/a.safetensors",
            "ours/old/a.json",
        ]
        patterns = {key: value for key, value in asked[1][1].items() if key.endswith("patterns")}
        wanted = {"": files[:2], "ours": files[3:5]}
        assert list(filter_repo_objects(files, **patterns)) == wanted[subfolder]

    def test_folder_has_to_be_named(self, asked):
        with pytest.raises(ModelError, match=r"owner/name is no model folder: .* as subfolder"):
            SELF1EForSegmentation.from_pretrained("owner/name")

    def test_convert(self, asked, tmp_path):
        convert_checkpoint("owner/name", tmp_path / "model", subfolder="official", **IDS)
        assert len(asked) == 2

    def test_weights_of_other_models_are_not_downloaded(self, asked, tmp_path):
        edit_config(tmp_path / "official", model_type="llava")
        with pytest.raises(ModelError, match="llava"):
            SELF1EForSegmentation.from_pretrained("owner/name", subfolder="official")
        with pytest.raises(ModelError, match="llava"):
            convert_checkpoint("owner/name", tmp_path / "model", subfolder="official")
        assert [options["allow_patterns"] for _, options in asked] == 2 * [["official/config.json"]]
