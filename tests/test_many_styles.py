"""Several styles in one network, and starting from what another file knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import onestroke
from onestroke.data.datamodule import to_image
from onestroke.errors import UserError
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.residual import ResidualNetwork
from onestroke.networks.tables import table_names
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.style_document import Metadata
from onestroke.style_file import load, save
from onestroke.training.module import StyleTransfer
from onestroke.training.recipe import Recipe
from onestroke.training.run import train
from onestroke.training.schedule import Schedule
from onestroke.training.settings import StyleSettings
from onestroke.training.warm_start import choose, warm_start
from tests.running import judged
from tests.test_training import CONFIG, Noise, fit

LAYERS = {"relu1_2", "relu2_2"}
NAMES = ["starry_night", "great_wave", "udnie"]
MANY = {
    **CONFIG,
    "style": {**CONFIG["style"], "name": "three", "cards": dict.fromkeys(NAMES)},
}


def network(count: int, seed: int = 0) -> ResidualNetwork:
    torch.manual_seed(seed)
    return ResidualNetwork([4, 4, 8], blocks=1, ends=3, styles=count)


def objective(names: list[str]) -> Objective:
    chosen = [from_card(name, 256, LAYERS) for name in names]
    return Objective({"content": Content(["relu2_2"]), "gram": Gram(sorted(LAYERS))}, VGG(LAYERS), chosen)


def photos(size: int = 64) -> list[Tensor]:
    return [to_image(torch.from_numpy(p)[None]) for p in Noise().held_out(size)]


def test_each_picture_of_a_batch_is_judged_by_its_own_style() -> None:
    judge = objective(NAMES).eval()
    first, second = photos()
    which = torch.tensor([2, 0])
    both = judge(torch.cat([first, second]), torch.cat([second, first]), which)
    alone = [
        objective([NAMES[number]]).eval()(output, content)
        for number, output, content in ((2, first, second), (0, second, first))
    ]
    assert float(both["gram"]) == pytest.approx(sum(float(one["gram"]) for one in alone) / 2, rel=1e-5)
    assert float(alone[0]["gram"]) != pytest.approx(float(alone[1]["gram"]), rel=0.01)


def test_all_styles_are_trained_in_turn(tmp_path: Path) -> None:
    module = StyleTransfer(network(3), objective(NAMES), objective(NAMES).eval(), Recipe(5e-3), schedule=Schedule(40))
    before, _ = judged(module, photos())
    fit(module, tmp_path)
    after, paintings = judged(module, photos())
    for name in NAMES:
        assert after[f"total_{name}"] < 0.9 * before[f"total_{name}"]
    assert after["total"] == pytest.approx(sum(after[f"total_{name}"] for name in NAMES) / 3)
    assert [len(row) for row in paintings] == [3, 3]
    norms = [m.weight for m in module.network.modules() if isinstance(m, InstanceNorm)]
    assert all(len({row.numpy().tobytes() for row in norm.detach()}) == 3 for norm in norms)


def test_a_run_of_several_styles_writes_one_file_that_knows_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    path = train(MANY, tmp_path / "run")
    assert path.name == "three.safetensors"
    painted, metadata = load(path)
    assert isinstance(painted, ResidualNetwork)
    assert painted.styles == 3
    assert [style["name"] for style in metadata.style["styles"]] == NAMES
    assert metadata.style["styles"][1]["artist"] == "Katsushika Hokusai"
    assert {f"total_{name}" for name in NAMES} <= metadata.metrics.keys()


def saved(path: Path, other: ResidualNetwork, names: list[str]) -> Path:
    args = {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "styles": len(names)}
    document = Metadata({"name": "ResidualNetwork", "args": args}, {"styles": [{"name": name} for name in names]})
    save(path, other, document, torch.float32)
    return path


def styled(count: int) -> ResidualNetwork:
    """A network whose styles differ."""
    other = network(count, seed=1)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, InstanceNorm):
                module.weight.add_(torch.arange(count)[:, None] * 0.3)
        other.paint.convolution.weight.mul_(60)
    return other


def test_the_gallery_is_what_a_training_of_the_same_network_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onestroke, "__file__", str(tmp_path / "src" / "onestroke" / "__init__.py"))
    own: dict[str, Any] = {
        "name": "ResidualNetwork",
        "args": {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "upsampling": "bilinear"},
    }
    assert choose("auto", own) is None  # there is none
    (tmp_path / "checkpoints").mkdir()
    gallery = saved(tmp_path / "checkpoints" / "gallery.safetensors", styled(3), NAMES)
    assert choose("auto", own) == gallery
    assert choose("auto", {**own, "args": {**own["args"], "styles": 2}}) == gallery
    for name, value in (("blocks", 2), ("upsampling", "nearest"), ("adds_photo", False)):
        assert choose("auto", {**own, "args": {**own["args"], name: value}}) is None
    assert choose("auto", {**own, "name": "Another"}) is None
    assert choose(None, own) is None
    assert choose("other.safetensors", own) == Path("other.safetensors")


def test_a_warm_start_takes_the_norms_of_the_same_style(tmp_path: Path) -> None:
    other = styled(3)
    path = saved(tmp_path / "three.safetensors", other, NAMES)
    started = network(1)
    warm_start(started, path, objective(["great_wave"]).eval(), photos()[:1])
    mix = torch.tensor([0.0, 1.0, 0.0])
    assert torch.allclose(started(photos()[0]), other(photos()[0], mix[None]), atol=1e-5)
    two = network(2)
    warm_start(two, path, objective(["udnie", "starry_night"]).eval(), photos()[:1])
    assert torch.allclose(two(photos()[0], torch.eye(2)[:1]), other(photos()[0], torch.eye(3)[2:]), atol=1e-5)


def test_a_warm_start_towards_an_unknown_style_takes_the_nearest(tmp_path: Path) -> None:
    other = styled(3)
    path = saved(tmp_path / "three.safetensors", other, ["a", "b", "c"])
    judge = objective(["great_wave"]).eval()
    photo = photos()[0]
    started = network(1)
    warm_start(started, path, judge, [photo])
    other.requires_grad_(False)
    losses = [sum(map(float, judge(other(photo, mix[None]).clamp(0, 1), photo).values())) for mix in torch.eye(3)]
    best = torch.eye(3)[losses.index(min(losses))]
    assert torch.allclose(started(photo), other(photo, best[None]), atol=1e-5)
    assert max(losses) > 1.01 * min(losses)


def test_a_warm_start_from_one_style_gives_its_norms_to_all(tmp_path: Path) -> None:
    other = styled(1)
    path = saved(tmp_path / "one.safetensors", other, ["a"])
    started = network(2)
    warm_start(started, path, objective(NAMES[:2]).eval(), photos()[:1])
    for mix in torch.eye(2):
        assert torch.allclose(started(photos()[0], mix[None]), other(photos()[0]), atol=1e-5)


def test_adapting_the_norms_leaves_all_else_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    base, _ = load(train(MANY, tmp_path / "run"))
    (tmp_path / "second").mkdir()
    adapted = {
        **CONFIG,
        "init": "checkpoints/three.safetensors",
        "adapt": "norms",
        "out": "mine.safetensors",
        "lr": 0.2,
    }
    one, _ = load(train(adapted, tmp_path / "second"))
    tables = table_names(one)
    before = base.state_dict()
    for name, after in one.state_dict().items():
        same = name not in tables
        assert torch.equal(after, before[name] if same else before[name][:1]) == same, name


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"adapt": "some"}, "adapt must be all, norms or controls"),
        ({"adapt": "norms"}, "adapt=norms needs a style file"),
        ({"adapt": "controls"}, "adapt=controls needs a style file"),
        ({"style": {**MANY["style"], "name": "udnie"}}, "3 styles in one network need a name"),
        ({"style": {**MANY["style"], "cards": {"udni": None}}}, "did you mean 'udnie'"),
        ({"style": {**MANY["style"], "cards": ["udnie"]}}, "style.cards must be names"),
    ],
)
def test_mistakes_are_told(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        train({**CONFIG, **changed}, tmp_path / "run")


def test_a_picture_of_one_s_own_needs_no_card() -> None:
    chosen = StyleSettings.of({**CONFIG["style"], "name": "mine", "image": "a.png"}, ["starry_night"])
    assert chosen.cards == ()
