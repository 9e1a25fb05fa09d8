"""Terms and their objective against the same mathematics in float64, written another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from onestroke.errors import UserError
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import MIDDLE, Objective, balance
from onestroke.losses.term import Term, Views, make_terms
from onestroke.losses.tv import TotalVariation
from onestroke.perception.style import Facts, Style
from onestroke.perception.vgg import VGG

CONFIGS = Path(__file__).parents[1] / "configs"
SHAPES = {"relu1_2": (6, 16, 12), "relu3_3": (10, 5, 7), "relu4_3": (12, 3, 2)}
Features = dict[str, Tensor]


def features(seed: int, **shapes: tuple[int, ...]) -> Features:
    """Features of a batch of three, each layer of another size."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: 10.0**i * torch.randn(3, *shape, generator=generator).relu()
        for i, (layer, shape) in enumerate((shapes or SHAPES).items())
    }


def grams(of: Features) -> Features:
    """In float64, by numpy."""
    found = {}
    for layer, f in of.items():
        x = f.detach().double().numpy()
        found[layer] = torch.from_numpy(np.einsum("nchw,ndhw->ncd", x, x) / x[0].size)
    return found


def style(of: Features) -> Style:
    """As if the first of the batch were the painting."""
    return Style("made up", {layer: g[0] for layer, g in grams(of).items()}, {}, Facts(), 256)


def scaled(of: Features, factor: float) -> Features:
    return {layer: factor * f for layer, f in of.items()}


# --- terms ----------------------------------------------------------------------------------------------


def content_in_float64(layers: Sequence[str], output: Features, content: Features, _: Style) -> Tensor:
    parts = []
    for layer in layers:
        o, c = output[layer].double(), content[layer].double()
        parts.append(((o - c) ** 2).sum() / (c**2).sum())
    return sum(parts, torch.zeros((), dtype=torch.float64)) / len(layers)


def gram_in_float64(layers: Sequence[str], output: Features, _: Features, style: Style) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for layer in layers:
        o, target = output[layer].double(), style.gram(layer).double()
        for one in o:
            rows = one.flatten(1)
            gram = rows @ rows.T / rows.numel()
            relative = (gram - target).norm() ** 2 / ((gram.norm() ** 2 + target.norm() ** 2) / 2)
            total = total + relative / len(o) / len(layers)
    return total


def tv_in_float64(layers: Sequence[str], output: Features, content: Features, _: Style) -> Tensor:
    def rough(x: Tensor) -> Tensor:
        x = x.double()
        return x.diff(dim=2).pow(2).mean() + x.diff(dim=3).pow(2).mean()

    return torch.stack([rough(output[layer]) / rough(content[layer]) for layer in layers]).mean()


Independent = Callable[[Sequence[str], Features, Features, Style], Tensor]
TERMS = [(Content, content_in_float64), (Gram, gram_in_float64), (TotalVariation, tv_in_float64)]


@pytest.mark.parametrize("layers", [["relu3_3"], list(SHAPES)])
@pytest.mark.parametrize(("kind", "independent"), TERMS)
def test_a_term_and_its_gradient_are_those_of_float64(
    kind: type[Term], independent: Independent, layers: list[str]
) -> None:
    output, content, target = features(0), features(1), style(features(2))
    for f in output.values():
        f.requires_grad_()
    each = kind(layers=layers)(Views(output, content, target))
    found = each.mean()
    again = {layer: f.detach().double().requires_grad_() for layer, f in output.items()}
    expected = independent(layers, again, content, target)
    assert each.shape == (() if kind is TotalVariation else (len(output["relu3_3"]),))
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    found.backward()
    expected.backward()
    for layer in layers:
        gradient, exact = output[layer].grad, again[layer].grad
        assert gradient is not None
        assert exact is not None
        assert float((gradient - exact).norm() / exact.norm()) < 1e-5
    assert all(output[layer].grad is None for layer in SHAPES if layer not in layers)


