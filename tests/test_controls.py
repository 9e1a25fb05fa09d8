"""Strength and stroke after training: the tables, what is drawn while training, and what paints with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.inference.controls import StyleControls, open_style
from onestroke.inference.stylizer import Stylizer
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.networks.assignment import Draw
from onestroke.networks.attention import AttentionNetwork
from onestroke.networks.base import TransformNetwork
from onestroke.networks.dense import DenseNetwork
from onestroke.networks.mobile import MobileNetwork
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.networks.resnext import GroupedNetwork
from onestroke.networks.table_rows import hold, tie
from onestroke.networks.tables import Tables, table_names, tables_of
from onestroke.networks.unet import UNetwork
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.style_document import Metadata
from onestroke.style_file import load, save
from onestroke.training.module import StyleTransfer
from onestroke.training.run import train
from onestroke.training.warm_start import warm_start
from tests.test_many_styles import objective, photos
from tests.test_training import CONFIG

BOTH = ["strength", "stroke"]
ARGS: dict[type[TransformNetwork], dict[str, Any]] = {
    ResidualNetwork: {"channels": [4, 6, 8], "blocks": 1, "ends": 3},
    RealtimeNetwork: {"channels": [4, 6], "blocks": 1},
    RecurrentNetwork: {"channels": [4, 6], "blocks": 1},
    UNetwork: {"channels": [4, 6, 8, 8], "blocks": 1},
    DenseNetwork: {"channels": [4, 6, 8], "blocks": 1, "layers": 2, "growth": 4},
    GroupedNetwork: {"channels": [4, 6, 8], "blocks": 1, "width": 8, "groups": 2},
    MobileNetwork: {"channels": [4, 6], "blocks": 1, "expansion": 2},
    AttentionNetwork: {"channels": [4, 6, 8], "blocks": 1, "keys": 3},
}


def parameters_of(network: nn.Module) -> list[Any]:
    return [table for layer in tables_of(network) for table in layer.parameters(recurse=False)]


def controlled(kind: type[TransformNetwork] = ResidualNetwork, styles: int = 1, controls: list[str] = BOTH) -> Any:
    """A network in which every row of every table differs."""
    torch.manual_seed(0)
    make: Callable[..., TransformNetwork] = kind  # each kind has options of its own
    network = make(**ARGS[kind], styles=styles, controls=controls)
    for table in parameters_of(network):
        nn.init.normal_(table, float(table.detach().mean()), 0.1)
    nn.init.normal_(network.paint.convolution.weight, 0, 0.05)
    return network.requires_grad_(False).eval()


def saved(path: Path, network: TransformNetwork, names: list[str], **style: Any) -> Path:
    args = {**ARGS[type(network)], "styles": network.styles, "controls": list(network.controls)}
    document = {"name": path.stem, "styles": [{"name": name} for name in names], **style}
    save(path, network, Metadata({"name": type(network).__name__, "args": args}, document), torch.float32)
    return path


def by_hand(network: TransformNetwork, rows: Tensor) -> TransformNetwork:
    """The network whose only row is this mix of the other's."""
    kind = type(network)
    one = kind(**ARGS[kind])
    state = network.state_dict()
    tables = table_names(network)
    one.load_state_dict({k: torch.einsum("r,r...->...", rows, t)[None] if k in tables else t for k, t in state.items()})
    return one.requires_grad_(False)


@pytest.mark.parametrize("kind", ARGS)
def test_between_two_places_of_a_control_the_norms_are_interpolated(kind: type[TransformNetwork]) -> None:
    network, (photo, _) = controlled(kind, styles=2), photos(36)
    # strength 0.7 is 0.6 of its middle place and 0.4 of its last, stroke 0.25 is three quarters of its first
    strength, stroke, mix = torch.tensor([0, 0.6, 0.4]), torch.tensor([0.75, 0.25]), torch.tensor([0.3, 0.7])
    rows = torch.einsum("s,k,t->skt", mix, strength, stroke).flatten()
    expected = by_hand(network, rows)(photo)
    for strength_given, stroke_given in ((0.7, 0.25), (torch.tensor([0.7]), torch.tensor([0.25]))):
        assert torch.allclose(network(photo, mix[None], strength_given, stroke_given), expected, atol=1e-5)
    assert torch.allclose(network.fixed(0.7, 0.25).blended(mix)(photo), expected, atol=1e-5)
    over = mix[None, :, None, None].expand(-1, -1, *photo.shape[-2:])
    assert torch.allclose(network(photo, over, 0.7, 0.25), expected, atol=1e-4)
    assert float((network(photo, mix[None], 0.7, 0.5) - expected).abs().max()) > 0.01


