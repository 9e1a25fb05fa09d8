"""The fleet without Ray: names, inputs, the worker, the manifest, and the command line around them."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[fleet]'")
import pyarrow as pa
import pyarrow.parquet as pq

from onestroke.cli import fleet, infer
from onestroke.errors import UserError
from onestroke.fleet import client, ledger, names, running
from onestroke.fleet import job as jobs
from onestroke.fleet.inputs import Portion, Source, pictures, portions
from onestroke.fleet.job import Job
from onestroke.fleet.ledger import Ledger
from onestroke.fleet.manifest import DONE, LEFT_OUT, SKIPPED, Manifest, Row
from onestroke.fleet.names import Places
from onestroke.fleet.painter import ALREADY, Painter
from onestroke.fleet.progress import Progress, duration
from onestroke.fleet.running import Workers
from onestroke.imaging import images
from onestroke.inference.controls import StyleControls
from onestroke.provenance import reading
from tests import fleets
from tests.fleets import content

Told = tuple[int, str, str]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a style file and photos; what would run on Ray runs here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "paint_all", fleets.here)
    fleets.style(tmp_path / "tiny.safetensors")
    fleets.photos(tmp_path / "in")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Told:
    code = fleet.main(["ckpt=tiny.safetensors", *arguments])
    return code, *capsys.readouterr()


def rows_of(output: Path) -> dict[str, tuple[str, str]]:
    """Status and reason by name, as pyarrow reads them in the manifest."""
    table = pq.read_table(output / "_manifest" / "manifest.parquet").to_pylist()
    assert len({row["name"] for row in table}) == len(table)
    return {row["name"]: (row["status"], row["reason"]) for row in table}


def painted(output: Path) -> set[str]:
    found = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] != "_manifest"}


# --- the command line -------------------------------------------------------------------------------------


def test_a_folder_is_painted_as_infer_paints_it(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "input=in", "output=out", "strength=0.8", "batch=2")
    assert code == 2 and out == "out/_manifest/manifest.parquet\n"
    assert "6 of 9 pictures painted\n" in err and "1 skipped: it can't be" in err
    assert "1 skipped: it is empty; replace it with a whole copy" in err
    found = rows_of(inside / "out")
    assert [found[name][0] for name in ("000.png", "sub/001.png", "clip.mp4", "cut.jpg")] == [
        DONE, DONE, SKIPPED, SKIPPED,
    ]  # fmt: skip
    assert found["cut.jpg"][1].startswith("it is damaged or cut short"), "and no path of the worker"
    assert infer.main(["ckpt=tiny.safetensors", "strength=0.8", "input=in", "output=there/"]) == 2
    assert painted(inside / "out") == painted(inside / "there")
    for name in painted(inside / "out"):
        pictures = [np.asarray(Image.open(inside / folder / name)) for folder in ("out", "there")]
        assert np.array_equal(pictures[0], pictures[1])
        assert reading.read(inside / "out" / name).facts["StyleFile"] == "tiny.safetensors"


def test_a_second_run_goes_on(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "input=in", "output=out")
    before = {name: (inside / "out" / name).stat().st_mtime_ns for name in painted(inside / "out")}
    (inside / "in" / "empty.png").write_bytes(content(7))
    (inside / "in" / "new.jpg").write_bytes(content(8, "JPEG"))
    (inside / "in" / "000.jpg").write_bytes(content(9, "JPEG"))
    code, _, err = run(capsys, "input=in", "output=out")
    assert code == 2 and "6 pictures were seen to before" in err and "3 of 5 pictures painted" in err
    found = rows_of(inside / "out")
    assert [found[name][0] for name in ("empty.png", "new.jpg", "000.jpg", "cut.jpg")] == [DONE, DONE, DONE, SKIPPED]
    assert "000.jpg.tiny.png" in painted(inside / "out"), "since 000.tiny.png is the painting of 000.png"
    assert {name: (inside / "out" / name).stat().st_mtime_ns for name in before} == before
    for name in ("cut.jpg", "clip.mp4"):
        (inside / "in" / name).unlink()
    code, _, err = run(capsys, "input=in", "output=out")
    assert code == 0 and "0 of 0 pictures painted" in err and len(rows_of(inside / "out")) == 11


def test_an_output_holds_one_job(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "input=in", "output=out")[0] == 2
    for more, what in ((["strength=0.2"], "controls"), (["format=jpg"], "form"), (["mark=none"], "mark")):
        code, _, err = run(capsys, "input=in", "output=out", *more)
        assert code == 2 and f"holds paintings of another job (its {what} differs)" in err
    code, _, err = run(capsys, "input=in", "output=in")
    assert code == 2 and "output=in holds other files, such as " in err
    assert not (inside / "in" / "_manifest").exists()
    Path("out/_manifest/job.json").write_text("{")
    assert "is damaged" in run(capsys, "input=in", "output=out")[2]


def test_an_output_below_the_input_is_no_input(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        run(capsys, "input=in", "output=in/out", "mark=none")
    assert len(rows_of(inside / "in" / "out")) == 9
    assert not reading.read(inside / "in" / "out" / "000.tiny.png").source_type, "mark=none"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["input=gone", "output=out"], "there is no file or folder 'gone'"),
        (["input=in/000.png", "output=out"], "is one file, which infer.py paints"),
        (["input=nothing", "output=out"], "the folder 'nothing' is empty"),
        (["input=in", "output=out", "style=wave"], "this style file has no 'wave'"),
        (["input=in", "output=out", "quality=9"], "quality=9 is for JPEG and WebP, not for .png"),
        (["input=in", "output=out", "mark=c2pa"], "mark can't be 'c2pa'"),
        (["input=nope://a/b", "output=out"], "nope://a/b can't be opened"),
        (["input=in", "output=tiny.safetensors"], "can't be"),
        (["input=empty.txt", "output=out"], "lists no addresses"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    inside: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "nothing").mkdir()
    (inside / "empty.txt").write_text("photo.jpg\n")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and words in err and "Traceback" not in err and len(err.splitlines()) == 1


JOBS: dict[str, tuple[str, str, Any]] = {
    "output": ("output=b", "output", "b"), "style": ("style=tiny", "controls", StyleControls("tiny")),
    "strength": ("strength=0.3", "controls", StyleControls(strength=0.3)), "color": ("color=photo", "color", "photo"),
    "stroke": ("stroke=0.7", "controls", StyleControls(stroke=0.7)), "format": ("format=webp", "form", "webp"),
    "quality": ("quality=50", "quality", 50), "max_side": ("max_side=9", "max_side", 9),
    "batch": ("batch=5", "batch", 5),
    "mark": ("mark=none", "mark", "none"), "device": ("device=cuda", "device", "cuda"),
    "backend": ("backend=torch", "backend", "torch"),
    "actors": ("actors=3", "workers", (3, None)), "gpus": ("gpus=0.5", "workers", (None, 0.5)),
    "address": ("address=auto", "address", "auto"), "column": ("column=a", "column", "a"),
}  # fmt: skip


def test_no_option_is_left_out() -> None:
    assert set(JOBS) == {field.name for field in fields(fleet.Options)} - {"input", "ckpt"}


@pytest.mark.parametrize("option", JOBS)
def test_each_option_reaches_the_job(option: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument, name, expected = JOBS[option]
    seen: dict[str, Any] = {}

    def watch(left: Any, job: Job, style: bytes, manifest: Any, workers: Any, *more: Any) -> None:
        assert style == Path("tiny.safetensors").read_bytes() and more
        seen.update({field.name: getattr(job, field.name) for field in fields(Job)})
        seen.update(workers=(workers.count, workers.gpus), address=more[0], column=more[1])

    monkeypatch.setattr(fleet, "paint_all", watch)
    more = ["format=jpg"] if option == "quality" else []
    for given, same in ((["output=a"], False), ([argument, *more, *["output=c"] * (option != "output")], True)):
        fleet.main(["ckpt=tiny.safetensors", "input=in", *given])
        assert (seen[name] == expected) is same


class Future:
    """What a call to a stand-in for an actor returns."""

    def __init__(self, call: Any, arguments: Any) -> None:
        self.value = call(*arguments)


class Outside:
    """Stands for Ray, for a driver in a cluster: actors live here, and a call is done at once."""

    class exceptions:
        RayError = ConnectionError

    def remote(self, kind: Any) -> Any:
        class Made:
            def __init__(self) -> None:
                self.made = kind()

            def __getattr__(self, name: str) -> Any:
                made = getattr(self.made, name)
                return type("Method", (), {"remote": staticmethod(lambda *given: Future(made, given))})

        return type("Kind", (), {"options": lambda self, **more: type("K", (), {"remote": staticmethod(Made)})()})()

    def wait(self, futures: list[Future], timeout: float) -> tuple[list[Future], list[Future]]:
        return futures, []

    def get(self, future: Future) -> Any:
        return future.value


def test_a_run_from_outside_is_driven_within_the_cluster(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str | None] = []

    def connect(address: str | None) -> Outside:
        asked.append(address)
        return Outside()

    monkeypatch.setattr(client, "connect", connect)
    monkeypatch.setattr(client, "paint_all", fleets.here)
    monkeypatch.setattr(fleet, "paint_all", None)
    code, _, err = run(capsys, "input=in", "output=out", "address=ray://head:10001")
    assert (code, asked) == (2, ["ray://head:10001"]) and "6 of 9 pictures painted" in err
    assert len(rows_of(inside / "out")) == 9

    def refuse(*_: Any) -> None:
        raise UserError("no room")

    monkeypatch.setattr(client, "paint_all", refuse)
    code, _, err = run(capsys, "input=in", "output=other", "address=ray://head:10001")
    assert code == 2 and err.splitlines()[-1] == "onestroke: no room"


# --- inputs -----------------------------------------------------------------------------------------------


def sources(address: str, column: str | None = None, done: dict[str, str] | None = None) -> list[Source]:
    places = Places("tiny", "png")
    found = [Portion.decoded(one.encoded()) for one in portions(address, done or {}, "out", places)]
    return [source for one in found for source in pictures(one, column, Places("tiny", "png"))]


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def test_a_tar_is_read_in_order_and_stays_in_its_folder(tmp_path: Path) -> None:
    files = {
        "a.png": b"1",
        "a.json": b"{}",
        "../../b.jpg": b"2",
        "/c/d.png": b"3",
        "a.png/../e.png": b"4",
        "a.jpg": b"5",
    }
    tar(tmp_path / "shard-0.tar", files)
    found = sources(str(tmp_path))
    assert [(one.name, one.content) for one in found] == [
        ("shard-0/a.png", b"1"), ("shard-0/b.jpg", b"2"), ("shard-0/c/d.png", b"3"), ("shard-0/a.png/e.png", b"4"),
        ("shard-0/a.jpg", b"5"),
    ]  # fmt: skip
    assert [one.place for one in found[::4]] == ["shard-0/a.tiny.png", "shard-0/a.jpg.tiny.png"]
    assert [one.name for one in sources(str(tmp_path / "shard-0.tar"))][:2] == ["a.png", "b.jpg"]
    left = sources(str(tmp_path), done={"shard-0/a.png": "shard-0/a.tiny.png"})
    assert [one.place for one in left[:1]] == ["shard-0/b.tiny.png"] and left[-1].place == "shard-0/a.jpg.tiny.png"


def test_a_tar_that_breaks_off_costs_what_is_behind(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"{i}.png": content(i, size=(64, 64)) for i in range(3)}
    whole = tar(inside / "whole.tar", files).read_bytes()
    (inside / "cut.tar").write_bytes(whole[:20_000])
    code, _, err = run(capsys, "input=cut.tar", "output=out")
    assert code == 2 and "1 of 2 pictures painted" in err and "'cut.tar' can't be read as a tar" in err
    (inside / "noise.tar").write_bytes(bytes(range(256)) * 8)
    assert "'noise.tar' can't be read as a tar" in run(capsys, "input=noise.tar", "output=out2")[2]


def test_tables_hold_pictures_in_columns_of_bytes(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [content(i) for i in range(3)]
    pq.write_table(pa.table({"key": ["x/a.png", "b.png", None], "blob": data, "other": data[::-1]}), "plain.parquet")
    found = sources("plain.parquet")
    assert [(one.name, one.content) for one in found] == [
        ("x/a.png", data[0]),
        ("b.png", data[1]),
        ("00000002", data[2]),
    ]
    assert [one.content for one in sources("plain.parquet", "other")] == data[::-1]
    pictures = [{"bytes": data[0], "path": "p.png"}, {"bytes": None, "path": "q.png"}]
    pq.write_table(pa.table({"image": pictures, "label": [1, 2]}), "hub.parquet")
    code, _, err = run(capsys, "input=hub.parquet", "output=out")
    assert code == 2 and painted(inside / "out") == {"p.tiny.png"} and "skipped: the table holds no bytes of it" in err
    with pytest.raises(UserError, match=r"column=label: 'hub.parquet' has no such column of bytes, but image"):
        sources("hub.parquet", "label")
    pq.write_table(pa.table({"label": [1]}), "none.parquet")
    with pytest.raises(UserError, match="has no column of bytes"):
        sources("none.parquet")
    Path("broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="can't be read as Parquet"):
        sources("broken.parquet")


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A web server that has two pictures, one of which it gives at the second try; and what was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = self.path.startswith(("/a.png", "/busy.png"))
            busy = self.path == "/busy.png" and asked.count(self.path) == 1
            self.send_response(503 if busy else 200 if found else 404)
            self.end_headers()
            self.wfile.write(content(1) if found and not busy else b"no")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_list_of_addresses(
    inside: Path, web: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    base, asked = web
    lines = ["# photos", f"{base}/a.png", f"{base}/a.png", f"{base}/busy.png", f"{base}/gone.png", "file:///etc/passwd"]
    Path("list.txt").write_text("\n".join([*lines, f"{base}/a.png?size=2"]))
    code, _, err = run(capsys, "input=list.txt", "output=out")
    assert code == 2 and "3 of 4 pictures painted" in err and "1 skipped: it can't be had: 404" in err
    assert painted(inside / "out") == {f"127.0.0.1/{name}.tiny.png" for name in ("a", "busy", "a-size=2")}
    assert sorted(asked) == ["/a.png", "/a.png?size=2", "/busy.png", "/busy.png", "/gone.png"]


def test_other_stores_are_reached_by_fsspec(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/photos/a/{i}.png": content(i) for i in range(3)})
    for _ in range(2):
        code, out, _ = run(capsys, "input=memory://photos", "output=memory://painted")
        assert code == 0 and out == "memory://painted/_manifest/manifest.parquet\n"
    found = [name for name in memory.find("/painted") if "_manifest" not in name]
    assert found == [f"/painted/a/{i}.tiny.png" for i in range(3)]
    assert Image.open(io.BytesIO(memory.cat("/painted/a/2.tiny.png"))).size == (24, 18)


def test_names_stay_below_the_output() -> None:
    cases = {
        "../../a.png": "a.png", "/etc/passwd": "etc/passwd", "a/./b//c.png": "a/b/c.png", "..\\x\\y.png": "x/y.png",
        "_manifest/x.png": "__manifest/x.png", "a\nb\0.png": "a_b_.png", "...": "_", "": "_", "x" * 300: "x" * 180,
    }  # fmt: skip
    assert {name: names.safe(name) for name in cases} == cases
    assert names.of_address("https://h.org") == "h.org/_" and names.of_address("http://h.org/%2e%2e/x") == "h.org/x"
    assert names.of_address("https://h.org/p%20q/../r.jpg?a=1&b=/2") == "h.org/p q/r-a=1&b=_2.jpg"


# --- the worker -------------------------------------------------------------------------------------------


def worker(folder: Path, own: Ledger | None = None, **more: Any) -> Painter:
    path = fleets.style(folder / "tiny.safetensors")
    job = Job(str(folder / "out"), path.name, "", "tiny", StyleControls(), **more)
    return Painter(job, path.read_bytes(), own or Ledger())


def source(name: str, seed: int = 0) -> Source:
    return Source(name, f"{name}.tiny.png", content(seed))


def test_pictures_of_one_size_are_painted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = worker(tmp_path, batch=2)
    seen: list[tuple[int, ...]] = []
    paint = own.stylizer.paint

    def watched(image: torch.Tensor, **more: Any) -> torch.Tensor:
        seen.append(tuple(image.shape))
        return paint(image, **more)

    monkeypatch.setattr(own.stylizer, "paint", watched)
    given = [Source(str(i), f"{i}.png", content(i, size=(20, 10 + 4 * (i % 2)))) for i in range(6)]
    rows = own.paint(given)
    assert {row.name for row in rows if row.status == DONE} == set("012345")
    assert sorted(seen) == [(1, 3, 10, 20), (1, 3, 14, 20), (2, 3, 10, 20), (2, 3, 14, 20)]
    assert own.ledger.counts(list("012345")) == [0] * 6


def test_a_picture_that_can_t_be_painted_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = worker(tmp_path, batch=3)
    paint = own.stylizer.paint
    bad = np.asarray(Image.open(io.BytesIO(content(1))), dtype=np.float32)[0, 0, 0] / 255

    def fussy(image: Any, **more: Any) -> Any:
        if (image[:, 0, 0, 0] == float(bad)).any():
            raise UserError("too blue")
        return paint(image, **more)

    monkeypatch.setattr(own.stylizer, "paint", fussy)
    monkeypatch.setattr(images, "encoded", failing(images.encoded, "c.tiny.png"))
    rows = {row.name: (row.status, row.reason) for row in own.paint([source("a"), source("b", 1), source("c", 2)])}
    assert rows == {"a": (DONE, ""), "b": (SKIPPED, "too blue"), "c": (SKIPPED, "ValueError: odd")}


def failing(encoded: Any, name: str) -> Any:
    def encode(path: Path, *more: Any) -> bytes:
        if path.name == name:
            raise ValueError("odd")
        made: bytes = encoded(path, *more)
        return made

    return encode


def test_what_a_dead_worker_has_written_is_not_painted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, shared = worker(tmp_path), Ledger()
    own.ledger = shared
    own.paint([source("a")])
    shared.begin(["a", "b"])  # as the worker that died had noted
    monkeypatch.setattr(own, "_together", lambda sources: [Row(one.name, "", DONE) for one in sources])
    rows = own.paint([source("a"), source("b", 1)])
    assert [(row.name, row.reason) for row in rows] == [("a", ALREADY), ("b", "")]
    assert shared.begun == {}


def test_a_picture_that_kills_its_workers_is_found_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = worker(tmp_path)
    painting = own._together

    def deadly(given: list[Source]) -> list[Row]:
        if any(one.name == "killer" for one in given):
            raise SystemExit("dead")
        return painting(given)

    monkeypatch.setattr(own, "_together", deadly)
    window = [source("before"), source("killer", 1), source("behind", 2)]
    for _ in range(ledger.MOST):
        with pytest.raises(SystemExit):
            own.paint(window)
    rows = {row.name: row for row in own.paint(window)}
    assert [rows[one].status for one in ("before", "killer", "behind")] == [DONE, SKIPPED, DONE]
    assert rows["killer"].reason == "its worker died 3 times over it" and rows["before"].reason == ALREADY


def test_paintings_are_left_out(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(["ckpt=tiny.safetensors", "input=in/000.png"]) == 0
    run(capsys, "input=in", "output=out")
    assert rows_of(inside / "out")["000.tiny.png"] == (LEFT_OUT, "painting of OneStroke")


class Cluster:
    """Stands for Ray with some resources."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self.resources


