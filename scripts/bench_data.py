"""The cases of bench.py's mode data: how fast pictures come, and how long a training step waits for them."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from bench_measure import Case, Contestant
from bench_step import composed, prepared
from torch import Tensor

from onestroke.cli.train import added
from onestroke.data.datamodule import PhotoBatches, Source
from onestroke.data.photos import Photos
from onestroke.errors import UserError, near
from onestroke.training.parts import instantiate_part

Consumer = Callable[[Tensor], object]


def sources(overrides: Sequence[str]) -> dict[str, Source]:
    """Made-up scenes, and the photos of data.root or the shards of data.urls, as configs/data has them.

    Raises:
        UserError: where the photos can't be used.
    """
    found: dict[str, Source] = {"scenes": instantiate_part("data", composed(["data=scenes"])["data"], object)}
    if overrides:
        groups = {"data.root=": ("photos", "photos"), "data.urls=": ("shards", "webdataset")}
        given = [key for key in groups if any(override.startswith(key) for override in overrides)]
        if not given:
            raise UserError("options of photos need a folder of them: data.root=/path/to/photos")
        name, group = groups[given[0]]
        options = [f"data={group}", *map(added, overrides)]
        photos: Source = instantiate_part("data", composed(options)["data"], object)
        photos.preflight()
        found[name] = photos
    return found


def chosen_sources(found: dict[str, Source], names: Sequence[str] | None) -> dict[str, Source]:
    """Those of the names, or all.

    Raises:
        UserError: for a name that there is no source of.
    """
    for name in names or ():
        if name not in found:
            raise UserError(f"source={name}: {near(name, found)}; photos need data.root=/path/to/photos")
    return found if names is None else {name: found[name] for name in names}


def consumer(name: str, crop: int, batch: int, device: torch.device) -> Consumer | None:
    """What is done with a batch: nothing (none), a training step of the default recipe (step), or so many images/s.

    Raises:
        UserError: for another name.
    """
    if name == "none":
        return None
    if name == "step":
        return prepared([f"crop={crop}", f"batch_size={batch}"], device)
    try:
        pause = batch / float(name)
    except (ValueError, ZeroDivisionError):
        pause = -1.0
    if not 0 < pause < 3600:
        raise UserError(f"consumer={name}: write none, step, or how many images it takes a second, such as 2000")
    return lambda _: time.sleep(pause)


def data_cases(
    found: dict[str, Source],
    crops: Sequence[int],
    workers: Sequence[int],
    caches: Sequence[bool],
    consumers: Sequence[str],
    batch: int,
    batches: int,
    device: torch.device,
) -> Iterator[Case]:
    """For each source, crop and consumer, every number of workers, from the cache or not where the source has one.

    Args:
        found: the sources by name.
        batch: pictures in each.
        batches: how many of them a timing has.
    """
    for name, source in found.items():
        for crop in crops:
            for taker in consumers:
                take = consumer(taker, crop, batch, device)
                contestants = []
                for count in workers:
                    for cached, one in _variants(source, caches):
                        loader = PhotoBatches(one, batch, crop, 0, count)
                        contestants.append(_loading(f"{count}-workers{cached}", loader, take, batches))
                yield Case({"source": name, "crop": crop, "batch": batch, "consumer": taker}, contestants)


def _variants(source: Source, caches: Sequence[bool]) -> list[tuple[str, Source]]:
    """A source that has a cache with and without it, as asked for; its own choice of cache is kept."""
    if not isinstance(source, Photos):
        return [("", source)]
    plain = copy.deepcopy(source)
    plain.cache = None
    return [("-cached", source) if cached else ("", plain) for cached in caches]


def _loading(name: str, data: PhotoBatches, take: Consumer | None, batches: int) -> Contestant:
    """Seconds a batch, loading and taking it; notes the share of them that was spent waiting."""
    waits: list[float] = []

    def work() -> float:
        seconds, waited = lap(data, take, batches)
        waits.append(waited / seconds)
        return seconds / batches

    def notes(runs: int) -> dict[str, float]:
        return {} if take is None else {"wait_share": statistics.median(waits[-runs:])}

    return Contestant(name, work, data.batch_size, notes=notes)


def lap(data: PhotoBatches, take: Consumer | None, batches: int) -> tuple[float, float]:
    """Seconds of so many batches from a fresh loader, once it is under way, and those spent waiting for it.

    Workers begin with an empty queue and fill it when nobody takes from it. So where nothing else is done, what was
    fetched ahead is taken first, and where there is a consumer, one batch.
    """
    loader = data.train_dataloader()
    ahead = loader.ahead if take is None else 0
    batch_of = iter(loader)
    for _ in range(1 + ahead):
        next(batch_of)
    waited, started = 0.0, time.perf_counter()
    for _ in range(batches):
        asked = time.perf_counter()
        photos = next(batch_of)["photos"]
        waited += time.perf_counter() - asked
        if take is not None:
            take(photos)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, waited
