"""Direct optimisation, its traces, their cache, and the command for one picture."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from onestroke.cli import optimize
from onestroke.cli.optimize import Options
from onestroke.cli.options import help_text, parse
from onestroke.imaging import images
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.losses.term import Term, Views
from onestroke.losses.tv import TotalVariation
from onestroke.optimization import reference, trace_cache
from onestroke.optimization.reference import (
    PixelObjective,
    Trace,
    cached,
    coarse_to_fine,
    fingerprint,
    iterations_to,
    optimise,
    sides,
)
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_from_pictures import measure
from onestroke.perception.vgg import VGG
from tests.processes import Started, as_module

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(seed: int, height: int, width: int) -> Tensor:
    coarse = torch.rand(1, 3, -(-height // 4), -(-width // 4), generator=torch.Generator().manual_seed(seed))
    return images.resize(coarse, height, width)


@pytest.fixture(scope="module")
def eye() -> VGG:
    return VGG(LAYERS)


def painted(eye: VGG, seed: int = 7) -> Style:
    return Style("made up", *measure([noise(seed, 64, 64)], eye, 64, LAYERS), Facts(), 64)


def aim(eye: VGG, strength: float = 0.5, style: Style | None = None, **terms: Term) -> Objective:
    chosen = terms or {"content": Content(), "gram": Gram()}
    return Objective(chosen, eye, style or painted(eye), strength).eval()


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return noise(1, 40, 48)


class Calls:
    """How often an objective's VGG was asked for something."""

    def __init__(self, objective: Objective) -> None:
        self.of: list[tuple[str, ...]] = []
        self.handle = objective.vgg.register_forward_hook(lambda _, given, found: self.of.append(tuple(found)))


# --- optimisation ---------------------------------------------------------------------------------------


def test_the_landscape_is_the_objective(eye: VGG, photo: Tensor) -> None:
    objective = aim(eye, 0.4, content=Content(["relu2_2"], 2), gram=Gram(), tv=TotalVariation())
    output = noise(2, 40, 48)
    found, exact = PixelObjective(objective, photo).terms(output), objective(output, photo)
    assert list(found) == list(exact)
    for name, value in exact.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-6)
    with pytest.raises(ValueError, match="must be one"):
        PixelObjective(objective, photo.expand(2, -1, -1, -1))


def test_the_photo_s_features_are_computed_once(eye: VGG, photo: Tensor) -> None:
    objective = aim(eye)
    calls = Calls(objective)
    trace = optimise(objective, photo, iterations=3)
    calls.handle.remove()
    assert calls.of[0] == ("relu3_3",)
    assert set(calls.of[1:]) == {LAYERS}
    assert trace.evaluations == len(calls.of) - 1


def test_l_bfgs_goes_down_at_each_iteration(eye: VGG, photo: Tensor) -> None:
    objective, told = aim(eye), []
    before = photo.clone()
    trace = optimise(objective, photo, iterations=12, progress=lambda i, loss: told.append((i, loss)))
    assert told == list(enumerate(trace.losses))
    assert trace.iterations == 12
    assert not trace.exhausted
    assert all(a > b for a, b in pairwise(trace.losses))
    assert trace.loss == trace.losses[-1] < 0.6 * trace.losses[0]
    assert trace.evaluations < 30, "most line searches take one evaluation"
    at_start, at_end = (float(sum(objective(x, photo).values())) for x in (photo, trace.picture))
    assert trace.losses[0] == pytest.approx(at_start, rel=1e-5)
    assert trace.loss == pytest.approx(at_end, rel=1e-5)
    assert torch.equal(photo, before)
    assert trace.picture.shape == photo.shape
    again = optimise(objective, photo, iterations=12)
    assert again.losses == pytest.approx(trace.losses, rel=1e-3)


class Bowl(Term):
    """Squared distance of the pixels to what the style's mean says; another optimum than the photo, known exactly."""

    def __init__(self, goal: float, exponent: int = 2) -> None:
        super().__init__(["image"])
        self.goal, self.exponent = goal, exponent

    def forward(self, views: Views) -> Tensor:
        return (views.output["image"] - self.goal).pow(self.exponent).mean()