@pytest.mark.parametrize(
    ("resources", "workers", "expected"),
    [
        ({"CPU": 2}, Workers(), (2, 0.0, 0.9)),
        ({"CPU": 96, "GPU": 8}, Workers(), (8, 1.0, 4.0)),
        ({"CPU": 16, "GPU": 8}, Workers(), (8, 1.0, 1.975)),
        ({"CPU": 96, "GPU": 8}, Workers(None, 0.5), (16, 0.5, 4.0)),
        ({"CPU": 96, "GPU": 8}, Workers(3, 0), (3, 0.0, 95.8 / 3)),
    ],
)
def test_there_is_a_worker_for_each_gpu_or_core(
    resources: dict[str, float], workers: Workers, expected: tuple[float, ...]
) -> None:
    assert running._sized(Cluster(**resources), workers) == pytest.approx(expected)


def test_what_a_cluster_has_not_is_told() -> None:
    for workers, words in (
        (Workers(9), "actors=9 with 1 GPUs each, but the cluster has 8 GPUs"),
        (Workers(None, 9), "gpus=9, but the cluster has 8 GPUs"),
        (Workers(200, 0), "actors=200 are too many for a cluster of 16 CPUs"),
    ):
        with pytest.raises(UserError, match=words):
            running._sized(Cluster(CPU=16, GPU=8), workers)


