"""Writes tiny checkpoints in InternVL's own layout, by an inverse of the converter's naming that is spelt out anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from builders import IMAGE, SEG, TEXT, TILE, tiny_config
from safetensors.torch import save_file
from torch import Tensor
from transformers import InternVLConfig, InternVLForConditionalGeneration

from self1e import SELF1EForSegmentation

IDS = {"seg_token_id": SEG, "image_token_id": IMAGE}
"""What the converter has to be told about a checkpoint without a tokenizer."""

RENAMED = (
    ("model.vision_tower.embeddings.cls_token", "vision_model.embeddings.class_embedding"),
    ("model.vision_tower.embeddings.position_embeddings", "vision_model.embeddings.position_embedding"),
    ("model.vision_tower.embeddings.patch_embeddings.projection", "vision_model.embeddings.patch_embedding"),
    ("model.vision_tower.encoder.layer.", "vision_model.encoder.layers."),
    (".attention.projection_layer.", ".attn.proj."),
    (".attention.q_norm.", ".attn.q_norm."),
    (".attention.k_norm.", ".attn.k_norm."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".lambda_1", ".ls1"),
    (".lambda_2", ".ls2"),
    ("model.multi_modal_projector.layer_norm.", "mlp1.0."),
    ("model.multi_modal_projector.linear_1.", "mlp1.1."),
    ("model.multi_modal_projector.linear_2.", "mlp1.3."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("refilling_head.amplify_llm.linear_1", "combine_decode_proj_all.0"),
    ("refilling_head.amplify_llm.linear_2", "combine_decode_proj_all.2"),
    ("refilling_head.amplify_vit.linear_1", "combine_decode_proj_ori.0"),
    ("refilling_head.amplify_vit.linear_2", "combine_decode_proj_ori.2"),
    ("refilling_head.fuse.linear_1", "combine_decode_proj.0"),
    ("refilling_head.fuse.linear_2", "combine_decode_proj.2"),
)


def official_tensors(model: SELF1EForSegmentation, head: bool = True) -> dict[str, Tensor]:
    """The model's tensors under their official names, the vision tower's q, k and v fused."""
    ours = model.state_dict()
    if model.config.tie_word_embeddings:
        del ours["lm_head.weight"]
    result = {}
    for name, tensor in ours.items():
        if name.startswith("refilling_head") and not head:
            continue
        if "vision_tower" in name and ".attention.q_proj." in name:
            tensor = torch.cat([ours[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
            name = name.replace(".attention.q_proj.", ".attn.qkv.")
        elif "vision_tower" in name and (".attention.k_proj." in name or ".attention.v_proj." in name):
            continue
        for old, new in RENAMED:
            name = name.replace(old, new)
        result[name] = tensor.clone()
    return result


def official_config(text_model: str = "qwen2", text: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """The `config.json` that InternVL's code would save for `builders.tiny_config`."""
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        "model_type": "internvl_chat",
        "select_layer": -1,
        "force_image_size": TILE,
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "template": "internvl2_5",
        "torch_dtype": "bfloat16",
        "use_thumbnail": True,
        "vision_config": {
            "model_type": "intern_vit_6b",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": TILE,
            "patch_size": 14,
            "qkv_bias": True,
            "qk_normalization": False,
            "norm_type": "layer_norm",
            "drop_path_rate": 0.1,
            "torch_dtype": "bfloat16",
        },
        "llm_config": {
            "model_type": text_model,
            "_attn_implementation_autoset": True,
            "torch_dtype": "bfloat16",
            "tie_word_embeddings": False,
            **TEXT,
            **({"head_dim": 8} if text_model == "qwen3" else {}),
            **(text or {}),
        },
        **settings,
    }


def write_folder(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], shards: int = 1) -> Path:
    """A checkpoint folder with one weight file, or with several and their index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = list(tensors)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Changes settings in the `config.json` of a folder."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def hf_base(text_model: str = "qwen2", **options: Any) -> InternVLForConditionalGeneration:
    """A base model as transformers has it, of the sizes of `builders.tiny_config`."""
    ours = tiny_config(text_model, **options)
    config = InternVLConfig(
        vision_config=ours.vision_config.to_dict(),
        text_config=ours.text_config.to_dict(),
        image_token_id=IMAGE,
        image_seq_length=4,
        tie_word_embeddings=ours.tie_word_embeddings,
    )
    return InternVLForConditionalGeneration(config)


def assert_same_weights(model: SELF1EForSegmentation, expected: SELF1EForSegmentation) -> None:
    """Both have the same tensors, to the last bit."""
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
