"""The layouts in which checkpoints come, and what each of their names and settings is called here.

- `self1e`: this package's own (config `self1e`).
- `official`: InternVL's own (config `internvl_chat`), with three `combine_*` MLPs in a release of SELF1E, without
  them in a base model.
- `hf`: transformers' own (config `internvl`), the `-hf` repositories.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from transformers import PreTrainedConfig, Qwen2Config, Qwen3Config

from self1e.checkpoints.errors import ModelError

Layout = Literal["self1e", "official", "hf"]

MODEL_TYPES: dict[str, Layout] = {"self1e": "self1e", "internvl_chat": "official", "internvl": "hf"}
"""Layouts by the `model_type` of their `config.json`."""

HEAD = "refilling_head."
"""What the names of the head's tensors begin with here; in a release, it is `RELEASED_HEAD`."""

RELEASED_HEAD = "combine_decode_proj"

# `*` is one part of a name, `**` any number of parts, and {q,k,v} says that one tensor holds three, row after row.
OFFICIAL_NAMES = {
    "vision_model.embeddings.class_embedding": "model.vision_tower.embeddings.cls_token",
    "vision_model.embeddings.position_embedding": "model.vision_tower.embeddings.position_embeddings",
    "vision_model.embeddings.patch_embedding.*": "model.vision_tower.embeddings.patch_embeddings.projection.*",
    "vision_model.encoder.layers.*.norm1.*": "model.vision_tower.encoder.layer.*.layernorm_before.*",
    "vision_model.encoder.layers.*.attn.qkv.*": "model.vision_tower.encoder.layer.*.attention.{q,k,v}_proj.*",
    "vision_model.encoder.layers.*.attn.q_norm.*": "model.vision_tower.encoder.layer.*.attention.q_norm.*",
    "vision_model.encoder.layers.*.attn.k_norm.*": "model.vision_tower.encoder.layer.*.attention.k_norm.*",
    "vision_model.encoder.layers.*.attn.proj.*": "model.vision_tower.encoder.layer.*.attention.projection_layer.*",
    "vision_model.encoder.layers.*.ls1": "model.vision_tower.encoder.layer.*.lambda_1",
    "vision_model.encoder.layers.*.norm2.*": "model.vision_tower.encoder.layer.*.layernorm_after.*",
    "vision_model.encoder.layers.*.mlp.**": "model.vision_tower.encoder.layer.*.mlp.**",
    "vision_model.encoder.layers.*.ls2": "model.vision_tower.encoder.layer.*.lambda_2",
    "mlp1.0.*": "model.multi_modal_projector.layer_norm.*",
    "mlp1.1.*": "model.multi_modal_projector.linear_1.*",
    "mlp1.3.*": "model.multi_modal_projector.linear_2.*",
    "language_model.model.**": "model.language_model.**",
    "language_model.lm_head.*": "lm_head.*",
    "combine_decode_proj_all.0.*": "refilling_head.amplify_llm.linear_1.*",
    "combine_decode_proj_all.2.*": "refilling_head.amplify_llm.linear_2.*",
    "combine_decode_proj_ori.0.*": "refilling_head.amplify_vit.linear_1.*",
    "combine_decode_proj_ori.2.*": "refilling_head.amplify_vit.linear_2.*",
    "combine_decode_proj.0.*": "refilling_head.fuse.linear_1.*",
    "combine_decode_proj.2.*": "refilling_head.fuse.linear_2.*",
}

# transformers saves the first three forms (and the Hub's repositories have them); its state dicts have the others.
HF_NAMES = {
    "language_model.lm_head.*": "lm_head.*",
    "language_model.model.**": "model.language_model.**",
    "vision_tower.**": "model.vision_tower.**",
    "multi_modal_projector.**": "model.multi_modal_projector.**",
    "lm_head.*": "lm_head.*",
    "model.language_model.model.**": "model.language_model.**",
    "model.language_model.**": "model.language_model.**",
    "model.vision_tower.**": "model.vision_tower.**",
    "model.multi_modal_projector.**": "model.multi_modal_projector.**",
}
OWN_NAMES = {**HF_NAMES, f"{HEAD}**": f"{HEAD}**"}

VISION_SETTINGS: dict[str, tuple[str, Any]] = {
    "hidden_size": ("hidden_size", 3200),
    "num_hidden_layers": ("num_hidden_layers", 48),
    "num_attention_heads": ("num_attention_heads", 25),
    "intermediate_size": ("intermediate_size", 12800),
    "hidden_act": ("hidden_act", "gelu"),
    "norm_type": ("norm_type", "rms_norm"),
    "layer_norm_eps": ("layer_norm_eps", 1e-6),
    "qkv_bias": ("attention_bias", False),
    "qk_normalization": ("use_qk_norm", True),
    "attention_dropout": ("attention_dropout", 0.0),
    "dropout": ("projection_dropout", 0.0),
    "initializer_factor": ("layer_scale_init_value", 0.1),
    "image_size": ("image_size", 224),
    "patch_size": ("patch_size", 14),
    "num_channels": ("num_channels", 3),
}
"""Official name of a setting: its name in transformers, and what InternVL's code takes when it is absent."""

TEXT_MODELS: dict[str, type[PreTrainedConfig]] = {"qwen2": Qwen2Config, "qwen3": Qwen3Config}