# --- the manifest and the progress ------------------------------------------------------------------------


def test_a_picture_s_last_row_counts(tmp_path: Path) -> None:
    first = Manifest(str(tmp_path))
    first.add([Row("a", "", SKIPPED, "odd"), Row("b", "b.png", DONE), Row("c", "", LEFT_OUT, "a video")])
    first.add([])
    again = Manifest(str(tmp_path))
    again.add([Row("a", "a.png", DONE, "", "w")])
    found = Manifest(str(tmp_path))
    assert found.settled() == {"a": "a.png", "b": "b.png", "c": ""}
    found.close()
    assert rows_of(tmp_path) == {"a": (DONE, ""), "b": (DONE, ""), "c": (LEFT_OUT, "a video")}
    (tmp_path / "_manifest" / "part-000009-x.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"part-000009-x\.parquet' is no part of a manifest"):
        Manifest(str(tmp_path))


def test_a_job_is_the_same_whatever_the_machine(tmp_path: Path) -> None:
    job = Job(str(tmp_path / "out"), "a.safetensors", "1", "tiny", StyleControls("x", 0.5))
    assert not jobs.begin(job)
    assert jobs.begin(Job(job.output, "b.safetensors", "1", "tiny", StyleControls("x", 0.5), device="cuda", batch=9))
    with pytest.raises(UserError, match="its style file differs"):
        jobs.begin(Job(job.output, "a.safetensors", "2", "tiny", StyleControls("x", 0.5)))


def test_progress_counts_from_the_first_result(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress(1000, lambda: now[0])
    now[0] = 60.0  # in which the workers start
    progress.add(10, 0)
    now[0] = 70.0
    progress.add(38, 2)
    assert progress.line() == "50 of 1,000 pictures, 2 of them skipped, 4.0 a second, 4 min left"
    assert capsys.readouterr().err.splitlines()[-1] == progress.line()
    assert Progress(None).line() == "0 pictures"
    assert [duration(seconds) for seconds in (90, 200, 9000)] == ["90 s", "3 min", "2 h"]