@pytest.mark.parametrize("kind", [Content, Gram, TotalVariation])
def test_a_term_takes_features_in_bf16_and_answers_in_fp32(kind: type[Term]) -> None:
    output, content = (scaled(features(seed), 300) for seed in (0, 1))
    rough_output, rough_content = ({k: f.bfloat16() for k, f in part.items()} for part in (output, content))
    found = kind(layers=list(SHAPES))(Views(rough_output, rough_content, style(content))).mean()
    assert found.dtype == torch.float32
    same_output, same_content = ({k: f.float() for k, f in part.items()} for part in (rough_output, rough_content))
    exact = kind(layers=list(SHAPES))(Views(same_output, same_content, style(content))).mean()
    assert float(found) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("kind", [Content, Gram, TotalVariation])
def test_a_term_does_not_change_with_the_size_of_features(kind: type[Term]) -> None:
    output, content, painting = (features(seed) for seed in range(3))
    term = kind(layers=list(SHAPES))
    plain = term(Views(output, content, style(painting))).mean()
    ten = term(Views(scaled(output, 10), scaled(content, 10), style(scaled(painting, 10)))).mean()
    assert float(ten) == pytest.approx(float(plain), rel=1e-5)
    assert 0.1 < float(plain) < 100


def test_a_centred_gram_matrix_is_the_covariance_and_knows_nothing_of_means() -> None:
    output, painting = features(0), features(1)
    means = {layer: f[0].mean(dim=(1, 2)) for layer, f in painting.items()}
    target = Style("made up", {layer: g[0] for layer, g in grams(painting).items()}, means, Facts(), 256)
    found = Gram(list(SHAPES), centred=True)(Views(output, {}, target))
    expected = np.zeros(3)
    for layer, f in output.items():
        rows = [x.flatten(1).double().numpy() for x in (*f, painting[layer][0])]
        *own, wanted = [np.cov(x, bias=True) / len(x) for x in rows]
        each = [2 * ((c - wanted) ** 2).sum() / ((c**2).sum() + (wanted**2).sum()) for c in own]
        expected += np.array(each) / len(output)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    moved = {layer: f + 3 * f.mean() for layer, f in output.items()}
    assert Gram(list(SHAPES), centred=True)(Views(moved, {}, target)).tolist() == pytest.approx(
        found.tolist(), rel=1e-3
    )
    assert Gram(list(SHAPES))(Views(output, {}, target)).tolist() != pytest.approx(found.tolist(), rel=0.1)


def test_terms_are_zero_where_nothing_is_left_to_do() -> None:
    output = features(0)
    assert Content(list(SHAPES))(Views(output, features(0), style(output))).tolist() == [0, 0, 0]
    alike = {layer: f[:1].expand_as(f) for layer, f in output.items()}
    assert max(Gram(list(SHAPES))(Views(alike, {}, style(output))).tolist()) < 1e-12
    assert max(Gram(list(SHAPES))(Views(output, {}, style(output))).tolist()) > 1e-3  # the others of the batch differ


def test_content_at_nothing_painted_is_one() -> None:
    content = features(0)
    nothing = Content(list(SHAPES))(Views(scaled(content, 0), content, style(content)))
    assert float(nothing.mean()) == pytest.approx(1)


def test_total_variation_is_that_of_a_checkerboard() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(6)).remainder(2).float().expand(2, 3, 8, 6)
    half = Views({"image": board}, {"image": board / 2}, style(features(0)))
    assert float(TotalVariation()(half)) == pytest.approx(4)
    flat = Views({"image": board / 255}, {"image": torch.full_like(board, 0.3)}, style(features(0)))
    assert float(TotalVariation()(flat)) == pytest.approx(1)  # one level of 255 between neighbours
    assert float(TotalVariation()(Views(flat.content, flat.content, flat.style))) == 0


@pytest.mark.parametrize("kind", [Content, Gram, TotalVariation])
@pytest.mark.parametrize("weight", [-1, -1e-9, float("nan"), float("inf"), True, "1", None])
def test_a_weight_that_is_none_is_refused(kind: type[Any], weight: object) -> None:
    with pytest.raises(UserError, match=f"^{kind.__name__}: weight must be a number of at least 0, not {weight!r}$"):
        kind(weight=weight)


