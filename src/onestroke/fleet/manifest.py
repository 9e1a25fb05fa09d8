"""The manifest: a Parquet table with a row for each picture, done or skipped and why. It grows by whole files."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, fields

from onestroke.errors import UserError, printable
from onestroke.fleet.names import RESERVED
from onestroke.packages import require
from onestroke.stores import EXTRA, Store, join

DONE, SKIPPED, LEFT_OUT = "done", "skipped", "left out"
"""What becomes of a picture: painted; not painted, and tried again by the next run; or no photo to be painted."""


@dataclass(frozen=True)
class Row:
    """A picture.

    name: of the picture, relative to the input. painting: its place, relative to the output; empty if there is none.
    status: done, skipped or left out. reason: why it was not painted; for a done one empty, or who had written it
    before. worker: machine and process.
    """

    name: str
    painting: str
    status: str
    reason: str = ""
    worker: str = ""


class Manifest:
    """The manifest of an output. A picture's last row counts.

    Args:
        output: address of the output.

    Raises:
        UserError: it can't be read.
    """

    def __init__(self, output: str) -> None:
        self.store = Store(output)
        self.rows: dict[str, Row] = {}
        self.parts = 0
        self.run = secrets.token_hex(4)
        waiting = sorted(name for name in Store(join(output, RESERVED)).files() if name.startswith("part-"))
        for name in waiting:
            content = self.store.read(f"{RESERVED}/{name}")
            self.rows |= {row.name: row for row in _decode(content, name)}
        self.parts = max((int(name.split("-")[1]) + 1 for name in waiting), default=0)

    def settled(self) -> dict[str, str]:
        """Names of the pictures that the next run has nothing to do with -> places of their paintings, or nothing."""
        return {row.name: row.painting for row in self.rows.values() if row.status in (DONE, LEFT_OUT)}

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows, as a file of their own.

        Raises:
            UserError: it can't be written.
        """
        new = list(rows)
        if new:
            self.store.write(f"{RESERVED}/part-{self.parts:06d}-{self.run}.parquet", _encode(new))
            self.parts += 1
            self.know(new)

    def know(self, rows: Iterable[Row]) -> None:
        """Take note of rows that another process has written."""
        self.rows |= {row.name: row for row in rows}

    def close(self) -> None:
        """Write the whole manifest into one file, manifest.parquet, a row for each picture, by name."""
        rows = [self.rows[name] for name in sorted(self.rows)]
        self.store.write(f"{RESERVED}/manifest.parquet", _encode(rows))


def _encode(rows: list[Row]) -> bytes:
    pyarrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Row)}
    file = io.BytesIO()
    parquet.write_table(
        pyarrow.table(columns, schema=pyarrow.schema([(name, pyarrow.string()) for name in columns])), file
    )
    return file.getvalue()


def _decode(content: bytes, name: str) -> list[Row]:
    pyarrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    try:
        table = parquet.read_table(io.BytesIO(content))
        columns = [table.column(field.name).to_pylist() for field in fields(Row)]
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise UserError(f"'{name}' is no part of a manifest: {printable(error)}; choose another output") from error
    return [Row(*map(str, values)) for values in zip(*columns, strict=True)]
