"""Terms that compare with samples or patches of the painting, and with the moments of its features."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.imaging.lab import lab
from onestroke.losses.adversarial import Adversarial
from onestroke.losses.contrast import Contrast
from onestroke.losses.histogram import Histogram
from onestroke.losses.moments import Moments
from onestroke.losses.nnfm import NearestFeatures
from onestroke.losses.term import Term, Views
from onestroke.losses.wasserstein import SlicedWasserstein
from onestroke.perception.appearance import Appearance
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_from_pictures import from_pictures
from onestroke.perception.style_of_each import StyleOfEach
from onestroke.perception.style_samples import SAMPLES, Samples
from onestroke.perception.vgg import VGG
from onestroke.training.build import build
from tests.running import BLOCKS, alike, composed, run, shallow
from tests.test_resume import Kill, Killed, same

Array = np.ndarray
LAYERS = {"relu1_2": (4, 6, 5), "relu3_3": (5, 3, 4)}


def features(seed: int, count: int = 2) -> dict[str, Tensor]:
    """Of layers of another size each, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: 10.0**i * (0.5 + torch.randn(count, *shape, generator=generator, dtype=torch.float64)).relu()
        for i, (layer, shape) in enumerate(LAYERS.items())
    }


def made(seed: int) -> Style:
    """A style of which all is known: samples, and the statistics that follow from them."""
    rows = {layer: f[0].flatten(1) for layer, f in features(seed, 1).items()}
    grams = {layer: r @ r.T / r.numel() for layer, r in rows.items()}
    pixels = torch.rand(3, 50, generator=torch.Generator().manual_seed(seed))
    means = {layer: r.mean(dim=1) for layer, r in rows.items()}
    return Style("made up", grams, means, Facts(), 64, kept=Samples({**rows, "image": pixels}, []))


def rows_of(x: Tensor) -> Array:
    return x.flatten(1).double().numpy()


# --- each term against numpy ----------------------------------------------------------------------------


def transport(values: Array, wanted: Array) -> float:
    """The k-th smallest to the k-th smallest, by quantiles at the middles of as many equal shares."""
    total = spread = 0.0
    for one, other in zip(values, wanted, strict=True):
        count, many = len(one), len(other)
        places = (np.arange(count) + 0.5) / count * many - 0.5
        target = np.interp(places, np.arange(many), np.sort(other))
        total += float(((np.sort(one) - target) ** 2).mean())
        spread += float(one.var() + target.var()) / 2
    return total / spread


def wasserstein(f: Tensor, style: Tensor, generator: torch.Generator) -> float:
    ways = torch.randn(7, len(f), generator=generator).double().numpy()
    ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    return transport(ways @ rows_of(f), ways @ rows_of(style))


def histogram(f: Tensor, style: Tensor, _: torch.Generator) -> float:
    return transport(rows_of(f), rows_of(style))


def nearest(f: Tensor, style: Tensor, _: torch.Generator) -> float:
    best = []
    for one in rows_of(f).T:
        cosines = [
            one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-30) for other in rows_of(style).T
        ]
        best.append(1 - max(cosines))
    return float(np.mean(best))


def moments(f: Tensor, style: Tensor, _: torch.Generator) -> float:
    one, other = rows_of(f), rows_of(style)
    error = ((one.mean(1) - other.mean(1)) ** 2 + (one.std(1) - other.std(1)) ** 2).sum()
    return float(2 * error / (one.var(1) + other.var(1)).sum())


TERMS: list[tuple[Callable[[], Term], Callable[[Tensor, Tensor, torch.Generator], float]]] = [
    (lambda: SlicedWasserstein(list(LAYERS), directions=7), wasserstein),
    (lambda: Histogram(list(LAYERS)), histogram),
    (lambda: NearestFeatures(list(LAYERS)), nearest),
    (lambda: Moments(list(LAYERS)), moments),
]