@pytest.mark.parametrize("kind", [Content, Gram, TotalVariation])
@pytest.mark.parametrize("layers", ["relu1_2", [], None, 3, [3], {"relu1_2": 1}])
def test_layers_that_are_none_are_refused(kind: type[Any], layers: object) -> None:
    with pytest.raises(UserError, match=f"^{kind.__name__}: layers must be a list of layer names"):
        kind(layers=layers)


def test_gram_has_no_statistics_of_the_pixels() -> None:
    with pytest.raises(UserError, match=r"Gram: .* no statistics of the image"):
        Gram(["relu1_2", "image"])


# --- the control -------------------------------------------------------------------------------------------


def test_the_control_goes_from_the_photo_to_the_painting() -> None:
    assert balance(0)["style"] == 0
    assert balance(1)["content"] == pytest.approx(1 / 16)
    assert balance(0.5)["content"] == 1
    control = np.linspace(0.01, 0.99, 99)
    ratios = [balance(float(s))["style"] / balance(float(s))["content"] for s in control]
    assert all(a < b for a, b in pairwise(ratios))
    middle = ratios[49]
    assert ratios[24] == pytest.approx(middle / 4)
    assert ratios[74] == pytest.approx(middle * 4)
    assert {balance(float(s))["neither"] for s in control} == {1.0}
    assert max(max(balance(float(s)).values()) for s in control) <= max(1, balance(0.5)["style"])


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan"), True, "0.5", None])
def test_a_strength_outside_of_the_control_is_refused(strength: Any) -> None:
    with pytest.raises(UserError, match=r"^style\.strength must be a number from 0 .*to 1"):
        balance(strength)


# --- the objective --------------------------------------------------------------------------------------


def pixels(seed: int) -> Tensor:
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return VGG(["relu1_2", "relu2_2", "relu3_3", "relu4_3"])


@pytest.fixture
def painted(vgg: VGG) -> Style:
    return style(vgg(pixels(7)))


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_the_objective_is_its_weighted_terms_by_name(strength: float, vgg: VGG, painted: Style) -> None:
    terms = {
        "mine": Content(["relu2_2"], weight=3),
        "gram": Gram(["relu1_2", "relu4_3"], weight=0.5),
        "tv": TotalVariation(weight=2),
    }
    output, content = pixels(0), pixels(1)
    found = Objective(terms, vgg, painted, strength)(output, content)
    seen, kept = ({**vgg(image), "image": image} for image in (output, content))
    control = balance(strength)
    assert list(found) == list(terms)
    expected = {
        "mine": 3 * control["content"] * float(content_in_float64(["relu2_2"], seen, kept, painted)),
        "gram": 0.5 * control["style"] * float(gram_in_float64(["relu1_2", "relu4_3"], seen, kept, painted)),
        "tv": 2 * control["content"] * float(tv_in_float64(["image"], seen, kept, painted)),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4)
    assert (float(found["gram"]) == 0) == (strength == 0)
    assert float(found["mine"]) > 0 and float(found["tv"]) > 0  # the photo is never forgotten altogether


def test_each_picture_may_have_its_own_strength(vgg: VGG, painted: Style) -> None:
    terms = {"content": Content(["relu2_2"], weight=3), "gram": Gram(["relu1_2"]), "tv": TotalVariation(weight=1)}
    output, content = pixels(0), pixels(1)
    strength = torch.tensor([0.1, 0.9])
    found = Objective(terms, vgg, painted)(output[:2], content[:2], strength=strength)
    seen, kept = vgg(output[:2]), vgg(content[:2])
    errors = (seen["relu2_2"] - kept["relu2_2"]).square().mean(dim=(1, 2, 3)) / kept["relu2_2"].square().mean()
    # the square of 2 x 0.1, a sixteenth to the power of 2 x 0.9 - 1, and all of the other side
    less = (1 / 16) ** 0.8
    assert float(found["content"]) == pytest.approx(float(3 * (errors[0] + less * errors[1]) / 2), rel=1e-4)
    grams = [float(gram_in_float64(["relu1_2"], {"relu1_2": one[None]}, {}, painted)) for one in seen["relu1_2"]]
    assert float(found["gram"]) == pytest.approx(MIDDLE * (0.04 * grams[0] + grams[1]) / 2, rel=1e-4)
    tv = float(tv_in_float64(["image"], {"image": output[:2]}, {"image": content[:2]}, painted))
    assert float(found["tv"]) == pytest.approx((1 + less) / 2 * tv, rel=1e-4)