def test_l_bfgs_finds_a_known_optimum_and_says_that_it_can_do_no_more(eye: VGG, photo: Tensor) -> None:
    trace = optimise(aim(eye, bowl=Bowl(0.3)), photo, iterations=50)
    assert trace.exhausted
    assert trace.iterations < 10
    assert float((trace.picture - 0.3).abs().max()) < 1e-3
    assert trace.losses[0] == pytest.approx(float((photo - 0.3).square().mean()))
    at_once = optimise(aim(eye, bowl=Bowl(0.3)), torch.full_like(photo, 0.3), iterations=50)
    assert at_once.losses == (0.0,)
    assert at_once.exhausted


class Cliff(Bowl):
    """Not a number where a pixel is above 0.5, which a first long step will be."""

    def forward(self, views: Views) -> Tensor:
        return super().forward(views) + (0.5 - views.output["image"]).log().mean() * 0


def test_what_is_not_a_number_is_not_walked_into(eye: VGG, photo: Tensor) -> None:
    trace = optimise(aim(eye, cliff=Cliff(0.49)), 0.2 * photo, iterations=20)
    assert all(math.isfinite(loss) for loss in trace.losses)
    assert all(a > b for a, b in pairwise(trace.losses))
    assert trace.loss < 0.1 * trace.losses[0]
    assert bool(torch.isfinite(trace.picture).all())


def test_adam_goes_down_too(eye: VGG, photo: Tensor) -> None:
    objective = aim(eye)
    trace = optimise(objective, photo, iterations=12, optimizer="adam")
    assert trace.iterations == 12
    assert trace.evaluations == 13
    assert trace.loss < 0.7 * trace.losses[0]
    assert float(sum(objective(trace.picture, photo).values())) == pytest.approx(trace.loss, rel=1e-5)


def test_it_stops_where_it_is_told_to(eye: VGG, photo: Tensor) -> None:
    objective = aim(eye)
    whole = optimise(objective, photo, iterations=6)
    early = optimise(objective, photo, iterations=6, until=whole.losses[3] * 1.0001)
    assert early.iterations == 3
    assert optimise(objective, photo, iterations=6, until=whole.losses[0] + 1).iterations == 0


def test_where_it_starts(eye: VGG, photo: Tensor) -> None:
    objective = aim(eye)
    a, b, c = (optimise(objective, photo, iterations=1, start="noise", seed=seed) for seed in (1, 1, 2))
    assert a.losses == b.losses != c.losses
    from_picture = optimise(objective, photo, iterations=0, start=noise(4, 40, 48))
    assert torch.equal(from_picture.picture, noise(4, 40, 48))
    with pytest.raises(ValueError, match="must be alike"):
        optimise(objective, photo, iterations=1, start=noise(4, 40, 40))


def test_coarse_scales_come_first(eye: VGG) -> None:
    assert sides(512, 3) == [128, 256, 512]
    assert sides(300, 2) == [150, 300]
    assert sides(100, 4) == [100]
    assert sides(30, 2) == [30]
    photo, told = noise(1, 128, 140), []
    asked: list[int] = []

    def objective_at(side: int) -> Objective:
        asked.append(side)
        return aim(eye)

    trace = coarse_to_fine(objective_at, photo, scales=2, iterations=1, progress=lambda *x: told.append(x))
    assert asked == [64, 128]
    assert [x[:2] for x in told] == [(side, i) for side in (64, 128) for i in range(2)]
    assert trace.picture.shape == photo.shape
    assert trace.losses == tuple(x[2] for x in told[2:])
    small = optimise(aim(eye), images.fit(photo, short_side=64), iterations=1)
    enlarged = images.resize(small.picture.clamp(0, 1), 128, 140)
    assert trace.losses[0] == pytest.approx(float(sum(aim(eye)(enlarged, photo).values())), rel=1e-3)


# --- traces ---------------------------------------------------------------------------------------------