@pytest.mark.parametrize(("kind", "independent"), TERMS)
def test_a_term_is_what_numpy_makes_of_the_same_features(
    kind: Callable[[], Term], independent: Callable[[Tensor, Tensor, torch.Generator], float]
) -> None:
    output, styles = features(0), [made(1), made(2)]
    each = kind()(Views(output, {}, StyleOfEach(styles, torch.tensor([1, 0])), step=3))
    for i, style in enumerate((styles[1], styles[0])):
        generator = torch.Generator().manual_seed(3)
        values = [independent(output[layer][i], style.samples(layer), generator) for layer in LAYERS]
        assert float(each[i]) == pytest.approx(sum(values) / len(values), rel=1e-5)
        alone = kind()(Views(output, {}, style, step=3))
        assert float(alone[i]) == pytest.approx(float(each[i]), rel=1e-6)
    assert 0.01 < float(each.min()) < float(each.max()) < 10


@pytest.mark.parametrize("kind", [kind for kind, _ in TERMS])
def test_gradients_of_a_term_are_those_of_differences(kind: Callable[[], Term]) -> None:
    term, style = kind(), made(1)
    output = features(4)

    def loss(*parts: Tensor) -> Tensor:
        each: Tensor = term(Views(dict(zip(LAYERS, parts, strict=True)), {}, style))
        return each

    # where a feature is 0, so is its whole place now and then, which has no direction
    moved = tuple((f + 0.05 * f.mean() * (1 + noise(f))).requires_grad_() for f in output.values())
    assert torch.autograd.gradcheck(loss, moved, fast_mode=True)


def noise(like: Tensor) -> Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(9), dtype=like.dtype)


