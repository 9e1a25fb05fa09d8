"""Films that a fleet paints in sections: the same as whole ones, whatever happens to the workers."""

from __future__ import annotations

import json
import logging
import os
import signal
import zlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[fleet]'")
pytest.importorskip("cv2", reason="needs pip install 'onestroke[video]'")
import pyarrow as pa

from onestroke.cli import fleet, infer
from onestroke.fleet import running
from onestroke.fleet.films import FilmPainter
from onestroke.fleet.inputs import Portion, Source, divided, portions
from onestroke.fleet.job import Job
from onestroke.fleet.ledger import MOST, Ledger
from onestroke.fleet.manifest import DONE, LEFT_OUT, SKIPPED, Manifest, Row
from onestroke.fleet.names import Places
from onestroke.fleet.painter import ALREADY, Painter
from onestroke.fleet.running import Workers, paint_all
from onestroke.fleet.shares import Share, folder_of, shares_of
from onestroke.inference.controls import StyleControls
from onestroke.stores import Store, join
from onestroke.video.encoding import PartWriter
from onestroke.video.painting import ClipPainter, Painted
from tests import fleets
from tests.clip_files import av, frame_times, make_clip, make_scenes, packets_of
from tests.object_stores import bucket
from tests.test_clip_resume import Killed, counting
from tests.test_fleet import painted, rows_of, worker

__all__ = ["bucket"]  # a fixture
CUTS, FRAMES = (8, 22, 28, 44, 52), 64
"""Of the film that is painted: sections begin at 0, 22 and 44."""
PLACE = "a.tiny.webm"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of several scenes with sound and chapters."""
    folder = tmp_path_factory.mktemp("film")
    made = make_scenes(folder / "made.webm", CUTS, FRAMES)
    path = folder / "a.webm"
    with av.open(str(made)) as source, av.open(str(path), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        base = Fraction(1, 1000)
        out.set_chapters(
            [{"id": n, "start": 6000 * n, "end": 6000 * (n + 1), "time_base": base, "metadata": {}} for n in range(2)]
        )
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return path


@pytest.fixture(scope="module")
def whole(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What infer.py makes of the film."""
    folder = tmp_path_factory.mktemp("whole")
    style, target = fleets.style(folder / "tiny.safetensors"), folder / PLACE
    assert infer.main([f"ckpt={style}", f"input={film}", f"output={target}"]) == 0
    return target


@pytest.fixture
def inside(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with the film and a style file; jobs run without Ray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "paint_all", fleets.here)
    fleets.style(tmp_path / "tiny.safetensors")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.webm").write_bytes(film.read_bytes())
    return tmp_path


def same(path: Path, whole: Path) -> bool:
    """Whether two paintings have the same packets of pictures and sound, and the same chapters."""
    kinds = [packets_of(path, kind) == packets_of(whole, kind) for kind in ("video", "audio")]
    with av.open(str(path)) as one, av.open(str(whole)) as other:
        return all(kinds) and len(one.chapters()) == 2 and one.chapters() == other.chapters()


def run() -> int:
    return fleet.main(["input=in", "output=out", "ckpt=tiny.safetensors"])


def sections(folder: str = "in", name: str = "a.webm", place: str = PLACE) -> list[Source]:
    """The film as workers get it."""
    film = Portion("films", folder, ((name, place),))
    shares = [one.share for one in divided(film, shares_of(folder, name))]
    return [Source(name, place, folder=folder, film=name, share=share) for share in shares]


def test_a_film_in_sections_is_the_film_that_infer_paints(inside: Path, whole: Path, film: Path) -> None:
    assert [Share.decoded(one.share).section.begin for one in sections()] == [None, 5, 10]
    assert run() == 0
    assert rows_of(inside / "out") == {"a.webm": (DONE, "")}
    assert painted(inside / "out") == {PLACE} and sorted(os.listdir("out")) == ["_manifest", PLACE]
    assert same(inside / "out" / PLACE, whole)
    keys = [time for time, key, _ in packets_of(whole) if key]
    assert keys == [0, Fraction(11, 2), 11], "where sections begin"
    assert frame_times(whole) == frame_times(film) and len(frame_times(whole)) == FRAMES
    assert packets_of(whole, "audio") == packets_of(film, "audio")