def test_the_score_is_the_iteration_at_which_a_loss_was_first_reached() -> None:
    trace = Trace((8.0, 4.0, 3.0, 3.5, 1.0), torch.zeros(1, 3, 1, 1), 9)
    expected = {9: 0, 8: 0, 6: 0.5, 4: 1, 3.25: 1.75, 3: 2, 2: 3.6, 1: 4}
    for loss, iteration in expected.items():
        assert iterations_to(trace, loss) == pytest.approx(iteration), loss
    assert iterations_to(trace, 0.99) == math.inf
    assert math.isnan(iterations_to(trace, math.nan))
    assert (trace.iterations, trace.loss) == (4, 1.0)


# --- cache ----------------------------------------------------------------------------------------------


def test_a_trace_is_computed_once(eye: VGG, photo: Tensor, tmp_path: Path) -> None:
    objective = aim(eye)
    first = cached(objective, photo, iterations=3, folder=tmp_path / "made" / "for it")
    calls = Calls(objective)
    again = cached(objective, photo, iterations=3, folder=tmp_path / "made" / "for it")
    shorter = cached(objective, photo, iterations=2, folder=tmp_path / "made" / "for it")
    calls.handle.remove()
    assert calls.of == []
    for kept in (again, shorter):
        assert kept.losses == first.losses
        assert (kept.evaluations, kept.exhausted) == (first.evaluations, first.exhausted)
        assert torch.equal(kept.picture, first.picture.half().float())
    (file,) = (tmp_path / "made" / "for it").iterdir()
    assert file.name == f"{fingerprint(objective, photo)}.safetensors"


def test_a_trace_that_ends_too_early_is_made_again(eye: VGG, photo: Tensor, tmp_path: Path) -> None:
    objective = aim(eye)
    first = cached(objective, photo, iterations=5, until=1e9, folder=tmp_path)
    assert first.iterations == 0
    assert cached(objective, photo, iterations=5, until=1e8, folder=tmp_path).iterations == 0
    goal = 0.9 * first.losses[0]
    longer = cached(objective, photo, iterations=5, until=goal, folder=tmp_path)
    assert longer.losses[-1] <= goal < longer.losses[-2]
    whole = cached(objective, photo, iterations=4, folder=tmp_path)
    assert whole.iterations == 4
    assert cached(objective, photo, iterations=4, until=-1, folder=tmp_path).losses == whole.losses
    assert len(list(tmp_path.iterdir())) == 1
    bowl = aim(eye, bowl=Bowl(0.3))
    done = cached(bowl, photo, iterations=30, folder=tmp_path)
    calls = Calls(bowl)
    assert cached(bowl, photo, iterations=1000, until=-1, folder=tmp_path).losses == done.losses
    assert calls.of == []
    calls.handle.remove()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no tensors at all" * 9])
