"""Measuring flicker: on motion that is known exactly, on a clip by another flow, and evaluate.py with both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from onestroke.cli.evaluate import main
from onestroke.cli.evaluate_options import Options
from onestroke.cli.options import parse
from onestroke.errors import UserError
from onestroke.evaluation.exact_motion import CLIPS, GAPS, Clip, clips, flicker, warping_error
from onestroke.evaluation.moving_report import strip_of_time
from onestroke.evaluation.real_motion import RealMotion
from onestroke.evaluation.stability import warp
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import read_document, save
from onestroke.video.steady import DEFAULT
from tests.clip_files import make_clip
from tests.running import run, shallow
from tests.test_flow import frame, scene, shifted

pytest.importorskip("cv2", reason="needs the extra video")

FLICKER = 0.05


@pytest.fixture(scope="module")
def made() -> dict[str, Clip]:
    return {clip.name: clip for clip in clips(scene(3, 128, 160), length=8, noise=0.0)}


def flickering(frames: Tensor) -> Tensor:
    """Frames with another brightness every other time: the warping error of 1 frame is FLICKER, of 2 it is 0."""
    return frames + FLICKER * (torch.arange(len(frames)) % 2)[:, None, None, None]


def test_there_is_a_clip_of_each_motion(made: dict[str, Clip]) -> None:
    assert tuple(made) == CLIPS
    assert all(clip.frames.shape == (8, 3, 128, 160) for clip in made.values())
    levels = made["pan"].frames * 255
    assert torch.equal(levels, levels.round()), "8 bits, as in a video"


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("gap", [1, 5])
def test_the_motion_is_what_it_is_said_to_be(name: str, gap: int, made: dict[str, Clip]) -> None:
    clip = made[name]
    still = float((clip.frames[gap:] - clip.frames[:-gap]).square().mean().sqrt())
    error = warping_error(clip.frames, clip, gap)
    assert error < 0.015
    assert name == "noise" or error < 0.5 * still, "resampling errs little beside what the motion changes"


def test_noise_is_the_error_of_frames_that_stand_still() -> None:
    clip = next(c for c in clips(scene(3, 128, 160) * 0.5 + 0.25, length=6, noise=0.01) if c.name == "noise")
    assert warping_error(clip.frames, clip, 1) == pytest.approx(0.01 * 2**0.5, rel=0.1)


@pytest.mark.parametrize("name", CLIPS)
def test_the_error_is_that_of_the_painter(name: str, made: dict[str, Clip]) -> None:
    clip = made[name]
    own = warping_error(clip.frames, clip, 1)
    assert warping_error(0.5 * clip.frames, clip, 1) == pytest.approx(0.5 * own, rel=1e-4)
    pictures = flickering(torch.zeros_like(clip.frames))
    assert warping_error(pictures, clip, 1) == pytest.approx(FLICKER, rel=1e-4)
    assert warping_error(pictures, clip, 2) == pytest.approx(0, abs=1e-6)


def test_what_is_covered_and_uncovered_is_left_out(made: dict[str, Clip]) -> None:
    clip = made["occlusion"]
    moved, known = clip.moved(clip.frames, 2, 5)
    assert 0.3 < float(known.float().mean()) < 0.9
    gap = (clip.frames[5] - moved).abs().amax(dim=0)
    assert float(gap[known].mean()) < 0.02
    assert float(gap[8:-8, 8:-8][~known[8:-8, 8:-8]].mean()) > 2 * float(gap[known].mean())
    assert not known[:8].any() and not known[:, -8:].any()


def test_texture_that_stands_still_on_a_moving_scene_is_an_error(made: dict[str, Clip]) -> None:
    texture = scene(8, 128, 160).expand(8, -1, -1, -1)
    assert warping_error(texture, made["pan"], 1) > 10 * warping_error(texture, made["noise"], 1)


def test_flicker_is_the_error_over_that_of_the_frames() -> None:
    photo = scene(3, 128, 160)
    assert flicker(lambda frame, past: frame, photo, ("pan", "zoom"), length=7) == pytest.approx(dict.fromkeys(GAPS, 1))
    calls = iter(range(1000))
    other = flicker(lambda frame, past: frame * 0.5 + 0.2 * (next(calls) % 2), photo, ("pan",), length=8)
    own = warping_error(next(clips(photo, length=8, names=("pan",))).frames, made_pan(photo), 1)
    assert other["short"] == pytest.approx(0.2 / own, rel=0.05), "1 and 5 frames on, its brightness is the other one"
    assert other["long"] > 5


def made_pan(photo: Tensor) -> Clip:
    return next(clips(photo, length=8, names=("pan",)))


def test_a_painter_gets_its_last_painting_where_everything_is_now() -> None:
    photo = scene(3, 128, 160)
    clip = made_pan(photo)
    seen: list[Tensor] = []

    def kept(frame: Tensor, past: Tensor | None) -> Tensor:
        if past is None:
            return frame
        seen.append(past)
        return torch.lerp(frame, past[:, :3], past[:, 3:])

    found = flicker(kept, photo, ("pan",), length=8)
    assert [tuple(past.shape) for past in seen] == [(1, 4, 128, 160)] * 7
    moved, known = clip.moved(clip.frames, 0, 1)
    assert torch.equal(seen[0][0, :3], moved) and torch.equal(seen[0][0, 3] > 0, known)
    assert found["short"] < 0.7, "resampled ever again, but never another picture"


def test_a_training_writes_the_flicker_into_its_style_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = run(shallow("network.controls=[]", steps=1, measure=True), tmp_path / "run")
    photo = seen.data.held_out[0]
    with torch.no_grad():
        wanted = flicker(lambda frame, past: seen.module.ema(frame).clamp(0, 1), photo, ("pan", "rotation"), length=7)
    metrics = read_document(seen.path).metrics
    for name in GAPS:
        assert metrics[f"measured/motion/{name}"] == pytest.approx(wanted[name], rel=1e-3)


def test_a_real_clip_is_measured_by_another_flow() -> None:
    frames = [frame(warp(scene(2), shifted(1.3 * t, 0.4 * t))) for t in range(7)]
    for gap in (1, 5):
        known = RealMotion(frames, gap)
        own = known.error(frames)
        still = np.sqrt(
            np.mean([np.square(b / 255 - a / 255).mean() for a, b in zip(frames, frames[gap:], strict=False)])
        )
        assert own < 0.3 * still
        dark = [(each // 2) for each in frames]
        assert known.error(dark) == pytest.approx(own / 2, rel=0.1)
    flat = [np.full_like(each, 100 + 20 * (t % 2)) for t, each in enumerate(frames)]
    assert RealMotion(frames, 1).error(flat) == pytest.approx(20 / 255, rel=1e-3)
    assert RealMotion(frames, 2).error(flat) == 0


def test_a_strip_of_time_has_the_middle_row_of_each_picture() -> None:
    pictures = [np.full((9, 5, 3), level, np.uint8) for level in (0, 51, 255)]
    pictures[1][:4], pictures[1][5:] = 7, 7
    strip = strip_of_time(pictures)
    assert strip.shape == (1, 3, 3, 5)
    assert strip[0, 0, :, 0].tolist() == pytest.approx([0, 0.2, 1])


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    torch.manual_seed(0)
    args = {"channels": [4, 4, 8], "blocks": 1, "ends": 3}
    document = Metadata({"name": "ResidualNetwork", "args": args}, {"name": "great_wave"})
    save(tmp_path / "wave.safetensors", ResidualNetwork([4, 4, 8], blocks=1, ends=3), document)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_evaluate_measures_exact_motion(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["ckpt=wave.safetensors", "motion=exact", "count=1", "size=64", "steady=0,0.5", "out=report"]
    assert main(given) == 0
    clips_found = json.loads((inside / "report/report.json").read_text())["clips"]
    assert [(one["clip"].split(": ")[-1], one["steady"]) for one in clips_found] == [
        (name, amount) for amount in (0, 0.5) for name in (*CLIPS, "all")
    ]
    for one in clips_found:
        assert all(one[name] > 0 for name in ("short", "long", "gram", "content")), one
    alone, steady = (one for one in clips_found if one["clip"] == "all")
    assert steady["short"] < alone["short"]
    page = (inside / "report/report.html").read_text()
    assert page.count("<figure class=time>") == 10 and "steady=0.5" in page
    assert "http" not in page, "it needs nothing beside it"
    assert "occlusion" in capsys.readouterr().out


def test_evaluate_measures_a_clip(inside: Path) -> None:
    make_clip(inside / "clip.mp4", times=range(9), size=(96, 96))
    assert main(["ckpt=wave.safetensors", "video=clip.mp4", "size=64", "frames=7", "out=report"]) == 0
    (found,) = json.loads((inside / "report/report.json").read_text())["clips"]
    assert (found["clip"], found["steady"], found["style"]) == ("clip.mp4", DEFAULT, "great_wave")
    make_clip(inside / "brief.mp4", times=range(3))
    assert main(["ckpt=wave.safetensors", "video=brief.mp4", "size=64", "out=other"]) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["ckpt=a", "motion=exactly"], "did you mean 'exact'"),
        (["ckpt=a", "motion=exact", "video=b.mp4"], "leave out video"),
        (["motion=exact"], "need ckpt="),
        (["ckpt=a", "motion=exact", "keep=true"], "leave out keep"),
        (["ckpt=a", "motion=exact", "steady=0,2"], "numbers from 0 to 1"),
        (["ckpt=a", "motion=exact", "steady=much"], "numbers from 0 to 1"),
        (["ckpt=a", "steady=0.5"], "belongs to motion=exact or video"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(Options, given).check()
