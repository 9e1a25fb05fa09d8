"""What a fleet does to each picture, and how a second run knows that it is the same job."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from onestroke.errors import UserError
from onestroke.fleet.names import RESERVED
from onestroke.inference.controls import StyleControls
from onestroke.stores import Store

_FILE = f"{RESERVED}/job.json"


@dataclass(frozen=True)
class Job:
    """A job. Everything here but `output`, `device`, `backend`, `batch` and `style_file` decides what is painted.

    style_file: name of the file. sha256: of its content. style: for the names of paintings. controls: style, strength
    and stroke. form: suffix of the paintings, without a dot. mark: xmp or none.
    """

    output: str
    style_file: str
    sha256: str
    style: str
    controls: StyleControls
    color: str = "style"
    form: str = "png"
    quality: int | None = None
    max_side: int | None = None
    mark: str = "xmp"
    device: str = "auto"
    backend: str | None = None
    batch: int = 1

    def identity(self) -> dict[str, Any]:
        """What has to be the same in a second run."""
        given = asdict(self)
        return {name: value for name, value in given.items() if name not in _MAY_DIFFER}


_MAY_DIFFER = ("output", "style_file", "device", "backend", "batch")


def begin(job: Job) -> bool:
    """Note the job in its output, or find it noted there by an earlier run.

    Returns:
        Whether there was an earlier run.

    Raises:
        UserError: the output holds other files or paintings of another job, or can't be written to.
    """
    store = Store(job.output)
    if _FILE not in store.present([_FILE]):
        if there := [name for name in store.files(below=False) if not name.startswith(".")]:
            raise UserError(f"output={job.output} holds other files, such as {there[0]}: choose a new folder")
        store.write(_FILE, json.dumps(job.identity(), indent=1).encode())
        return False
    try:
        found = json.loads(store.read(_FILE))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{_FILE} in {job.output} is damaged: choose another output")
    differs = [name for name, value in job.identity().items() if found.get(name) != json.loads(json.dumps(value))]
    if differs:
        what = "style file" if differs[0] == "sha256" else differs[0]
        raise UserError(
            f"output={job.output} holds paintings of another job (its {what} differs): choose another output, "
            f"or paint with the same style file and options to go on with it"
        )
    return True
