"""Every config composes, and says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestroke.errors import UserError
from onestroke.losses.term import Term
from onestroke.perception.style_card import card_names, from_card
from onestroke.training.parts import instantiate_part
from onestroke.training.settings import Settings, StyleSettings
from tests.running import CONFIGS, composed


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.mark.parametrize("name", choices("style"))
def test_each_style_has_its_card(name: str) -> None:
    config = composed(f"style={name}")
    chosen = StyleSettings.of(config["style"], card_names())
    assert chosen.name == name
    assert from_card(name, chosen.size, ["relu1_2"]).name == name


def test_each_card_has_its_style() -> None:
    assert card_names() == choices("style")


@pytest.mark.parametrize("name", choices("experiment"))
def test_each_experiment_composes(name: str) -> None:
    settings = Settings.of(composed(f"experiment={name}"))
    assert settings != Settings.of(composed())


@pytest.mark.parametrize("name", choices("loss"))
def test_each_loss_has_its_name_as_its_only_key(name: str) -> None:
    config = composed(f"loss=[{name}]")
    assert list(config["loss"]) == [name]
    assert isinstance(instantiate_part(f"loss.{name}", config["loss"][name], object), Term)


@pytest.mark.parametrize("name", choices("network"))
def test_each_network_is_what_its_yaml_says(name: str) -> None:
    config = composed(f"network={name}")["network"]
    network = instantiate_part("network", config, object)
    assert type(network).__name__ == config["_target_"].rsplit(".", 1)[1]


@pytest.mark.parametrize("name", choices("data"))
def test_each_dataset_is_a_source(name: str, tmp_path: Path) -> None:
    source = instantiate_part("data", composed(f"data={name}", *_root(name, tmp_path))["data"], object)
    for method in ("preflight", "sample", "held_out", "describe"):
        assert callable(getattr(source, method)), method


@pytest.mark.parametrize("name", choices("trainer"))
def test_each_trainer_has_the_same_options(name: str) -> None:
    assert composed(f"trainer={name}")["trainer"].keys() == composed()["trainer"].keys()


def test_total_variation_is_off_unless_asked_for() -> None:
    assert sorted(composed()["loss"]) == ["checkerboard", "content", "gram", "shift_consistency"]
    assert "tv" in composed("loss=[content,gram,checkerboard,tv]")["loss"]


def _root(name: str, tmp_path: Path) -> list[str]:
    return {"scenes": [], "webdataset": [f"data.urls={tmp_path}/a.tar"]}.get(name, [f"data.root={tmp_path}"])


@pytest.mark.parametrize("key", ["steps", "lr", "schedule", "betas", "measure", "init"])
def test_a_value_of_megabytes_is_told_in_a_line(key: str) -> None:
    with pytest.raises(UserError, match=key) as raised:
        Settings.of({**composed(), key: [{}] * 100_000})
    assert len(str(raised.value)) < 400