def encoded(patched: pytest.MonkeyPatch) -> list[object]:
    """All parts that are encoded from now on, and their frames: the time, the duration and a checksum of each."""
    given, begin, add = list[object](), PartWriter.__init__, PartWriter.add

    def begun(self: PartWriter, *settings: Any) -> None:
        given.append("part")
        begin(self, *settings)

    def added(self: PartWriter, rgb: np.ndarray, alpha: None, pts: int, duration: int) -> None:
        given.append((pts, duration, zlib.crc32(rgb.tobytes())))
        add(self, rgb, alpha, pts, duration)

    patched.setattr(PartWriter, "__init__", begun)
    patched.setattr(PartWriter, "add", added)
    return given


@pytest.mark.parametrize("color", ["style", pytest.param("match", marks=pytest.mark.slow)])
def test_what_is_encoded_is_what_infer_encodes(color: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an MP4, for which x264 with a largest bit rate gives other packets each time."""
    (inside / "in" / "a.webm").unlink()
    path = make_scenes(inside / "in" / "a.mp4", CUTS, FRAMES)
    given = encoded(monkeypatch)
    more = ["ckpt=tiny.safetensors", f"color={color}"]
    assert fleet.main(["input=in", "output=out", *more]) == 0
    found = given[:]
    given.clear()
    assert infer.main(["input=in/a.mp4", "output=whole.mp4", *more]) == 0
    assert found == given and found.count("part") == 3 and len(found) == FRAMES + 3
    target = inside / "out" / "a.tiny.mp4"
    assert frame_times(target) == frame_times(inside / "whole.mp4") == frame_times(path)
    assert packets_of(target, "audio") == packets_of(inside / "whole.mp4", "audio")


def test_sections_are_painted_in_any_order_by_any_worker(inside: Path, whole: Path) -> None:
    first, second = worker(inside), worker(inside)
    one, other, last = sections()
    assert first.paint([last]) == [] and second.paint([one]) == []
    assert len(list((inside / "out" / folder_of(PLACE)).glob("*.json"))) == 2
    assert [row.status for row in first.paint([other])] == [DONE]
    assert same(inside / "out" / PLACE, whole) and os.listdir("out") == [PLACE]
    again = second.paint([one])
    assert [(row.status, row.reason) for row in again] == [(DONE, ALREADY)], "a worker that was thought to be dead"


@pytest.mark.slow
@pytest.mark.parametrize("fatal", [25, 50])
def test_a_second_run_goes_on_with_the_sections_that_are_there(
    fatal: int, inside: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        counting(patched, fatal)
        with pytest.raises(Killed):
            run()
    assert painted(inside / "out") and PLACE not in painted(inside / "out")
    with monkeypatch.context() as patched:
        counted = counting(patched, None)
        assert run() == 0
    assert counted == [FRAMES - (22 if fatal == 25 else 44)]
    assert same(inside / "out" / PLACE, whole) and sorted(os.listdir("out")) == ["_manifest", PLACE]
    assert rows_of(inside / "out") == {"a.webm": (DONE, "")}


def test_sections_of_a_film_that_was_replaced_are_not_joined(
    inside: Path, whole: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_scenes(inside / "in" / "a.webm", (22,), 50)
    with monkeypatch.context() as patched:
        counting(patched, 45)
        with pytest.raises(Killed):
            run()
    (inside / "in" / "a.webm").write_bytes(film.read_bytes())
    assert run() == 0
    assert same(inside / "out" / PLACE, whole)


def test_what_is_known_of_sections_names_no_file_elsewhere(inside: Path) -> None:
    one, other, last = sections()
    painter = worker(inside)
    assert painter.paint([one]) == painter.paint([other]) == []
    folder = inside / "out" / folder_of(PLACE)
    known = sorted(folder.glob("*.json"))[0]
    document = json.loads(known.read_text())
    part = folder / document["parts"][0]["file"]
    part.rename(inside / "out" / "part.webm")
    document["parts"][0]["file"] = "../part.webm"
    known.write_text(json.dumps(document))
    (row,) = painter.paint([last])
    assert row.status == SKIPPED and "is damaged: choose another output" in row.reason
    assert PLACE not in painted(inside / "out")


@pytest.mark.slow
def test_a_short_film_and_one_of_another_kind_are_painted_whole(inside: Path) -> None:
    (inside / "in" / "a.webm").unlink()
    make_clip(inside / "in" / "short.mp4", range(9))
    make_clip(inside / "in" / "b.avi", range(150), codec="mpeg4", audio=None)
    (inside / "in" / "none.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    assert [len(shares_of("in", name)) for name in ("short.mp4", "b.avi", "none.mp4")] == [0, 0, 0]
    assert run() == 2
    assert {name: row[0] for name, row in rows_of(inside / "out").items()} == {
        "short.mp4": DONE, "b.avi": DONE, "none.mp4": SKIPPED,
    }  # fmt: skip


@pytest.mark.slow
def test_a_film_without_cuts_is_one_section(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_scenes(inside / "in" / "a.webm", (), 50)
    counted = counting(monkeypatch, None)
    assert run() == 0 and counted == [50]
    assert infer.main(["ckpt=tiny.safetensors", "input=in/a.webm", "output=whole.webm"]) == 0
    assert packets_of(inside / "out" / PLACE) == packets_of(inside / "whole.webm")


def spoiled(folder: Path) -> None:
    """Let the second section of a film seem to begin with another frame."""
    (known,) = folder.glob("*-0001.json")
    found = json.loads(known.read_text())
    found["first"]["checksum"] += 1
    known.write_text(json.dumps(found))


@pytest.mark.slow
def test_a_film_that_is_not_decoded_alike_is_painted_whole(inside: Path, whole: Path) -> None:
    one, other, last = sections()
    painter = worker(inside)
    assert painter.paint([one]) == painter.paint([other]) == []
    spoiled(inside / "out" / folder_of(PLACE))
    assert [row.status for row in painter.paint([last])] == [DONE]
    assert same(inside / "out" / PLACE, whole) and os.listdir("out") == [PLACE]


def test_a_damaged_film_is_painted_whole_and_its_damage_is_told(inside: Path, film: Path) -> None:
    content = bytearray(film.read_bytes())
    middle = packets_of(film)[30][2]
    place = content.index(middle)
    content[place : place + len(middle)] = b"\xff" * len(middle)
    (inside / "in" / "a.webm").write_bytes(content)
    assert len(sections()) == 3 and run() == 0
    assert rows_of(inside / "out") == {"a.webm": (DONE, "1 damaged frame left out")}
    assert len(frame_times(inside / "out" / PLACE)) == FRAMES - 1 and painted(inside / "out") == {PLACE}


def test_one_worker_paints_a_film_whole_and_the_others_leave_it(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, last = sections()
    painter = worker(inside)
    name = f"{Share.decoded(one.share).version}-0003-whole"
    Store(join("out", folder_of(PLACE))).write(name, b"1")
    counted = counting(monkeypatch, None)
    assert painter.paint([one]) == painter.paint([last]) == [] and counted == [0]
    assert [row.status for row in painter.paint([other])] == [DONE] and counted == [FRAMES]


@pytest.mark.slow
def test_two_workers_may_join_a_film_at_once(inside: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, last = sections()
    painter, second = worker(inside), worker(inside)
    assert painter.paint([one]) == painter.paint([other]) == []
    film, joined = FilmPainter._film, list[list[Row]]()

    def meanwhile(self: FilmPainter, *given: Any) -> Any:
        """The other worker is ready before this one has begun."""
        if not joined:
            joined.append([])
            joined[0] = second.paint([last])
        return film(self, *given)

    monkeypatch.setattr(FilmPainter, "_film", meanwhile)
    assert painter.paint([last]) == [] and [row.status for row in joined[0]] == [DONE]
    assert same(inside / "out" / PLACE, whole) and os.listdir("out") == [PLACE]


def test_a_section_that_kills_its_workers_is_found(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, finish = Ledger(), ClipPainter.finish

    def deadly(self: ClipPainter, painted: Painted) -> np.ndarray:
        if painted.prepared.frame.pts == 7000:
            raise Killed
        return finish(self, painted)

    monkeypatch.setattr(ClipPainter, "finish", deadly)
    one, other, last = sections()
    assert worker(inside, ledger).paint([one]) == []
    for _ in range(MOST):
        with pytest.raises(Killed):
            worker(inside, ledger).paint([other])
    assert worker(inside, ledger).paint([last]) == []
    (row,) = worker(inside, ledger).paint([other])
    assert (row.name, row.status, row.reason) == ("a.webm", SKIPPED, f"its worker died {MOST} times over it")


def test_what_fails_in_a_section_is_told_once_and_a_painting_is_left_out(
    inside: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Any, *given: Any) -> None:
        raise MemoryError

    (inside / "in" / "b.webm").write_bytes(whole.read_bytes())
    monkeypatch.setattr(FilmPainter, "_section", refuse)
    assert run() == 2
    assert rows_of(inside / "out") == {
        "a.webm": (SKIPPED, "MemoryError: "), "b.webm": (LEFT_OUT, "painting of OneStroke"),
    }  # fmt: skip
    assert "0 of 2 pictures painted" in capsys.readouterr().err


@pytest.mark.slow
def test_sections_in_an_object_store(
    bucket: tuple[Any, str], inside: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, options = bucket
    client.put_object(Bucket="archive", Key="in/deep/a.webm", Body=(inside / "in" / "a.webm").read_bytes())
    store, output = f"s3://archive/in{options}", f"s3://archive/out{options}"
    one, other, last = sections(store, "deep/a.webm", f"deep/{PLACE}")
    job = replace(worker(inside).job, output=output)
    painter = Painter(job, (inside / "tiny.safetensors").read_bytes(), Ledger())
    fetched = Counter[str]()
    fetch = Store.fetch

    def counted(self: Store, path: Path, name: str = "") -> None:
        fetched[name] += 1
        fetch(self, path, name)

    monkeypatch.setattr(Store, "fetch", counted)
    assert painter.paint([one]) == painter.paint([other]) == []
    assert [row.status for row in painter.paint([last])] == [DONE]
    assert fetched["deep/a.webm"] == 1, "a worker copies a film once"
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="archive", Prefix="out/")["Contents"]]
    assert [key for key in keys if not key.endswith("/")] == [f"out/deep/{PLACE}"]
    client.download_file("archive", f"out/deep/{PLACE}", "found.webm")
    assert same(inside / "found.webm", whole)


class Cluster:
    """A Ray whose tasks run here, and fail as those whose process dies where a film is named `fatal`."""

    exceptions: Any = SimpleNamespace(RayError=RuntimeError)

    def remote(self, function: Any) -> Any:
        def later(folder: str, name: str) -> Any:
            return lambda: function(folder, name)

        return SimpleNamespace(options=lambda **given: SimpleNamespace(remote=later))

    def get(self, future: Any) -> Any:
        found = future()
        if found[0].version == "fatal":
            raise RuntimeError
        return found


def test_a_film_whose_sections_can_t_be_told_is_painted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    films = [Portion("films", "in", ((name, f"{name}.out"),)) for name in ("fatal", "long")]
    monkeypatch.setattr(running, "shares_of", lambda folder, name: [Share(n, 2, 5, name) for n in range(2)])
    found = running._divided(Cluster(), films)
    assert found[0] == films[0]
    assert [Share.decoded(one.share).number for one in found[1:]] == [0, 1]
    assert [Portion.decoded(one.encoded()) for one in found] == found


def test_the_first_row_of_a_film_counts() -> None:
    told = (("ab", "12"), ("", ""), ("b", "3"), ("bcb", "456"))
    kinds = pa.schema([("name", pa.string()), ("status", pa.string())])
    tables = [pa.table([list(names), list(states)], kinds) for names, states in told]
    found = [row for table in running.first_rows(iter(tables)) for row in table.to_pylist()]
    assert [(row["name"], row["status"]) for row in found] == [("a", "1"), ("b", "2"), ("c", "5")]


@pytest.mark.slow
@pytest.mark.parametrize("actors", [1, 2])
def test_sections_on_ray_and_a_kill(actors: int, inside: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs pip install 'onestroke[fleet]'")
    monkeypatch.undo()
    monkeypatch.chdir(inside)
    make_scenes(inside / "in" / "0.webm", (), 8)
    told = list[Row]()

    def each(rows: list[Row]) -> None:
        if rows and not told:  # the short film is ready, and its worker has begun with a section
            os.kill(int(rows[0].worker.rpartition(":")[2]), signal.SIGKILL)
        told.extend(rows)

    style = inside / "tiny.safetensors"
    job = Job(str(inside / "out"), style.name, "", "tiny", StyleControls())
    films = list(portions(str(inside / "in"), {}, job.output, Places("tiny", "png")))
    # a thread for each worker: with others, sums are rounded in another way
    ray.init("local", num_cpus=actors, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        paint_all(films, job, style.read_bytes(), Manifest(job.output), Workers(actors), each=each)
        again = list[Row]()
        paint_all(films, job, style.read_bytes(), Manifest(job.output), Workers(actors), each=again.extend)
    finally:
        ray.shutdown()
    assert [(row.name, row.status) for row in told] == [("0.webm", DONE), ("a.webm", DONE)]
    assert [(row.name, row.reason) for row in again] == [("0.webm", ALREADY), ("a.webm", ALREADY)], "one row of each"
    assert packets_of(inside / "out" / PLACE) == packets_of(whole) and told[1].worker != told[0].worker
    assert sorted(os.listdir("out")) == ["0.tiny.webm", "_manifest", PLACE]
