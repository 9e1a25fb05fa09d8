"""The fleet on a Ray of this machine: two workers, one of which is killed in the middle."""

from __future__ import annotations

import io
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[fleet]'")
pytest.importorskip("ray.data", reason="needs pip install 'onestroke[fleet]'", exc_type=ImportError)
import pyarrow.parquet as pq
import ray

from onestroke.cli import fleet
from onestroke.errors import UserError
from onestroke.fleet import running
from onestroke.fleet.inputs import portions
from onestroke.fleet.job import Job
from onestroke.fleet.manifest import DONE, Manifest, Row
from onestroke.fleet.names import Places
from onestroke.fleet.running import Workers, paint_all
from onestroke.inference.controls import StyleControls
from tests import fleets
from tests.object_stores import bucket

__all__ = ["bucket"]  # a fixture
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of two CPUs, to which what is tested connects."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    more: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 200 * 2**20}
    ray.init("local", num_cpus=2, log_to_driver=False, logging_level=logging.ERROR, **more)
    yield
    ray.shutdown()


def kill(row: Row) -> None:
    """End the process of the worker that painted a picture, as a machine that fails would."""
    os.kill(int(row.worker.rpartition(":")[2]), signal.SIGKILL)


def parts(folder: Path) -> list[dict[str, str]]:
    """The rows of all parts of a manifest, whatever comes twice."""
    found = [pq.read_table(path).to_pylist() for path in sorted(folder.glob("_manifest/part-*.parquet"))]
    return [row for rows in found for row in rows]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_paints_nothing_twice(cluster: None, tmp_path: Path) -> None:
    style = fleets.style(tmp_path / "tiny.safetensors")
    fleets.photos(tmp_path / "in", 61)
    output = str(tmp_path / "out")
    left = list(portions(str(tmp_path / "in"), {}, output, Places("tiny", "png")))
    job = Job(output, style.name, "", "tiny", StyleControls())
    seen: list[Row] = []

    def each(rows: list[Row]) -> None:
        if not seen:
            kill(rows[0])
        seen.extend(rows)

    paint_all(left, job, style.read_bytes(), Manifest(output), Workers(2), each=each)
    found = parts(tmp_path / "out")
    assert Counter(row["name"] for row in found) == Counter(row.name for row in seen)
    assert len(found) == len({row["name"] for row in found}) == 64
    assert Counter(row["status"] for row in found) == {"done": 61, "skipped": 3}
    assert len(list((tmp_path / "out").rglob("*.tiny.png"))) == 61
    assert len({row["worker"] for row in found}) >= 2, "the work was shared"
    with pytest.raises(UserError, match="actors=8 are too many for a cluster of 2 CPUs"):
        paint_all(left, job, b"", Manifest(output), Workers(8))
    with pytest.raises(UserError, match="gpus=4, but the cluster has 0 GPUs"):
        paint_all(left, job, b"", Manifest(output), Workers(1, 4))


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("nobody\nis there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UserError, match=r"the Ray cluster at address=\S+ can't be reached: nobody") as told:
        running.connect(address)
    assert "\n" not in str(told.value)


# --- two thousand pictures in an object store -------------------------------------------------------------

COUNT = 2000


def kill_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have a worker killed once a third of the pictures are done; its name is then in the list."""
    note, killed, counts = running._note, list[str](), [0]

    def noted(package: Any, tables: Iterator[Any], manifest: Manifest, each: Any) -> None:
        def watch(rows: list[Row]) -> None:
            counts[0] += len(rows)
            if counts[0] > COUNT // 3 and not killed:
                killed.append(rows[0].worker)
                kill(rows[0])
            each(rows)

        note(package, tables, manifest, watch)

    monkeypatch.setattr(running, "_note", noted)
    return killed


@pytest.mark.slow
def test_two_thousand_pictures_in_s3_and_a_kill(
    bucket: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """2,000 of 2,000, none twice: an object store that counts how often each object is written says so.

    The figures of docs/fleet.md: python -m pytest -m slow tests/test_fleet_ray.py -s
    """
    client, options = bucket
    style = fleets.style(tmp_path / "tiny.safetensors")
    for i in range(COUNT):
        body = fleets.content(i, "JPEG", (96, 64) if i % 2 else (64, 96))
        client.put_object(Bucket="archive", Key=f"photos/{i % 20:02d}/{i:04d}.jpg", Body=body)
    killed = kill_in_the_middle(monkeypatch)
    ray.shutdown()  # workers have the environment that Ray was started in
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    addresses = [f"input=s3://archive/photos{options}", f"output=s3://archive/painted{options}"]
    assert fleet.main([*addresses, f"ckpt={style}", "format=jpg", "actors=2"]) == 0
    said = capsys.readouterr().err
    with capsys.disabled():
        print("\n" + "\n".join(line for line in said.splitlines() if "pictures" in line))
    assert killed and f"{COUNT:,} of {COUNT:,} pictures painted" in said
    pages = client.get_paginator("list_object_versions").paginate(Bucket="archive", Prefix="painted/")
    versions = Counter(one["Key"] for page in pages for one in page["Versions"] if "_manifest" not in one["Key"])
    assert len(versions) == COUNT and set(versions.values()) == {1}, "each written once"
    assert {key.removeprefix("painted/")[:3] for key in versions} == {f"{i:02d}/" for i in range(20)}
    body = client.get_object(Bucket="archive", Key="painted/_manifest/manifest.parquet")["Body"].read()
    rows = pq.read_table(io.BytesIO(body)).to_pylist()
    assert len(rows) == COUNT and {row["status"] for row in rows} == {DONE}
    assert fleet.main([*addresses, f"ckpt={style}", "format=jpg"]) == 0
    assert f"{COUNT:,} pictures were seen to before" in capsys.readouterr().err
