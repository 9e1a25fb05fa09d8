"""Run a job on Ray: portions are read by tasks, painted by actors that hold the style, and noted in the manifest."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from onestroke.errors import UserError, printable
from onestroke.fleet.inputs import Portion, Source, divided, pictures
from onestroke.fleet.job import Job
from onestroke.fleet.ledger import Ledger, RemoteLedger
from onestroke.fleet.manifest import DONE, Manifest, Row
from onestroke.fleet.names import Places
from onestroke.fleet.painter import Painter
from onestroke.fleet.shares import shares_of
from onestroke.packages import require
from onestroke.stores import EXTRA

_READERS = 0.1  # CPUs of a task that reads, which mostly waits
_WINDOW = 16  # pictures that a worker is given at once, or four batches
_FLUSH_ROWS, _FLUSH_SECONDS = 5000, 30.0  # after which a part of the manifest is written
_BLOCK = 2**25  # bytes of pictures that travel together
_FEW = 4  # films for each worker; more are not divided, as the workers have enough to do


@dataclass(frozen=True)
class Workers:
    """The actors. count: None for one for each GPU, or each CPU where there is none. gpus: of each; None for one."""

    count: int | None = None
    gpus: float | None = None


def tables(portion: Portion, column: str | None, places: Places) -> Iterator[Any]:
    """The pictures of a portion, some in a table each, with the columns of a Source."""
    waiting: list[Source] = []
    try:
        for source in pictures(portion, column, places):
            waiting.append(source)
            if len(waiting) >= _WINDOW or sum(len(one.content) for one in waiting) >= _BLOCK:
                yield table_of(waiting)
                waiting = []
    except UserError as error:  # a table or tar that breaks off costs what is behind that place
        waiting.append(Source(portion.address, "", problem=str(error)))
    if waiting:
        yield table_of(waiting)


def table_of(sources: Sequence[Source]) -> Any:
    """Pictures as a table of Arrow."""
    pyarrow = require("pyarrow", EXTRA)
    text = pyarrow.string()
    columns = {field.name: [getattr(one, field.name) for one in sources] for field in fields(Source)}
    kinds = [(name, pyarrow.large_binary() if name == "content" else text) for name in columns]
    return pyarrow.table(columns, schema=pyarrow.schema(kinds))


class Worker:
    """The actor: a Painter for tables of Arrow."""

    def __init__(self, job: Job, content: bytes, ledger: Any, threads: int) -> None:
        self.painter = Painter(job, content, RemoteLedger(require("ray", EXTRA), ledger), threads)

    def __call__(self, batch: Any) -> Any:
        """A table of pictures -> a table with the columns of a Row."""
        names = [field.name for field in fields(Source)]
        columns = [batch.column(name).to_pylist() for name in names]
        rows = self.painter.paint([Source(*values) for values in zip(*columns, strict=True)])
        pyarrow = require("pyarrow", EXTRA)
        kept = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Row)}
        return pyarrow.table(kept, schema=pyarrow.schema([(name, pyarrow.string()) for name in kept]))


def connect(address: str | None) -> Any:
    """Ray, connected to a cluster, or to one of its own on this machine.

    Ray reports its use to its makers unless RAY_USAGE_STATS_ENABLED=0 is set, so this sets it where nothing is.

    Raises:
        UserError: there is no Ray, or no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = require("ray", EXTRA)
    require("ray.data", EXTRA)
    if not ray.is_initialized():
        try:
            with _silent():
                ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises exceptions of many kinds here
            where = f"the Ray cluster at address={address}" if address else "Ray on this machine"
            raise UserError(f"{where} can't be reached: {printable(error, 300)}") from error
    return ray


