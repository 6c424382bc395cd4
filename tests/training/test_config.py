"""Settings: what is accepted, and what stops before anything loads."""

import json
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.utils import DistributedType

from self1e.data.settings import Settings
from self1e.model.config import SELF1EConfig
from self1e.training.config import ConfigError, Lora, TrainConfig, load_config

GROUPS = ("vision", "projector", "language", "embeddings", "head")
DATA = {"parts": {"mine": {"rate": 1, "own": [{"jsonl": "mine.jsonl"}]}}}
SMALLEST = {"output": "runs/x", "architecture": {}, "data": DATA, "optimisation": {"steps": 1}}


def write(folder: Path, tree: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_defaults_and_overrides(tmp_path: Path) -> None:
    settings = load_config(write(tmp_path, SMALLEST), {"optimisation.steps": 7, "data.seed": 3})
    assert settings.optimisation.steps == 7
    assert settings.data.seed == 3
    assert settings.refilling == "rfa"


def test_what_is_saved_reads_back_the_same(tmp_path: Path) -> None:
    settings = load_config(write(tmp_path, SMALLEST))
    again = load_config(write(tmp_path, settings.model_dump(mode="json")))
    assert again == settings


def test_home_is_found_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    own = [
        {"jsonl": "~/a.jsonl"},
        {"coco": "~/c.json", "images": "~/i"},
        {"masks": "~/m", "images": "i", "classes": "~/c"},
    ]
    data = {"root": "~/d", "parts": {"mine": {"rate": 1, "own": own}}}
    tree = SMALLEST | {"output": "~/b", "architecture": {"tokenizer": "~/t"}, "vision": "~/v", "data": data}
    tree["validation"] = {"data": {"photos": {"folders": ["~/one", "two/"]}}}
    written = load_config(write(tmp_path, tree)).model_dump(mode="json")
    assert "~" not in json.dumps(written)
    assert (written["output"], written["vision"]) == ("/home/me/b", "/home/me/v")
    assert written["data"]["parts"]["mine"]["own"][1]["images"] == "/home/me/i"
    assert written["validation"]["data"]["photos"]["folders"] == ["/home/me/one", "two/"]
    for name, read in (("~/models/mine", "/home/me/models/mine"), ("nano", "nano"), ("OpenGVLab/~x", "OpenGVLab/~x")):
        tree = {key: value for key, value in SMALLEST.items() if key != "architecture"} | {"init": name}
        assert load_config(write(tmp_path, tree)).init == read

    class OfAPlugin(Settings):
        folder: Path
        name: str
        all: tuple[Path, ...] = ()
        by_name: dict[str, Path] = {}  # noqa: RUF012

    several = OfAPlugin(folder=Path("~/e"), name="", all=(Path("~/f"),), by_name={"g": Path("~/g")})
    assert several.all == (Path("/home/me/f"),) and several.by_name == {"g": Path("/home/me/g")}
    assert OfAPlugin(folder=Path("~/e"), name="~/f") == OfAPlugin(folder=Path("/home/me/e"), name="~/f")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 1}, "learning_rate: Extra inputs"),
        ({"optimisation": {"steps": "many"}}, "optimisation.steps"),
        ({"optimisation": {"steps": 0}}, "greater than 0"),
        ({"architecture": {"image_size": 100}}, "not a multiple"),
        ({"architecture": {"text_width": 100}}, "text_width 100 does not divide into 3 heads"),
        ({"init": "somewhere"}, "either `init` (a model to go on from) or `architecture` (from nothing): both are"),
        ({"packed": True}, "image_to_segmentation: false"),
        ({"architecture": {"tokenizer": "nano", "vocabulary": 400}}, "vocabulary is for a tokenizer that is learnt"),
        ({"pictures_only": True}, "pictures_only leaves the method's own losses out: give `losses`"),
        ({"data": {}}, "either a mixture, with `parts`, or one data set"),
        ({"data": {"nowhere": {}}}, "there is no data set 'nowhere'; installed are"),
        ({"data": [1]}, "should be a mixture with `parts`"),
        ({"losses": {"nothing": {}}}, "there is no loss 'nothing'; installed are"),
        ({"losses": ["toyland"]}, "should be names of losses"),
        ({"lora": {}}, "give `init`, not `architecture`"),
        ({"max_tiles": 4}, "max_tiles is for `init`"),
        ({"optimisation": {"steps": 1, "rates": dict.fromkeys(GROUPS, 0)}}, "nothing is left to train"),
        ({"refilling": "more"}, "refilling"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used") as raised:
        load_config(write(tmp_path, SMALLEST | change))
    assert said in str(raised.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="no settings"):
        load_config(write(tmp_path, [1]))
    (tmp_path / "twice.yaml").write_text("output: x\noptimisation:\n  steps: 1\n  clip: 2.0\n  steps: 3\n")
    with pytest.raises(ConfigError, match=r"(?s)'steps' is given twice.*line 5"):
        load_config(tmp_path / "twice.yaml")


def test_what_yaml_merges_may_be_given_anew(tmp_path: Path) -> None:
    (tmp_path / "merged.yaml").write_text(
        "output: x\ninit: y\ndata: {parts: {a: {rate: 1}}}\noptimisation: {<<: {steps: 1, clip: 2.0}, steps: 3}\n"
    )
    chosen = load_config(tmp_path / "merged.yaml").optimisation
    assert (chosen.steps, chosen.clip) == (3, 2.0)


CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name != "launch"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path: Path) -> None:
    assert isinstance(load_config(path), TrainConfig)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("launch/*.yaml")), ids=lambda path: path.stem)
