"""A run that is started from outside of the cluster (Ray Client, ray://): Ray Data needs a driver inside of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onestroke.errors import UserError
from onestroke.fleet.inputs import Portion
from onestroke.fleet.job import Job
from onestroke.fleet.manifest import Manifest, Row
from onestroke.fleet.running import Workers, broken_off, connect, paint_all

PREFIX = "ray://"
_EVERY = 1.0  # seconds between two looks at what is done


class Driver:
    """An actor of Ray that runs a job within its cluster, and keeps the rows until they are taken."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def run(self, portions: Sequence[Portion], job: Job, content: bytes, workers: Workers, column: str | None) -> str:
        """As `paint_all`; returns a UserError's sentence, or nothing."""
        try:
            paint_all(portions, job, content, Manifest(job.output), workers, None, column, self.rows.extend)
        except UserError as error:
            return str(error)
        return ""

    def take(self) -> list[Row]:
        """The rows since the last call."""
        taken = self.rows[:]
        del self.rows[: len(taken)]
        return taken


def paint_from_outside(
    portions: Sequence[Portion],
    job: Job,
    content: bytes,
    manifest: Manifest,
    workers: Workers,
    address: str,
    column: str | None = None,
    each: Callable[[list[Row]], object] = lambda rows: None,
) -> None:
    """As `paint_all`, for an address that begins with ray://. The manifest is written within the cluster.

    Raises:
        UserError: as `paint_all`.
    """
    ray = connect(address)
    try:
        driver = ray.remote(Driver).options(num_cpus=0, max_concurrency=2).remote()
        future = driver.run.remote(list(portions), job, content, workers, column)
        while True:
            ended, _ = ray.wait([future], timeout=_EVERY)
            rows: list[Row] = ray.get(driver.take.remote())
            manifest.know(rows)
            if rows:
                each(rows)
            if ended:
                problem = ray.get(future)
                break
    except ray.exceptions.RayError as error:
        raise broken_off(error) from error
    if problem:
        raise UserError(problem)
