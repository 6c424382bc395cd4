"""Settings: what is accepted, and what stops before anything loads."""

from pathlib import Path

import pytest
import yaml

from self1e.training.config import ConfigError, TrainConfig, load_config

SMALLEST = {"output": "runs/x", "architecture": {}, "optimisation": {"steps": 1}}


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 1}, "learning_rate: Extra inputs"),
        ({"optimisation": {"steps": "many"}}, "optimisation.steps"),
        ({"optimisation": {"steps": 0}}, "greater than 0"),
        ({"architecture": {"image_size": 100}}, "not a multiple"),
        ({"architecture": {"text_width": 100}}, "does not divide into 3 heads"),
        ({"init": "somewhere"}, "either `init`"),
        ({"packed": True}, "image_to_segmentation: false"),
        ({"objective": "dense"}, "dense_weight"),
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


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("configs/**/*.yaml")), ids=lambda path: path.stem
)
def test_shipped_configurations_are_valid(path: Path) -> None:
    assert isinstance(load_config(path), TrainConfig)