KNOWN_VOCABULARIES = (151_674, 151_676)
"""Rows of the embeddings of InternVL3, and of SELF1E's release (with `[SEG]`, and a token that is not used)."""

KNOWN_IDS = {"seg_token_id": 151_674, "image_token_id": 151_667}
"""Those of `KNOWN_VOCABULARIES`, for checkpoints without a tokenizer."""


def layout_of(settings: dict[str, Any]) -> Layout:
    """The layout of a checkpoint, from the content of its `config.json`.

    Raises:
        ModelError: When it is none of these.
    """
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise ModelError(
            f"config.json has model_type {model_type!r}; this reads 'self1e' (its own), 'internvl_chat' (InternVL's "
            "and the release of SELF1E) and 'internvl' (transformers')"
        )
    return MODEL_TYPES[model_type]


def our_names(name: str, layout: Layout) -> list[str] | None:
    """What the tensor `name` of a layout is called here: one name, three for a fused qkv, None if it is unknown."""
    for pattern, ours in NAMES[layout]:
        if match := pattern.fullmatch(name):
            filled = _fill(ours, match.groups())
            if "{q,k,v}" not in filled:
                return [filled]
            return [filled.replace("{q,k,v}", part) for part in "qkv"]
    return None


def _compile(names: dict[str, str]) -> list[tuple[re.Pattern[str], str]]:
    def as_pattern(name: str) -> re.Pattern[str]:
        escaped = re.escape(name)
        return re.compile(escaped.replace(r"\*\*", "(.+)").replace(r"\*", r"([^.]+)"))

    return [(as_pattern(theirs), ours) for theirs, ours in names.items()]


def _fill(name: str, parts: tuple[str, ...]) -> str:
    for part in parts:
        name = re.sub(r"\*\*?", part, name, count=1)
    return name


NAMES = {"official": _compile(OFFICIAL_NAMES), "hf": _compile(HF_NAMES), "self1e": _compile(OWN_NAMES)}


def our_settings(config: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Arguments for `SELF1EConfig` from the content of a `config.json`; without token ids and tied embeddings.

    Raises:
        ModelError: When it describes a model that this one cannot stand for.
    """
    return _official_settings(config) if layout == "official" else _hf_settings(config)


def _official_settings(config: dict[str, Any]) -> dict[str, Any]:
    vision, text = _sub_config(config, "vision_config"), _sub_config(config, "llm_config")
    if text.get("model_type") not in TEXT_MODELS:
        raise ModelError(f"the text model is {text.get('model_type')!r}; supported are {', '.join(TEXT_MODELS)}")
    settings = {ours: vision.get(theirs, default) for theirs, (ours, default) in VISION_SETTINGS.items()}
    _require(config, "ps_version", "v2", default="v1")
    _require(config, "select_layer", -1)
    _require(config, "downsample_ratio", 0.5)
    _require(config, "force_image_size", settings["image_size"])
    image_tokens = (settings["image_size"] // settings["patch_size"] // 2) ** 2
    return {
        "vision_config": {"model_type": "internvl_vision", **settings},
        "text_config": _text_settings(text),
        "image_seq_length": image_tokens,
    }


def _text_settings(text: dict[str, Any]) -> dict[str, Any]:
    """The settings of the text model that shape it; rope's in the form that transformers 5 has for them."""
    known = {*TEXT_MODELS[text["model_type"]].__annotations__, "model_type", "head_dim", "attention_bias"}
    settings = {key: text[key] for key in text if key in known - {"tie_word_embeddings", "use_cache"}}
    rope = dict(text.get("rope_parameters") or text.get("rope_scaling") or {})
    rope.setdefault("rope_type", rope.pop("type", "default"))
    rope.pop("type", None)
    if "rope_theta" in text:
        rope.setdefault("rope_theta", text["rope_theta"])
    return {**settings, "rope_parameters": rope}


def _hf_settings(config: dict[str, Any]) -> dict[str, Any]:
    vision, text = _sub_config(config, "vision_config"), _sub_config(config, "text_config")
    for sub_config in (vision, text):  # the one that counts is the whole model's
        sub_config.pop("dtype", None)
        sub_config.pop("torch_dtype", None)
    _require(config, "downsample_ratio", 0.5)
    _require(config, "vision_feature_layer", -1)
    _require(config, "vision_feature_select_strategy", "default")
    kept = ("image_seq_length", "projector_hidden_act")
    return {
        "vision_config": vision,
        "text_config": text,
        **{key: config[key] for key in kept if key in config},
    }


def says_tied(config: dict[str, Any], layout: Layout) -> bool:
    """Whether the settings ask for the LM head to be the embeddings.

    The weights have the last word: transformers 4 saved configurations in which this is true by default only.
    """
    text = config.get("llm_config" if layout == "official" else "text_config") or {}
    return bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings"))


def _sub_config(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if not isinstance(value, dict):
        raise ModelError(f"config.json has no {key}")
    return dict(value)


def _require(config: dict[str, Any], key: str, value: Any, default: Any = None) -> None:
    """An absent setting is taken for `default`, or for what is required if there is no default."""
    found = config.get(key, default)
    if found is not None and found != value:
        raise ModelError(f"config.json has {key} = {found!r}; this model needs {value!r}")