@contextmanager
def _silent() -> Iterator[None]:
    """Context manager: what C++ prints on stderr is dropped; Ray's says there that it was told to be silent."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def paint_all(
    portions: Sequence[Portion],
    job: Job,
    content: bytes,
    manifest: Manifest,
    workers: Workers,
    address: str | None = None,
    column: str | None = None,
    each: Callable[[list[Row]], object] = lambda rows: None,
) -> None:
    """Paint all pictures of portions, and note them in the manifest.

    Args:
        portions: what is read.
        job: what is painted, and how.
        content: of the style file.
        manifest: of the output.
        workers: how many paint.
        address: of a Ray cluster, such as auto or ray://head:10001; None makes one on this machine.
        column: of a table, that holds the pictures.
        each: called with rows as they come.

    Raises:
        UserError: the cluster can't be reached, has not what is asked of it, or the run breaks off.
    """
    ray = connect(address)
    count, gpus, cpus = _sized(ray, workers)
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # for few pictures
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ledger = ray.remote(Ledger).options(num_cpus=0, max_restarts=0).remote()
    threads = 0 if gpus else max(1, round(cpus))
    read = _reader(Places(job.style, job.form), column)
    actor: dict[str, Any] = {
        "fn_constructor_args": (job, content, ledger, threads), "num_cpus": cpus, "num_gpus": gpus
    }  # fmt: skip
    others = [portion for portion in portions if portion.kind != "films"]
    if others:
        actors = {**actor, "compute": ray.data.ActorPoolStrategy(size=count), "batch_size": max(_WINDOW, 4 * job.batch)}
        _note(ray, _painted(ray, others, read, actors), manifest, each)
    # films one by one, and after the pictures, which would wait behind them
    films = [portion for portion in portions if portion.kind == "films"]
    if films:
        films = _divided(ray, films) if len(films) < _FEW * count else films
        # none waits for a worker while another one is free
        free = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1)
        _note(ray, first_rows(_painted(ray, films, read, {**actor, "compute": free, "batch_size": 1})), manifest, each)


def _reader(places: Places, column: str | None) -> Callable[[Any], Iterator[Any]]:
    """The task that reads portions."""

    def read(batch: Any) -> Iterator[Any]:
        for text in batch.column("portion").to_pylist():
            yield from tables(Portion.decoded(text), column, places)

    return read


def _divided(ray: Any, films: Sequence[Portion]) -> list[Portion]:
    """Films in their sections, where they have several; one whose sections can't be told is painted whole."""
    ask = ray.remote(shares_of).options(num_cpus=_READERS, max_retries=0)
    asked = [(film, ask.remote(film.address, film.members[0][0])) for film in films]
    found = []
    for film, future in asked:
        try:
            found += divided(film, ray.get(future))
        except ray.exceptions.RayError:  # its worker will tell, or survive
            found.append(film)
    return found


def first_rows(tables: Iterator[Any]) -> Iterator[Any]:
    """Tables of rows, of each film only the first row: several workers may tell of one."""
    pyarrow = require("pyarrow", EXTRA)
    seen = set[str]()
    for table in tables:
        kept = list[int]()
        for place, name in enumerate(table.column("name").to_pylist()):
            if name not in seen:
                seen.add(name)
                kept.append(place)
        yield table.take(pyarrow.array(kept, pyarrow.int64()))


def _painted(
    ray: Any, portions: Sequence[Portion], read: Callable[[Any], Iterator[Any]], actors: dict[str, Any]
) -> Iterator[Any]:
    """Tables of rows, as the pictures of portions are painted; actors: options of Ray for those that paint."""
    items = [{"portion": portion.encoded()} for portion in portions]
    held = ray.data.from_items(items, override_num_blocks=len(items))
    held = held.map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=_READERS)
    rows = held.map_batches(Worker, batch_format="pyarrow", **actors)
    return iter(rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))


def _note(ray: Any, tables: Iterator[Any], manifest: Manifest, each: Callable[[list[Row]], object]) -> None:
    """Note rows in the manifest as they come, in parts of some size."""
    waiting: list[Row] = []
    told = time.monotonic()
    try:
        for table in tables:
            rows = [Row(*values) for values in zip(*table.to_pydict().values(), strict=True)]
            waiting += rows
            each(rows)
            if len(waiting) >= _FLUSH_ROWS or time.monotonic() - told >= _FLUSH_SECONDS:
                manifest.add(waiting)
                waiting, told = [], time.monotonic()
    except ray.exceptions.RayError as error:
        raise broken_off(error) from error
    finally:
        manifest.add(waiting)


def broken_off(error: Any) -> UserError:
    """The sentence about an error of Ray that ends a run."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason is given"]
    return UserError(
        f"the run broke off, and goes on where it was when it is started again: {printable(lines[-1], 300)}"
    )


def _sized(ray: Any, workers: Workers) -> tuple[int, float, float]:
    """The number of actors, and the GPUs and CPUs of each."""
    there = ray.cluster_resources()
    cpus, gpus = float(there.get("CPU", 1)), float(there.get("GPU", 0))
    each = (1.0 if gpus else 0.0) if workers.gpus is None else workers.gpus
    if each > gpus:
        raise UserError(f"gpus={each:g}, but the cluster has {gpus:g} GPUs")
    count = workers.count or max(1, int(gpus / each) if each else int(cpus))
    if each and count * each > gpus:
        raise UserError(f"actors={count} with {each:g} GPUs each, but the cluster has {gpus:g} GPUs")
    # tasks that read need some of the CPUs, or the actors would wait for ever
    share = (cpus - 2 * _READERS) / count
    if share < 0.25:
        raise UserError(f"actors={count} are too many for a cluster of {cpus:g} CPUs")
    return count, each, min(share, 4.0 if each else share)


def summary(rows: Sequence[Row]) -> list[str]:
    """Lines that say what became of pictures: how many are done, and the others by reason, the most first."""
    done = sum(row.status == DONE for row in rows)
    reasons = Counter((row.status, row.reason) for row in rows if row.status != DONE)
    lines = [f"{done:,} of {len(rows):,} pictures painted"]
    return lines + [f"  {count:,} {status}: {reason}" for (status, reason), count in reasons.most_common()]
