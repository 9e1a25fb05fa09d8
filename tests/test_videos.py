"""A folder of clips as a source: which frames, in which order, and what becomes of clips that can't be read."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onestroke.data.chains import Chains, Link
from onestroke.data.datamodule import Clips, PhotoBatches
from onestroke.data.scenes import Scenes
from onestroke.data.videos import Videos
from onestroke.errors import UserError
from onestroke.networks.assignment import Draw
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.training.pasts import Pasts, pasts_of
from onestroke.training.settings import Settings
from onestroke.video.flow import motion
from tests.running import composed, run
from tests.test_recurrent import recurrent_run

av = pytest.importorskip("av")
pytest.importorskip("cv2")

SIDE = 96


def clip(path: Path, count: int, seed: int = 0, step: int = 2) -> Path:
    """A clip that pans to the right by `step` pixels a frame; the brightness of its first row counts the frames."""
    path.parent.mkdir(exist_ok=True)
    coarse = np.random.default_rng(seed).integers(60, 200, (14, 60, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = SIDE + 16, SIDE, "yuv444p"
        for i in range(count):
            picture = scene[:SIDE, i * step : i * step + SIDE + 16].copy()
            picture[:8] = 4 * i
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    clip(root / "a.mp4", 60)
    clip(root / "more" / "b.MKV", 8, seed=1)
    (root / "notes.txt").write_text("no clip")
    (root / ".c.mp4").write_bytes(b"hidden")
    return root


def counted(frame: np.ndarray) -> int:
    """The number of a frame in its clip."""
    return round(float(np.median(frame[2:5, 4:-4])) / 4)


def whole(source: Videos, first: int, age: int) -> np.ndarray:
    """A frame that is cut at the largest size."""
    return source.frame(Link(first, age), 3, SIDE)[0]


def test_a_chain_is_frames_that_follow_one_another_cut_at_one_place(folder: Path) -> None:
    source = Videos(str(folder))
    assert isinstance(source, Clips) and not isinstance(Scenes(), Clips)
    lengths = {Path(path).name: length for path, length in source.clips()}
    assert lengths == {"a.mp4": 54, "b.MKV": 8}, "the last tenth is held out"
    starts, short = set(), 0
    for first in range(40):
        numbers = [counted(whole(source, first, age)) for age in range(24)]
        if max(numbers) < 8:  # of the clip of eight frames, forwards and backwards
            expected = [min(i % 14, 14 - i % 14) for i in range(24)]
            short += numbers == expected
        else:
            assert numbers == list(range(numbers[0], numbers[0] + 24)) and numbers[-1] < 54
            starts.add(numbers[0])
    assert len(starts) > 8 and short > 0
    assert np.array_equal(whole(Videos(str(folder)), 5, 7), whole(source, 5, 7)), "from its arguments alone"
    assert np.array_equal(source.sample(5, 3, SIDE)[0], whole(source, 5, 0))
    assert {each.shape for each in (source.sample(1, 0, 40)[0], *source.held_out(40))} == {(40, 40, 3)}


def test_held_out_frames_are_from_the_end_of_clips(folder: Path) -> None:
    found = [counted(frame) for frame in Videos(str(folder), validation=2).held_out(SIDE)]
    assert found[0] == 54


def test_a_bad_clip_costs_itself_and_is_named(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "good.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "cut.mp4").write_bytes((folder / "a.mp4").read_bytes()[:3000])
    source = Videos(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        source.preflight()
    assert [Path(path).name for path, _ in source.clips()] == ["good.mp4"]
    assert all(f"{name} is left out: can't be" in caplog.text for name in ("noise.mp4", "cut.mp4"))
    (tmp_path / "good.mp4").rename(tmp_path / "other.mp4")
    clip(tmp_path / "good.mp4", 30)
    two = Videos(str(tmp_path))
    assert len(two.clips()) == 2
    (tmp_path / "good.mp4").write_bytes(b"gone")
    said = [two.sample(n, 0, 48)[1] for n in range(8)]
    assert 0 < sum(map(bool, said)) < 8
    assert all("good.mp4: can't be" in each[0] for each in said if each)
    (tmp_path / "other.mp4").unlink()
    with pytest.raises(UserError, match=r"no clip in .* can be read any more \(one .*(good|other)\.mp4: can't be"):
        two.frame(Link(100, 0), 0, 48)


@pytest.mark.parametrize(("root", "says"), [
    ("", "no folder of clips is given"), ("missing", "there is no folder"), ("empty", "none of 0 clips in"),
    ("bad", r"none of 1 clips in .*bad can be used \(one can't be opened"),
])  # fmt: skip
def test_a_folder_without_clips_is_said(root: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "bad"):
        (tmp_path / name).mkdir()
    (tmp_path / "bad" / "x.mp4").write_bytes(b"no clip")
    with pytest.raises(UserError, match=says):
        Videos(root).preflight()


def test_batches_are_frames_where_a_run_paints_clips_and_else_first_pictures(folder: Path) -> None:
    source = Videos(str(folder))
    for real in (True, False):
        chains = Chains(2, seed=3, real=real)
        data = PhotoBatches(source, 2, 48, 3, workers=0, chains=chains)
        batches = iter(data.train_dataloader())
        for step in range(6):
            links = [chains.link(n) for n in (2 * step, 2 * step + 1)]
            expected = [source.frame(link if real else Link(link.first, 0), 3, 48)[0] for link in links]
            assert np.array_equal(next(batches)["photos"].numpy(), np.stack(expected))


def settings(**more: Any) -> Settings:
    return Settings.of({**composed(), "crop": 64, "batch_size": 2, **more})


def test_pasts_of_clips_are_moved_along_the_flow_that_is_estimated(folder: Path) -> None:
    source = Videos(str(folder))
    network = RecurrentNetwork([4, 8], 1)
    assert pasts_of(RealtimeNetwork([4, 8], 1), source, settings(), 1, motion) is None
    for given, flow, real in ((Scenes(), motion, False), (source, None, False), (source, motion, True)):
        made = pasts_of(network, given, settings(), 1, flow)
        assert made is not None and made.chains == Chains(32, 0, real) and len(made.films[0]) == (32 if real else 0)
    pasts, draw = Pasts(Chains(2, 1, real=True), 64, motion), Draw(Conditioning(), 1, 1, 0.5, 0, 0.5)
    number = next(n for n in range(2, 400) if pasts.chains.link(n).age == 1)
    coarse = torch.rand(1, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    scene = torch.nn.functional.interpolate(coarse, (72, 72), mode="bicubic").clamp(0, 1)
    before, now = scene[..., 4:68, :64], scene[..., 4:68, 3:67]
    pasts.keep(1 - before, before, [number - 2])
    _, chosen = pasts.frames(now, [number], draw)
    last = chosen.before[0]
    assert float(last.known.mean()) > 0.4
    error = ((last.painting - (1 - now)).abs() * last.known).sum() / last.known.sum() / 3
    assert float(error) < 0.03
    pasts.flow = lambda one, other: replace(motion(one, other), cut=True)
    _, chosen = pasts.frames(now, [number], draw)
    assert chosen.past is not None and float(chosen.past[:, 3:].max()) == 0, "nothing is known after a cut"


def test_a_run_trains_on_clips_and_says_what_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {**composed("data=videos", f"data.root={folder}")["data"], "validation": 1}
    seen = run({**recurrent_run(steps=2), "data": data}, tmp_path / "run")
    assert seen.terms[-1] == {"content", "gram", "temporal"}
    assert Videos(str(folder)).describe() == f"videos: 2 in {folder}"