def test_shipped_launch_files_are_accelerates(path: Path) -> None:
    """`accelerate launch` refuses keys that it does not know, and so does its class."""
    config = ClusterConfig.from_yaml_file(str(path))
    assert config.num_processes == 8
    if config.distributed_type == DistributedType.FSDP:
        assert config.fsdp_config["fsdp_version"] == 2
    if config.distributed_type == DistributedType.DEEPSPEED:
        engine = json.loads((CONFIGS.parent / config.deepspeed_config["deepspeed_config_file"]).read_text())
        assert engine["zero_optimization"]["stage"] == int(path.stem.removeprefix("zero"))


def test_published_recipes_are_those_of_the_method() -> None:
    """Method, section 4."""
    for size in ("2b", "8b"):
        settings = load_config(CONFIGS / "recipes" / f"{size}.yaml")
        chosen = settings.optimisation
        assert settings.init == f"OpenGVLab/InternVL3-{size.upper()}"
        assert (settings.ce_weight, settings.bce_weight, settings.dice_weight) == (1.0, 2.0, 0.5)
        assert settings.lora == Lora()
        assert (chosen.learning_rate, chosen.warmup_steps, chosen.clip, chosen.weight_decay) == (1e-4, 100, 1.0, 0.0)
        assert (chosen.pictures_per_step, chosen.accumulate, chosen.betas) == (5, 8, (0.9, 0.95))
        assert [part.rate for part in settings.data.parts.values()] == [1, 1, 1, 1]


def test_validation_data_lie_where_training_data_do(tmp_path: Path) -> None:
    part = {"parts": {"a": {"rate": 1, "sets": ["reasonseg|val"]}}}
    tree = {"output": "x", "init": "y", "data": part | {"root": "here"}, "optimisation": {"steps": 1}}
    given = load_config(write(tmp_path, tree | {"validation": {"data": part}}), {"data.root": "there"})
    assert given.validation is not None and given.validation.data.root == given.data.root == "there"
    own = load_config(write(tmp_path, tree | {"validation": {"data": part | {"root": "elsewhere"}}}))
    assert own.validation is not None and own.validation.data.root == "elsewhere"


@pytest.mark.parametrize("key", ["output.folder", "data.parts.0"])
def test_settings_below_a_value_are_refused(tmp_path: Path, key: str) -> None:
    tree = SMALLEST | {"data": {"parts": [1]}}
    with pytest.raises(ConfigError, match=f"cannot set {key}"):
        load_config(write(tmp_path, tree), {key: 1})


def test_the_model_knows_what_is_its_own(tmp_path: Path) -> None:
    """Settings of the names that its configuration has, and as that has them unless something else is asked for."""
    model = SELF1EConfig()
    default = load_config(write(tmp_path, SMALLEST)).of_model()
    assert default == {name: getattr(model, name) for name in default}
    changes = {"image_to_image": False, "image_to_segmentation": False, "dice_weight": 0.25}
    assert load_config(write(tmp_path, SMALLEST | changes)).of_model() == default | changes
    assert {"refilling", "ce_weight", "bce_weight", *changes} == default.keys()
