"""The hidden folder beside a file in which it is made bit by bit, so that a run that was stopped can go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from onestroke.errors import UserError
from onestroke.files import atomic, make_folder


class UnfinishedFolder:
    """A folder with an index, a JSON document that names the run that the folder belongs to.

    Args:
        target: the file that is made.
        index: the name of the document.
        run: what decides how it is made; a folder of another run is not gone on with.
        resume: go on with what is there; else it is removed.

    Attributes:
        document: what an earlier run stored; None where there is nothing to go on with.

    Raises:
        UserError: resume, and the folder was begun with other settings or is damaged, or it can't be made.
    """

    def __init__(self, target: Path, index: str, run: dict[str, Any], resume: bool) -> None:
        self.folder = target.with_name(f".{target.name}.parts")
        self.index = self.folder / index
        self.run = run
        self.document: dict[str, Any] | None = None
        if not resume:
            self.remove()
        elif self.index.exists():
            self.document = self._read()
        make_folder(self.folder)

    def _read(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self.index.read_text())
            differs = sorted(name for name in self.run if document["run"].get(name) != self.run[name])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(self.index) from error
        if differs:
            raise self.of_another(", ".join(differs))
        return document

    def of_another(self, what: str) -> UserError:
        """The error about a folder that was begun with another `what`."""
        return UserError(
            f"{self.folder} was begun with another {what}; give what was given then, or leave out "
            "resume=true to start again"
        )

    def write(self, **document: Any) -> None:
        """Store the index, atomically; the run is added."""
        with atomic(self.index) as temporary:
            temporary.write_text(json.dumps({"run": self.run, **document}))

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def damaged(file: Path) -> UserError:
    """The error about a file of such a folder that can't be read."""
    return UserError(f"{file} is damaged; leave out resume=true to start again")