def test_a_damaged_trace_is_made_again(damage: Any, eye: VGG, photo: Tensor, tmp_path: Path) -> None:
    objective = aim(eye)
    first = cached(objective, photo, iterations=1, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert cached(objective, photo, iterations=1, folder=tmp_path).losses == first.losses
    assert file.read_bytes() == whole


def test_another_s_trace_is_not_taken(eye: VGG, photo: Tensor, tmp_path: Path) -> None:
    trace = Trace((3.0, 2.0), photo.clone(), 2)
    trace_cache.write(tmp_path / "a.safetensors", "mine", trace)
    assert trace_cache.read(tmp_path / "a.safetensors", "mine", photo.shape) is not None
    assert trace_cache.read(tmp_path / "a.safetensors", "yours", photo.shape) is None
    assert trace_cache.read(tmp_path / "a.safetensors", "mine", photo[:, :, 1:].shape) is None
    assert trace_cache.read(tmp_path / "b.safetensors", "mine", photo.shape) is None


def test_the_fingerprint_knows_all_that_a_trace_depends_on(eye: VGG, photo: Tensor) -> None:
    style = painted(eye)
    marks = [
        fingerprint(aim(eye, style=style), photo),
        fingerprint(aim(eye, style=style), photo + 1 / 255),
        fingerprint(aim(eye, style=style), photo.transpose(2, 3)),
        fingerprint(aim(eye, style=painted(eye, 8)), photo),
        fingerprint(aim(eye, 0.6, style=style), photo),
        fingerprint(aim(eye, style=style, content=Content(weight=2), gram=Gram()), photo),
        fingerprint(aim(eye, style=style, content=Content(["relu2_2"]), gram=Gram()), photo),
        fingerprint(aim(eye, style=style, content=Content()), photo),
        fingerprint(aim(eye, style=style, bowl=Bowl(0.3)), photo),
        fingerprint(aim(eye, style=style, bowl=Bowl(0.3, 4)), photo),
        fingerprint(aim(VGG(LAYERS, random=True), style=style), photo),
        fingerprint(aim(VGG(LAYERS, dtype=torch.bfloat16), style=style), photo),
        fingerprint(aim(eye, style=style), photo, "adam"),
        fingerprint(aim(eye, style=style), photo, "lbfgs", "noise"),
        fingerprint(aim(eye, style=style), photo, "lbfgs", "noise", 1),
    ]
    assert len(set(marks)) == len(marks)
    assert fingerprint(aim(VGG(LAYERS), style=style).train(), photo.clone(), seed=3) == marks[0]


def test_a_cache_that_can_t_be_written_costs_a_warning(eye: VGG, photo: Tensor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="computed again the next time: can't make the folder"):
        trace = cached(aim(eye), photo, iterations=1, folder=tmp_path / "file" / "folder")
    assert trace.iterations == 1


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert trace_cache.default_folder() == tmp_path / "onestroke" / "references"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert trace_cache.default_folder() == Path(os.path.expanduser("~/.cache/onestroke/references"))


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos in it, which is where the test is."""
    monkeypatch.chdir(tmp_path)
    images.write("photo.png", noise(1, 48, 64))
    images.write("été (1)=a,b.png", noise(1, 20, 24), torch.full((1, 1, 20, 24), 0.5))
    images.write("painting.jpg", noise(7, 80, 96))
    images.write("tiny.png", noise(1, 12, 40))
    Path("broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return tmp_path


SHORT = ("iterations=2", "scales=1")


def test_the_command_paints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize.main(["style=starry_night", "input=photo.png", "output=new/out.png", "size=32", *SHORT]) == 0
    out, err = capsys.readouterr()
    assert out == f"{Path('new/out.png')}\n"
    assert "32 px, scale 1 of 1: 2 of 2, loss" in err
    assert images.read("new/out.png").rgb.shape == (1, 3, 32, 43)
    # again, by its defaults: beside the photo, and no larger than it
    assert optimize.main(["style=starry_night", "input=photo.png", *SHORT]) == 0
    painted = images.read("photo.reference.starry_night.png").rgb
    assert painted.shape == (1, 3, 48, 64)
    assert float((painted - images.read("photo.png").rgb).abs().mean()) > 0.01


def test_the_command_paints_like_a_picture_of_one_s_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["image=painting.jpg", "style_size=64", "input=été (1)=a,b.png", "output=./", "start=noise", "seed=2"]
    assert optimize.main([*given, "optimizer=adam", "strength=0.8", *SHORT]) == 0, capsys.readouterr().err
    picture = images.read("été (1)=a,b.reference.painting.png")
    assert picture.rgb.shape == (1, 3, 20, 24)
    assert picture.alpha is not None
    assert float(picture.alpha.mean()) == pytest.approx(0.5, abs=0.01)


def test_at_a_coarse_scale_the_painting_is_seen_smaller_too(folder: Path) -> None:
    objectives = reference.Objectives(None, "painting.jpg", 160, 0.5, 256, torch.device("cpu"))
    assert [objectives(side).style.size for side in (256, 128, 64)] == [160, 80, 64]
    objectives = reference.Objectives("udnie", None, 512, 0.5, 512, torch.device("cpu"))
    assert [objectives(side).style.size for side in (512, 256, 128)] == [512, 256, 256]
    assert not objectives(256).terms["content"].training


BAD = {
    "iteratoins=3": r"there is no option 'iteratoins': did you mean 'iterations'\?",
    "photo.png": r"input is given twice \(photo.png and photo.png\)",
    "iterations": "iterations has no value",
    "iterations=": "iterations has no value",
    "iterations=0": "iterations must be a whole number from 1 to 1000000, not '0'",
    "iterations=1.5": "iterations must be a whole number",
    "size=8": "size must be a whole number from 16",
    "scales=99": "scales must be a whole number from 1 to 8, not '99'",
    "seed=-1": "seed must be a whole number from 0",
    "strength=2": "strength must be a number from 0 to 1, not '2'",
    "strength=nan": "strength must be a number",
    "strength=strong": "strength must be a number from 0",
    "optimizer=sgd": "optimizer can't be 'sgd': known are adam, lbfgs",
    "start=middle": "start can't be 'middle': known are content, noise",
    "overwrite=yes": "overwrite must be true or false, not 'yes'",
    "input=photo.png": "input is given twice",
    "image=painting.jpg": "one of style and image is needed",
    "device=abacus": "device=abacus can't be used here",
    "style_size=300": r"style_size=300: the card of starry_night was measured at .* name a picture: image=\.\.\.",
    "output=out.gif": "output=out.gif: a painting is written as",
    "output=photo.png": "photo.png is one of the inputs, and is never overwritten",
    "output=painting.jpg": r"painting.jpg is there already: choose another output, or add overwrite=true",
    "output=photo.png/out.png": "can't make the folder photo.png",
}


@pytest.mark.parametrize("argument", BAD)
def test_a_bad_option_is_told_in_one_sentence(argument: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    assert optimize.main(["style=starry_night", "input=photo.png", argument]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert_one_sentence(err, BAD[argument])
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["style=starry_night"], "input is needed: input=photo.jpg"),
        (["input=photo.png"], "one of style and image is needed"),
        (["style=starry_nite", "input=photo.png"], "there is no style card 'starry_nite': did you mean 'starry_night'"),
        (["style=starry_night", "input=no.jpg"], "no.jpg"),
        (["style=starry_night", "input=."], r"'\.'"),
        (["style=starry_night", "input=broken.jpg"], "broken.jpg"),
        (["style=starry_night", "input=tiny.png"], "'tiny.png' is only 40 x 12; its shorter side must be at least 16"),
        (["image=tiny.png", "input=photo.png"], "image: tiny.png is only 40 x 12"),
        (["image=no.png", "input=photo.png"], "no.png"),
        (["image=painting.jpg", "input=photo.png", "output=painting.jpg", "overwrite=true"], "is never overwritten"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert optimize.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert_one_sentence(err, message)


def assert_one_sentence(told: str, message: str) -> None:
    assert told.startswith("onestroke: ")
    assert told.count("\n") == 1
    assert re.search(message, told), told
    assert "style." not in told


def test_overwriting_is_asked_for(folder: Path) -> None:
    given = ["style=starry_night", "input=photo.png", "output=painting.jpg", "size=16", *SHORT]
    assert optimize.main([*given, "overwrite=true"]) == 0
    with Image.open("painting.jpg") as picture:
        assert picture.size == (21, 16)


def test_too_little_memory_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(optimize, "coarse_to_fine", fail)
    assert optimize.main(["style=starry_night", "input=photo.png"]) == 2
    assert_one_sentence(capsys.readouterr().err, "not enough memory for size=512; take a smaller one")


def test_stopping_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(optimize, "coarse_to_fine", stop)
    assert optimize.main(["style=starry_night", "input=photo.png"]) == 130
    assert capsys.readouterr().err.endswith("stopped\n")


HELP = help_text(Options, optimize.USAGE)


def test_help_names_every_option() -> None:
    known = {line.split("=")[0].strip() for line in HELP.splitlines() if line.startswith("  ")}
    assert known == set(Options.__dataclass_fields__)
    defaults = parse(Options, ["a.png", "style=b"])
    assert defaults == parse(Options, ["input=a.png", "style=b"])
    for name in ("size", "style_size", "strength", "iterations", "scales", "optimizer", "start", "seed", "device"):
        assert f"  {name}={getattr(defaults, name)} " in HELP


def test_the_command_is_a_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (optimize.main(["--help"]), capsys.readouterr().out) == (0, HELP)
    assert (optimize.main([]), capsys.readouterr().out) == (2, HELP)
    done = Started(as_module, "onestroke", "optimize", "style=no", "input=photo.png", cwd=Path.cwd()).done()
    assert done.returncode == 2
    assert_one_sentence(done.stderr, "there is no style card 'no'")