def test_the_objective_s_gradient_reaches_the_output_alone(vgg: VGG, painted: Style) -> None:
    output, content = pixels(0).requires_grad_(), pixels(1).requires_grad_()
    objective = Objective({"content": Content(), "gram": Gram()}, vgg, painted)
    loss = sum(objective(output, content).values(), torch.zeros(()))
    loss.backward()
    assert output.grad is not None
    assert content.grad is None
    direction = output.grad / output.grad.norm()
    step = 0.05
    with torch.no_grad():
        ahead, behind = (
            sum(objective(output + s * direction, content).values(), torch.zeros(())) for s in (step, -step)
        )
    assert float((ahead - behind) / (2 * step)) == pytest.approx(float(output.grad.norm()), rel=0.02)
    assert list(objective.parameters()) and not any(p.requires_grad for p in objective.parameters())


@pytest.mark.parametrize(
    ("terms", "content_pass", "output_pass"),
    [
        ({"content": Content(), "gram": Gram()}, 7, 10),
        ({"content": Content(["relu2_2"]), "gram": Gram(["relu1_2"]), "tv": TotalVariation()}, 4, 4),
        ({"gram": Gram(["relu4_3"])}, 0, 10),
        ({"tv": TotalVariation()}, 0, 0),
    ],
)
def test_each_pass_is_made_once_and_no_deeper_than_it_must(
    terms: dict[str, Term], content_pass: int, output_pass: int, painted: Style
) -> None:
    vgg = VGG(["relu1_2", "relu2_2", "relu3_3", "relu4_3"])
    ran: list[tuple[str, bool]] = []  # convolution, whether its gradient was kept
    for name, convolution in vgg.convolutions.items():
        convolution.register_forward_hook(lambda m, i, out, name=name: ran.append((name, out.requires_grad)))
    Objective(terms, vgg, painted)(pixels(0).requires_grad_(), pixels(1).requires_grad_())
    names = list(vgg.convolutions)
    assert [name for name, gradient in ran if not gradient] == names[:content_pass]
    assert [name for name, gradient in ran if gradient] == names[:output_pass]


# --- configs --------------------------------------------------------------------------------------------


def test_make_terms_takes_terms_and_names_all_else() -> None:
    content, gram = Content(), Gram()
    assert make_terms({"a": content, "b": gram}) == {"a": content, "b": gram}
    with pytest.raises(UserError, match=r"loss\.tv is no term .*\(content, tv\): choose it with 'loss=\[\.\.\.,tv\]'"):
        make_terms({"content": content, "tv": {"weight": 2}})
    with pytest.raises(UserError, match="loss is empty"):
        make_terms({})
    with pytest.raises(UserError, match=r"vgg16 has no layer 'relu3_4': did you mean .*'relu3_3'"):
        make_terms({"content": Content(["relu3_4"])})
    assert list(make_terms({"content": Content(["relu3_4"])}, "vgg19")) == ["content"]


@pytest.mark.parametrize("path", sorted((CONFIGS / "loss").glob("*.yaml")), ids=lambda path: str(path.stem))
def test_a_loss_config_has_one_key_its_file_s_name_and_makes_a_term(path: Path) -> None:
    config: Any = OmegaConf.load(path)
    assert list(config) == [path.stem]
    term = instantiate(config[path.stem], _convert_="all")
    assert isinstance(term, Term)
    assert term.weight > 0
    assert make_terms({path.stem: term}) == {path.stem: term}


def test_total_variation_is_off_by_default() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        default = compose("train")
        chosen = compose("train", ["loss=[content,gram,tv]", "loss.tv.weight=0.2"])
        without = compose("train", ["~loss.gram"])
    assert list(default.loss) == ["content", "gram", "checkerboard", "shift_consistency"]
    assert list(chosen.loss) == ["content", "gram", "tv"]
    assert instantiate(chosen.loss.tv, _convert_="all").weight == 0.2
    assert list(without.loss) == ["content", "checkerboard", "shift_consistency"]
