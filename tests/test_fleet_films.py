"""Films in a fleet: painted as infer.py paints them, one at a time, and fetched by the worker itself."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[fleet]'")
pytest.importorskip("cv2", reason="needs pip install 'onestroke[video]'")
from onestroke.cli import fleet, infer
from onestroke.fleet.films import SUFFIXES, form_of, is_film
from onestroke.fleet.inputs import portions
from onestroke.fleet.manifest import DONE, LEFT_OUT, SKIPPED
from onestroke.fleet.names import Places
from onestroke.imaging import finding
from onestroke.provenance.clips import xmp_of
from onestroke.stores import Store
from tests import fleets
from tests.clip_files import av, make_clip
from tests.test_fleet import painted, rows_of


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with films, a photo and a style file; jobs run without Ray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "paint_all", fleets.here)
    fleets.style(tmp_path / "tiny.safetensors")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    make_clip(tmp_path / "in" / "deep" / "a?b.MP4", size=(96, 128))  # x264 encodes smaller frames otherwise each time
    make_clip(tmp_path / "in" / "old.avi", codec="mpeg4", audio=None)
    (tmp_path / "in" / "photo.png").write_bytes(fleets.content(0))
    (tmp_path / "in" / "cut.mkv").write_bytes((tmp_path / "in" / "old.avi").read_bytes()[:400])
    return tmp_path


def decoded(path: Path) -> tuple[np.ndarray, list[bytes]]:
    """The frames of a film, and the packets of its sound."""
    with av.open(str(path)) as film:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
    with av.open(str(path)) as film:
        sound = [bytes(packet) for packet in film.demux(film.streams.audio)] if film.streams.audio else []
    return frames, sound


def test_films_are_painted_as_infer_paints_them(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet.main(["input=in", "output=out", "ckpt=tiny.safetensors", "strength=0.8"]) == 2
    assert painted(inside / "out") == {"deep/a_b.tiny.mp4", "old.tiny.mkv", "photo.tiny.png"}
    found = rows_of(inside / "out")
    assert {name: status for name, (status, _) in found.items()} == {
        "deep/a_b.MP4": DONE, "old.avi": DONE, "photo.png": DONE, "cut.mkv": SKIPPED,
    }  # fmt: skip
    assert "can't be" in found["cut.mkv"][1] and "/" not in found["cut.mkv"][1], "and no path of the worker"
    clip = ["ckpt=tiny.safetensors", "strength=0.8", "input=in/deep/a?b.MP4", "output=there.mp4"]
    assert infer.main(clip) == 0
    frames, sound = decoded(inside / "out" / "deep" / "a_b.tiny.mp4")
    expected = decoded(inside / "there.mp4")
    assert np.array_equal(frames, expected[0]) and sound == expected[1] and sound
    assert b"tiny.safetensors" in (xmp_of(inside / "out" / "deep" / "a_b.tiny.mp4") or b"")
    assert fleet.main(["input=out/deep", "output=again", "ckpt=tiny.safetensors"]) == 0
    assert rows_of(inside / "again") == {"a_b.tiny.mp4": (LEFT_OUT, "painting of OneStroke")}
    before = (inside / "out" / "old.tiny.mkv").stat().st_mtime_ns
    capsys.readouterr()
    assert fleet.main(["input=in", "output=out", "ckpt=tiny.safetensors", "strength=0.8"]) == 2
    assert "3 pictures were seen to before" in capsys.readouterr().err
    assert (inside / "out" / "old.tiny.mkv").stat().st_mtime_ns == before


def test_each_film_is_a_portion_that_holds_none_of_it(inside: Path) -> None:
    found = list(portions("in", {}, "out", Places("tiny", "png")))
    assert [(one.kind, len(one.members)) for one in found] == [("files", 1), *[("films", 1)] * 3]
    places = {place for one in found for _, place in one.members}
    assert places == {"photo.tiny.png", "deep/a_b.tiny.mp4", "old.tiny.mkv", "cut.tiny.mkv"}
    assert sum(len(one.encoded()) for one in found) < 1000


def test_films_are_known_by_the_names_that_infer_knows(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"film{suffix}"
        path.write_bytes(b"\x47" + bytes(187) + b"\x47")  # MPEG-TS, which .ts may be or not
        assert finding.is_film(path) and is_film(path.name.upper()), suffix
    assert not is_film("mp4") and not is_film("a.gif")
    assert (form_of("a.webm"), form_of("a.MOV"), form_of("a.mpg")) == ("webm", "mov", "mkv")


def test_a_film_is_fetched_and_put_whole(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(9_000_000)  # more than is copied at once
    (tmp_path / "a").write_bytes(content)
    Store(str(tmp_path / "there")).put("x/b", tmp_path / "a")
    Store(str(tmp_path / "there")).fetch(tmp_path / "c", "x/b")
    assert (tmp_path / "c").read_bytes() == content
    assert [path.name for path in (tmp_path / "there" / "x").iterdir()] == ["b"]


@pytest.mark.slow
def test_films_on_ray(inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ray = pytest.importorskip("ray", reason="needs pip install 'onestroke[fleet]'")
    monkeypatch.undo()
    monkeypatch.chdir(inside)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        assert fleet.main(["input=in", "output=out", "ckpt=tiny.safetensors", "actors=2"]) == 2
    finally:
        ray.shutdown()
    assert "3 of 4 pictures painted" in capsys.readouterr().err
    assert painted(inside / "out") == {"deep/a_b.tiny.mp4", "old.tiny.mkv", "photo.tiny.png"}