@pytest.mark.parametrize("kind", ARGS)
def test_at_strength_0_nothing_is_painted_and_on_the_way_there_it_fades(kind: type[TransformNetwork]) -> None:
    network, (photo, other) = controlled(kind), photos(36)
    assert torch.equal(network(photo, strength=0.0), photo)
    assert torch.allclose(network.fixed(0.0)(photo), photo, atol=1e-6)
    rows = torch.einsum("k,t->kt", torch.tensor([0.8, 0.2, 0]), torch.tensor([1.0, 0])).flatten()  # 0.1
    expected = torch.lerp(photo, by_hand(network, rows)(photo), 0.4)  # which is 0.4 of 0.25, where all is painted
    assert torch.allclose(network(photo, strength=0.1), expected, atol=1e-5)
    both = network(torch.cat([photo, other]), strength=torch.tensor([0.0, 1.0]))
    assert torch.equal(both[:1], photo)
    assert torch.allclose(both[1:], network(other, strength=1.0), atol=1e-5)


@pytest.mark.parametrize("photo_in_sum", [{"adds_photo": False}, {"low_pass": 8}])
def test_strength_0_is_the_photo_whatever_of_it_is_in_the_sum(photo_in_sum: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = ResidualNetwork(**ARGS[ResidualNetwork], **photo_in_sum, controls=BOTH).requires_grad_(False)
    for table in parameters_of(network):
        nn.init.normal_(table, float(table.mean()), 0.1)
    photo, _ = photos(36)
    assert torch.equal(network(photo, strength=0.0), photo)
    assert float((network(photo, strength=0.25) - photo).abs().max()) > 0.1
    for strength in (0.0, 0.1, 0.25, 0.6):
        assert torch.allclose(network.fixed(strength)(photo), network(photo, strength=strength), atol=1e-6)


@pytest.mark.parametrize("controls", [["strength"], ["stroke"], BOTH, ["stroke", "strength"]])
def test_a_control_that_is_left_alone_stands_in_the_middle_of_strength_and_at_fine_strokes(controls: list[str]) -> None:
    network, (photo, _) = controlled(controls=controls), photos(36)
    given = {name: value for name, value in (("strength", 0.5), ("stroke", 0.0)) if name in controls}
    assert torch.equal(network(photo), network(photo, **given))
    for control in set(BOTH) - set(controls):
        with pytest.raises(ValueError, match=f"no control for {control}"):
            network(photo, **{control: 0.5})


@pytest.mark.parametrize(
    ("controls", "words"),
    [(["strenth"], "no 'strenth': did you mean 'strength'"), ("strength", "a list"), (["stroke", "stroke"], "once")],
)
def test_controls_that_there_are_not_are_refused(controls: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ResidualNetwork(controls=controls)


def test_a_style_file_is_painted_with_as_the_controls_are_set(tmp_path: Path) -> None:
    network, (photo, _) = controlled(styles=2), photos(36)
    path = saved(tmp_path / "two.safetensors", network, ["a", "b"], strength=0.8)
    each: list[dict[str, Any]] = [{}, {"strength": 0.3}, {"strength": 0.3, "stroke": 0.6}]
    for settings in each:
        expected = network(photo, torch.tensor([[0.0, 1.0]]), **{"strength": 0.8, **settings}).clamp(0, 1)
        stylizer = Stylizer(path, mix="b", **settings)
        assert torch.allclose(stylizer.paint(photo), expected, atol=1e-5)
        assert stylizer.metadata.style["strength"] == settings.get("strength", 0.8)
    assert torch.allclose(Stylizer(path, mix="b", strength=0.0).paint(photo), photo, atol=1e-6)
    over = Stylizer(path, mix="a,b", strength=0.3)
    white = torch.ones(1, 1, *photo.shape[-2:])
    assert torch.allclose(
        over.paint(photo, style_map=white), network(photo, torch.eye(2)[1:], 0.3).clamp(0, 1), atol=1e-4
    )
    # what was narrowed can be a style file of its own
    alone, metadata = open_style(path, StyleControls("b", 0.3))
    save(tmp_path / "alone.safetensors", alone, metadata, torch.float32)
    again = Stylizer(tmp_path / "alone.safetensors")
    assert torch.allclose(again.paint(photo), Stylizer(path, mix="b", strength=0.3).paint(photo), atol=1e-6)
    with pytest.raises(UserError, match="no control for strength: leave strength out"):
        Stylizer(tmp_path / "alone.safetensors", strength=0.3)
    with pytest.raises(UserError, match=r"strength must be a number from 0 to 1, not 1\.5"):
        Stylizer(path, mix="b", strength=1.5)


def test_onnx_paints_with_the_controls_as_they_were_set(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = saved(tmp_path / "one.safetensors", controlled(), ["a"])
    (photo, _) = photos(37)
    plain = Stylizer(path, strength=0.2, stroke=0.9).paint(photo)
    assert torch.allclose(
        Stylizer(path, backend="onnx", strength=0.2, stroke=0.9).paint(photo), plain, rtol=0, atol=1e-4
    )


# --- training ---------------------------------------------------------------------------------------------


def module(network: TransformNetwork, names: list[str], sizes: list[int], strength: float = 0.5) -> StyleTransfer:
    layers = {"relu1_2", "relu2_2"}
    chosen = [from_card(name, size, layers) for name in names for size in sizes]
    terms = {"content": Content(["relu2_2"]), "gram": Gram(sorted(layers))}
    judge = Objective(terms, VGG(layers), chosen[:: len(sizes)])
    draw = Draw(network.conditioning, len(names), len(sizes), strength, seed=3, moving=0.5)
    return StyleTransfer(network, Objective(terms, VGG(layers), chosen), judge, draw=draw)


def test_half_of_the_pictures_are_painted_with_the_controls_at_their_defaults_and_half_at_random() -> None:
    names, sizes = ["starry_night", "udnie"], [256, 384, 512]
    trained = module(controlled(styles=2), names, sizes, strength=0.6)
    orders = trained.draw.of(range(4000))
    strength, stroke, style, which = orders.strength, orders.stroke, orders.style, orders.target
    assert strength is not None
    assert stroke is not None
    assert style is not None
    assert which is not None
    assert style.tolist() == [0, 1] * 2000
    for own in (0, 1):
        default = (strength == 0.6) & (stroke == 0) & (style == own)
        assert 930 < int(default.sum()) < 1070  # 1000, and twice its deviation of 32
        moved = (strength != 0.6) & (style == own)
        assert 930 < int(moved.sum()) < 1070
        for size in (0, 0.5, 1):
            assert 270 < int((stroke[moved] == size).sum()) < 400  # a third of it
        at_the_end = moved & (strength == 1)
        assert 160 < int(at_the_end.sum()) < 240  # a fifth of it, the rest evenly
        quarters = torch.histc(strength[moved & ~at_the_end], 4, 0, 1)
        assert all(160 < count < 240 for count in quarters)
    # the objective has a style at a stroke's size
    chosen = [(trained.objective.styles[i].name, trained.objective.styles[i].size) for i in which[:50]]
    given = [(names[s], sizes[round(2 * t)]) for s, t in zip(style[:50].tolist(), stroke[:50].tolist(), strict=True)]
    assert chosen == given
    again = trained.draw.of([7, 1234])
    assert again.strength is not None
    assert again.strength.tolist() == strength[[7, 1234]].tolist()  # from its number alone
    plain = module(controlled(styles=2, controls=[]), names, [256]).draw.of([0, 1])
    assert plain.strength is plain.stroke is None


def test_a_network_with_controls_is_trained_and_exported_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    network = {**CONFIG["network"], "controls": BOTH}
    path = train({**CONFIG, "network": network, "steps": 4}, tmp_path / "run")
    found, metadata = load(path)
    assert metadata.network["args"]["controls"] == BOTH
    tables = {n: p.detach() for n, p in found.named_parameters() if n.endswith("norm.weight") or "norm" in n}
    assert isinstance(found, ResidualNetwork) and found.colour is not None
    assert found.colour.weight.shape == (6, 3, 3)
    assert all(len(t) == 6 for t in tables.values())
    # cards have no larger size than 512
    (tmp_path / "large").mkdir()
    style = {**CONFIG["style"], "size": 384}
    large = train(
        {**CONFIG, "network": network, "style": style, "steps": 1, "out": "l.safetensors"}, tmp_path / "large"
    )
    assert load(large)[1].network["args"]["controls"] == ["strength"]


@pytest.mark.parametrize(("own", "theirs"), list(itertools.product([[], ["strength"], BOTH], repeat=2)))
def test_a_warm_start_paints_as_the_other_does_wherever_both_have_a_control(
    tmp_path: Path, own: list[str], theirs: list[str]
) -> None:
    other = controlled(styles=2, controls=theirs)
    path = saved(tmp_path / "two.safetensors", other, ["starry_night", "udnie"])
    network = ResidualNetwork(**ARGS[ResidualNetwork], controls=own)
    (photo, _) = photos(36)
    warm_start(network, path, objective(["udnie"]).eval(), [photo])
    udnie = torch.tensor([[0.0, 1.0]])
    for strength, stroke in ((0.5, 0.0), (0.8, 0.7)):
        given = {"strength": strength, "stroke": stroke}
        mine = {control: value for control, value in given.items() if control in own}
        shared = {control: value for control, value in mine.items() if control in theirs}
        assert torch.allclose(network(photo, **mine), other(photo, udnie, **shared), atol=1e-5)


def test_tied_rows_have_the_sum_of_what_each_style_learned() -> None:
    network = controlled(styles=2).requires_grad_(True)
    tables: list[Any] = parameters_of(network)
    (photo, _) = photos(32)
    network(photo, torch.tensor([[1.0, 0.0]]), strength=0.25, stroke=0.5).square().mean().backward()
    sums = [table.grad[:6].sum(0) for table in tables]
    assert any(bool((table.grad[:6].abs().flatten(1).sum(1) == 0).any()) for table in tables)  # some were not asked
    tie(network, network.conditioning)
    for table, total in zip(tables, sums, strict=True):
        assert torch.allclose(table.grad[:6], total.expand(6, *total.shape), atol=1e-9)
        assert not table.grad[6:].any()


def test_held_rows_are_those_that_the_defaults_paint_with() -> None:
    network = controlled(styles=2).requires_grad_(True)
    tables: list[Any] = parameters_of(network)
    (photo, _) = photos(32)
    mix = torch.tensor([[0.5, 0.5]])
    before = network(photo, mix)
    network(photo, mix, strength=0.3, stroke=0.5).square().mean().backward()
    hold(network, network.conditioning, 0.5)
    with torch.no_grad():
        for table in tables:
            table -= 0.1 * table.grad.sign()
    assert torch.equal(network(photo, mix), before)
    assert not torch.allclose(network(photo, mix, strength=0.3), before, atol=1e-2)
    assert not torch.allclose(network(photo, mix, stroke=0.5), before, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "has", "adapt", "moves_as"),
    [
        pytest.param("udnie", BOTH, "all", "one", marks=pytest.mark.slow),
        ("starry_night", BOTH, "all", "one"),
        ("udnie", ["strength"], "all", "each"),
        ("starry_night", BOTH, "controls", "others"),
    ],
)
def test_controls_that_the_start_has_come_along_and_others_are_trained(
    name: str, has: list[str], adapt: str, moves_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = controlled(controls=has)
    saved(tmp_path / "start.safetensors", start, ["starry_night"], name="starry_night")
    (tmp_path / "run").mkdir()
    network = {**CONFIG["network"], **ARGS[ResidualNetwork], "controls": BOTH}
    style = {**CONFIG["style"], "name": name, "cards": {name: None}}
    more = {"network": network, "style": style, "init": "start.safetensors", "steps": 12, "batch_size": 2}
    more |= {"adapt": adapt, "lr": 0.05}
    trained, _ = load(train({**CONFIG, **more, "out": "out.safetensors"}, tmp_path / "run"))
    # what it started with: the file's rows, once for each place of a control that only the network has
    before = {
        name: table.repeat_interleave(6 // len(table), 0)
        for name, table in start.named_parameters()
        if "conv" not in name
    }
    moves = {
        f"{part}.{own}": table.detach().float() - before[f"{part}.{own}"]
        for part, module_ in trained.named_modules()
        if isinstance(module_, Tables)
        for own, table in module_.named_parameters(recurse=False)
    }
    moved = [move for move in moves.values() if float(move.abs().max()) > 0.01]
    assert len(moved) >= 15  # of 16
    # style files are in fp16
    alike = [torch.allclose(move, move[:1].expand_as(move), atol=2e-3) for move in moved]
    assert all(alike) if moves_as == "one" else not any(alike)
    # the places are strength 0, 0.5 and 1, each with stroke 0 and 1
    still = [float(move[2].abs().max()) < 2e-3 for move in moved]
    assert all(still) if moves_as == "others" else not any(still)
    if moves_as == "others":
        started, (photo, _) = start.half().float(), photos(36)  # as a style file has it
        assert torch.equal(trained(photo), started(photo))
        assert not torch.allclose(trained(photo, strength=1), started(photo, strength=1), atol=1e-2)


def test_controls_that_do_not_move_are_at_their_defaults_for_every_picture() -> None:
    trained = module(controlled(styles=2), ["starry_night", "udnie"], [256, 384, 512], strength=0.6)
    trained.draw = replace(trained.draw, moving=0.0)
    orders = trained.draw.of(range(100))
    assert orders.strength is not None and orders.stroke is not None and orders.target is not None
    assert orders.strength.unique().tolist() == pytest.approx([0.6])
    assert orders.stroke.unique().tolist() == [0]
    assert orders.target.tolist() == [0, 3] * 50