@pytest.mark.parametrize("kind", [kind for kind, _ in TERMS])
def test_a_term_is_zero_at_the_painting_in_any_order_and_does_not_change_with_scale(kind: Callable[[], Term]) -> None:
    style, painting = made(1), features(1, 1)
    order = {layer: torch.randperm(f[0, 0].numel()) for layer, f in painting.items()}
    shuffled = {layer: f.flatten(2)[..., order[layer]].view_as(f) for layer, f in painting.items()}
    assert float(kind()(Views(shuffled, {}, style))) == pytest.approx(0, abs=1e-6)
    output = features(0)
    ten = Style("ten", {k: 100 * style.gram(k) for k in LAYERS}, {k: 10 * style.mean(k) for k in LAYERS}, Facts(), 64,
                kept=Samples({k: 10 * style.samples(k) for k in LAYERS}, []))  # fmt: skip
    plain, scaled = (
        kind()(Views({k: factor * f for k, f in output.items()}, {}, target))
        for factor, target in ((1, style), (10, ten))
    )
    assert scaled.tolist() == pytest.approx(plain.tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", [SlicedWasserstein, Histogram, NearestFeatures])
def test_places_are_drawn_from_the_step_and_no_more_than_asked_for(kind: type[Any]) -> None:
    output, style = features(0), made(1)
    values = [kind(list(LAYERS), places=5)(Views(output, {}, style, step=step)).tolist() for step in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    for wrong in (0, -1, 2.0, True, "5", 10**9):
        with pytest.raises(UserError, match=f"^{kind.__name__}: places must be a whole number from 1 to 65536, not"):
            kind(places=wrong)


def test_features_in_bf16_are_compared_in_fp32() -> None:
    style = made(1)
    rough = {layer: f.bfloat16() for layer, f in features(0).items()}
    for kind, _ in TERMS:
        with torch.autocast("cpu", torch.bfloat16):
            found = kind()(Views(rough, {}, style))
        assert found.dtype == torch.float32
        exact = kind()(Views({layer: f.double() for layer, f in rough.items()}, {}, style))
        assert found.tolist() == pytest.approx(exact.tolist(), rel=1e-4)


# --- contrast -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("srgb", "expected"),
    [  # published, as in many tables of colours
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_lab_of_known_colours(srgb: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = lab(torch.tensor([srgb], dtype=torch.float32))[0]
    assert found.tolist() == pytest.approx(expected, abs=0.02)
    picture = torch.tensor(srgb, dtype=torch.float32).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    assert lab(picture)[1, :, 2, 3].tolist() == pytest.approx(found.tolist(), abs=1e-4)


def with_contrast(lightness: float, a: float, b: float) -> Style:
    """A style of which the deviations of L*, a* and b* are known."""
    appearance = Appearance(lightness, a**2, 0.0, b**2, 1.0, 0.0, 0.0)
    return Style("made up", {}, {}, Facts(), 64, appearance=appearance)


def test_contrast_is_what_numpy_makes_of_lightness_and_colour() -> None:
    styles, output = (
        [with_contrast(20, 3, 4), with_contrast(50, 6, 8)],
        torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0)).double(),
    )
    found = Contrast()(Views({"image": output}, {}, StyleOfEach(styles, torch.tensor([1, 0]))))
    for one, value, wanted in zip(output, found.tolist(), ([50, 10], [20, 5]), strict=True):
        lightness, a, b = lab(one.reshape(1, 3, -1))[0].numpy()
        own = np.array([lightness.std(), np.sqrt(a.var() + b.var())])
        assert value == pytest.approx((((own - wanted) / (np.array(wanted) + 1)) ** 2).mean(), rel=1e-4)
    grey = torch.full((1, 3, 8, 9), 0.5).requires_grad_()
    flat = Contrast()(Views({"image": grey}, {}, styles[0]))
    assert float(flat.detach()) == pytest.approx(((20 / 21) ** 2 + (5 / 6) ** 2) / 2, abs=2e-3)
    flat.sum().backward()
    assert grey.grad is not None
    assert torch.isfinite(grey.grad).all()


def test_contrast_needs_a_style_that_knows_its_own() -> None:
    with pytest.raises(UserError, match="made up holds no contrast"):
        Contrast()(Views({"image": torch.rand(1, 3, 8, 8)}, {}, made(1)))


def test_gradients_of_contrast_are_those_of_differences() -> None:
    image = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Contrast()(Views({"image": x}, {}, with_contrast(20, 3, 4))), image)


# --- what a style keeps of its pictures -----------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return VGG(["relu1_1", "relu2_2"], random=True)


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Pictures of two colours each, so that one is told from the other."""
    for name, low in (("red", [200, 0, 0]), ("blue", [0, 0, 200])):
        pixels = np.random.default_rng(0).integers(0, 50, (64, 80, 3), dtype=np.uint8) + np.array(low, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in ("red", "blue")]


def test_samples_are_features_at_places_of_all_pictures(two: list[str], vgg: VGG) -> None:
    style, again = (from_pictures("a", two, 64, ["relu2_2"], vgg, ["image", "relu2_2"]) for _ in range(2))
    pictures = [images.read(path).fit(short_side=64).rgb for path in two]
    for layer in ("image", "relu2_2"):
        found = style.samples(layer)
        assert torch.equal(found, again.samples(layer))
        assert found.shape[1] == SAMPLES
        all_of = [vgg(picture, [layer])[layer][0].flatten(1) for picture in pictures]
        for half, whole in zip(found.split(SAMPLES // 2, dim=1), all_of, strict=True):
            known = {tuple(column) for column in whole.T.tolist()}
            counts = Counter(tuple(column) for column in half.T.tolist())
            assert counts.keys() <= known
            assert max(counts.values()) <= -(-half.shape[1] // whole.shape[1]) + 1  # as evenly as can be
    plain = from_pictures("a", two, 64, ["relu2_2"], vgg)
    assert torch.equal(plain.gram("relu2_2"), style.gram("relu2_2"))
    with pytest.raises(UserError, match=r"the style a holds no samples of relu2_2: .*style\.image="):
        plain.samples("relu2_2")
    with pytest.raises(UserError, match=r"the style a holds no pictures: .*style\.image="):
        plain.patches(1, 8, torch.Generator())


def test_patches_are_cut_from_all_over_the_pictures_of_each_style(two: list[str], vgg: VGG) -> None:
    both, blue = from_pictures("a", two, 64, [], vgg, ["image"]), from_pictures("b", two[1:], 96, [], vgg, ["image"])
    generator = torch.Generator().manual_seed(0)
    patches = both.patches(40, 61, generator)
    assert patches.shape == (40, 3, 61, 61)
    windows = {
        window.tobytes(): (number, y, x)
        for number, path in enumerate(two)
        for picture in [images.read(path).fit(short_side=64).rgb[0]]
        for y, x in itertools.product(range(4), range(20))
        for window in [picture[:, y : y + 61, x : x + 61].contiguous().numpy()]
    }
    found = [windows[patch.contiguous().numpy().tobytes()] for patch in patches]  # or it is none of the pictures'
    assert [len({place[axis] for place in found}) for axis in (0, 1)] == [2, 4]
    assert {place[2] for place in found} >= {0, 1, 18, 19}
    each = StyleOfEach([both, blue], torch.tensor([1, 1, 1, 1]))
    assert each.patches(4, 64, generator)[:, 2].mean() > each.patches(4, 64, generator)[:, 0].mean() + 0.5
    assert StyleOfEach([both, blue], torch.tensor([1, 0])).size == 64


@pytest.mark.parametrize("name", ["wasserstein", "histogram", "nnfm", "adversarial"])
def test_a_term_that_needs_the_picture_says_so_of_a_style_card(name: str, tmp_path: Path) -> None:
    config = composed(f"loss=[content,{name}]", "init=null")
    with pytest.raises(UserError, match=rf"^loss\.{name} compares with the painting itself: .* style\.image="):
        build(config, tmp_path)


# --- in training ----------------------------------------------------------------------------------------


def config(painting: Path, *names: str, **more: Any) -> dict[str, Any]:
    own = (f"style.image={painting}", "style.name=mine", "style.size=64", "network.controls=[]")
    loss = composed(f"loss=[{','.join(names)}]", *own)["loss"]
    for term in loss.values():
        if "layers" in term:
            term["layers"] = ["relu1_2"]
        if "places" in term:
            term["places"] = 100
    return shallow(*own, steps=4, save_every=2, data=BLOCKS, loss=loss, **more)


@pytest.mark.slow
def test_a_run_with_all_of_them_resumes_to_the_bit(
    painting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the discriminator has learned, and the same random places, directions and patches."""
    monkeypatch.chdir(tmp_path)
    names = ("content", "wasserstein", "histogram", "nnfm", "moments", "contrast", "adversarial")
    whole = run({**config(painting, *names), "out": "whole.safetensors"}, tmp_path / "whole")
    assert whole.terms == [{*names, "adversarial_own"}] * 4
    assert set(whole.callbacks["HeldOut"].metrics) == {*names, "total"} - {"adversarial"}
    with pytest.raises(Killed):
        run({**config(painting, *names), "out": "broken.safetensors"}, tmp_path / "broken", more=[Kill(2)])
    last = {"resume": str(tmp_path / "broken" / "last.ckpt"), "out": "again.safetensors"}
    again = run({**config(painting, *names), **last}, tmp_path / "broken")
    assert same(tmp_path / "whole", tmp_path / "broken")
    assert alike(whole.module.terms, again.module.terms)
    assert not alike(whole.module.terms, run(config(painting, *names), tmp_path / "new", False).module.terms)


def test_the_discriminator_learns_to_tell_patches_and_pulls_towards_the_painting(two: list[str], vgg: VGG) -> None:
    torch.manual_seed(0)
    term, style = Adversarial(channels=8, lr=2e-3), from_pictures("a", two[1:], 64, [], vgg, ["image"])
    output = torch.full((2, 3, 48, 48), 0.5) + 0.1 * torch.randn(2, 3, 48, 48)
    optimizer = term.optimizer()
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        loss = term.own_loss(Views({"image": output}, {}, style, step=step))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.5
    assert losses[-1] < 0.3
    moved = output.clone().requires_grad_()
    each = term(Views({"image": moved}, {}, style))
    assert each.shape == (2,)
    each.sum().backward()
    assert moved.grad is not None
    red, _, blue = (-moved.grad).mean(dim=(0, 2, 3)).tolist()
    assert blue > 0 > red  # towards the blue picture
    patches = style.patches(2, 48, torch.Generator())
    assert float(term(Views({"image": patches}, {}, style)).detach().max()) < float(each.detach().min())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"channels": 0}, "channels"), ({"channels": 1025}, "channels"), ({"lr": -1}, "lr"), ({"lr": "x"}, "lr")],
)
def test_arguments_that_make_no_discriminator_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=f"^Adversarial: {says} must be"):
        Adversarial(**arguments)


def test_moments_has_no_statistics_of_the_pixels() -> None:
    with pytest.raises(UserError, match=r"Moments: .* no statistics of the image"):
        Moments(["image"])
