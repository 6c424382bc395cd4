"""Whether the settings and the weights of a checkpoint fit each other, told before a model is built."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import InternVLForConditionalGeneration, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import Checkpoint
from self1e.checkpoints.names import HEAD, our_names, our_settings
from self1e.checkpoints.weights import WeightFiles
from self1e.model.config import SELF1EConfig
from self1e.model.refilling import RefillingHead
from self1e.model.stem import fit_stem

EMBEDDINGS = "model.language_model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
VISION_SIZES = (*SIZES, "num_channels", "image_size", "patch_size")
TEXT_SIZES = (*SIZES, "num_key_value_heads", "vocab_size")
DTYPES = (None, "auto", "float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a checkpoint has it: one of its tensors, or one of the equal `parts` into which its rows fall."""

    name: str
    part: int = 0
    parts: int = 1

    def load(self, weights: WeightFiles) -> Tensor:
        """The tensor itself."""
        if self.parts == 1:
            return weights.load(self.name)
        rows = weights.shapes[self.name][0] // self.parts
        return weights.rows(self.name, self.part * rows, (self.part + 1) * rows)


def network_config(checkpoint: Checkpoint, **changes: Any) -> SELF1EConfig:
    """The settings of a checkpoint of any layout as those of this package, with some of them changed.

    Raises:
        ModelError: When they describe no model. What transformers leaves unchecked until it builds one is checked here.
    """
    settings = deepcopy(checkpoint.settings)
    if checkpoint.layout != "self1e":
        settings = our_settings(settings, checkpoint.layout)
    settings |= {"architectures": ["SELF1EForSegmentation"]} | changes
    config, wrong = None, _wrong_types(settings)
    try:
        if not wrong:
            config = SELF1EConfig.from_dict(settings)
            wrong = _wrong_values(config)
    except (StrictDataclassError, ValueError) as error:  # what these settings raise for values that they do not take
        wrong = [" ".join(str(error).split())[:300]]
    if config is None or wrong:
        raise ModelError(f"{checkpoint.folder / 'config.json'} does not describe a model ({'; '.join(wrong)})")
    return config


def _wrong_types(settings: dict[str, Any]) -> list[str]:
    """What transformers takes for granted when it reads settings."""
    wrong = []
    for part in ("", "text_config", "vision_config"):
        given = settings.get(part) if part else settings
        if not isinstance(given, dict):
            continue  # it says so itself
        wrong += [f"{key} is {given[key]!r}" for key in ("dtype", "torch_dtype") if given.get(key) not in DTYPES]
        if not isinstance(given.get("model_type", ""), str):
            wrong.append(f"{part}.model_type is {given['model_type']!r}")
    return wrong


def _wrong_values(config: SELF1EConfig) -> list[str]:
    """What no model can be built of, though its type is right."""
    vision, text = config.vision_config, config.text_config
    wrong = [f"vision_config.{key} is {getattr(vision, key)}" for key in VISION_SIZES if not _is_size(vision, key)]
    wrong += [f"text_config.{key} is {getattr(text, key)}" for key in TEXT_SIZES if not _is_size(text, key)]
    if wrong:
        return wrong
    rope = text.rope_parameters or {}
    return [
        f"{name} is {value!r}"
        for name, value, fits in (
            ("projector_hidden_act", config.projector_hidden_act, config.projector_hidden_act in ACT2FN),
            ("vision_config.hidden_act", vision.hidden_act, vision.hidden_act in ACT2FN),
            ("vision_config.norm_type", vision.norm_type, vision.norm_type in ("layer_norm", "rms_norm")),
            ("vision_config.hidden_dropout_prob", vision.hidden_dropout_prob, 0 <= vision.hidden_dropout_prob <= 1),
            ("vision_config.projection_dropout", vision.projection_dropout, 0 <= vision.projection_dropout <= 1),
            ("vision_config.hidden_size", vision.hidden_size, vision.hidden_size % vision.num_attention_heads == 0),
            ("text_config.hidden_act", text.hidden_act, text.hidden_act in ACT2FN),
            ("text_config.num_key_value_heads", text.num_key_value_heads, _divides(text)),
            ("text_config.pad_token_id", text.pad_token_id, (text.pad_token_id or 0) < text.vocab_size),
            ("rope_type", rope.get("rope_type"), rope.get("rope_type") in ["default", *ROPE_INIT_FUNCTIONS]),
            ("rope_theta", rope.get("rope_theta"), isinstance(rope.get("rope_theta"), int | float)),
        )
        if not fits
    ]


def _divides(text: PreTrainedConfig) -> bool:
    """Whether the heads of the text model share its keys and values evenly."""
    return text.num_attention_heads % text.num_key_value_heads == 0


def _is_size(part: PreTrainedConfig, key: str) -> bool:
    """Whether a setting is a number above 0, or the two of a picture's sides."""
    value = getattr(part, key)
    sides = value if isinstance(value, list | tuple) else (value, value)
    return len(sides) == 2 and min(sides) > 0


def expected_shapes(config: SELF1EConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the model that `config` describes."""
    with torch.device("meta"):  # shapes only, no memory
        network = InternVLForConditionalGeneration(config)
        fit_stem(network.model.vision_tower)
        tensors = network.state_dict()
        tensors |= {HEAD + name: tensor for name, tensor in RefillingHead(config).state_dict().items()}
    if config.tie_word_embeddings:
        del tensors[LM_HEAD]
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def match_names(checkpoint: Checkpoint) -> tuple[dict[str, StoredTensor], list[str]]:
    """What each tensor of a checkpoint is called here, and the names of those that are none of ours.

    Raises:
        ModelError: When two tensors have the same name here.
    """
    stored: dict[str, StoredTensor] = {}
    unexpected = []
    for name in checkpoint.weights.shapes:
        ours = our_names(name, checkpoint.layout)
        if ours is None:
            unexpected.append(name)
            continue
        for part, our_name in enumerate(ours):
            if our_name in stored:
                raise ModelError(f"{name} and {stored[our_name].name} are two tensors for {our_name}")
            stored[our_name] = StoredTensor(name, part, len(ours))
    return stored, unexpected


def check_weights(
    checkpoint: Checkpoint, config: SELF1EConfig, stored: dict[str, StoredTensor], unexpected: list[str]
) -> dict[str, tuple[int, ...]]:
    """Makes sure that every expected tensor is there in its shape, and no other; the head of a base model is not.

    Args:
        checkpoint: Of any layout.
        config: What its settings say, see `network_config`.
        stored: As `match_names` gives it, without what is not to be loaded.
        unexpected: As `match_names` gives it.

    Returns:
        `expected_shapes`.

    Raises:
        ModelError: With all that are missing, unexpected, or misshapen.
    """
    expected = expected_shapes(config)
    optional = "" if checkpoint.layout == "self1e" or checkpoint.can_segment else HEAD
    missing = [name for name in expected if name not in stored and not (optional and name.startswith(optional))]
    unexpected = [*unexpected, *(tensor.name for name, tensor in stored.items() if name not in expected)]
    misshapen = {}
    for name, tensor in stored.items():
        found = checkpoint.weights.shapes[tensor.name]
        rows, *others = expected.get(name) or found
        if found != (wanted := (rows * tensor.parts, *others)) and name in expected:
            misshapen[tensor.name] = f"{tensor.name} {list(found)} instead of {list(wanted)}"
    problems = {"missing": missing, "unexpected": sorted(set(unexpected)), "misshapen": list(misshapen.values())}
    lines = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if lines:
        raise ModelError("\n".join([f"the weights in {checkpoint.folder} do not fit its config.json", *lines]))
    return expected
