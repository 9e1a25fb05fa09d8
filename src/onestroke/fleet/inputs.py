"""The pictures of a folder, a list of addresses, a table (Parquet) or a tar (WebDataset), in portions for a reader."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from onestroke.errors import UserError, printable
from onestroke.fleet import names
from onestroke.fleet.films import form_of, is_film
from onestroke.fleet.names import Places
from onestroke.fleet.shares import Share
from onestroke.packages import require
from onestroke.stores import EXTRA, MOST_BYTES, Store, download, is_web, join, told

Kind = Literal["files", "films", "web", "table", "tar"]
_LEAST, _MOST = 8, 64  # files that one task reads
_BYTES, _NAMES = ("bytes", "image", "jpg", "png", "content", "data"), ("name", "path", "filename", "key", "id")
_NAMED: dict[str, Kind] = {".parquet": "table", ".tar": "tar", ".txt": "web"}
_BESIDE = (".json", ".txt", ".cls", ".csv", ".md", ".xml", ".npy", ".html", ".db", ".ini")
"""Suffixes of what lies beside pictures, and is no picture that could be missed."""


@dataclass(frozen=True)
class Portion:
    """What one task reads.

    kind: how. address: of the folder, table or tar. members: files of the folder, or addresses, with the places of
    their paintings; of tables and tars, all. prefix: of the pictures' names. done: names of pictures that are left out.
    share: the section of a film, as `Share.encoded`; empty for whole films.
    """

    kind: Kind
    address: str
    members: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    done: frozenset[str] = frozenset()
    share: str = ""

    def encoded(self) -> str:
        """This as JSON, in which it travels."""
        return json.dumps({**asdict(self), "done": sorted(self.done)})

    @classmethod
    def decoded(cls, text: str) -> Portion:
        """What `encoded` returned, again."""
        found = json.loads(text)
        members = tuple((member, place) for member, place in found["members"])
        return cls(found["kind"], found["address"], members, found["prefix"], frozenset(found["done"]), found["share"])


@dataclass(frozen=True)
class Source:
    """A picture as it lies: its content, or why it can't be read; and the place of its painting.

    Of a film, which may be too large for memory: folder, the address of the folder that it is in, and film, its path
    there; share: the section of it, as `Share.encoded`, or empty for the whole film.
    """

    name: str
    place: str
    content: bytes = b""
    problem: str = ""
    folder: str = ""
    film: str = ""
    share: str = ""

    @property
    def key(self) -> str:
        """What it is counted by in the ledger: its name, and the section of a film."""
        return f"{self.name} {self.share}" if self.share else self.name


def divided(portion: Portion, shares: Sequence[Share]) -> list[Portion]:
    """The portion of a film in its sections, if there are several."""
    return [replace(portion, share=one.encoded()) for one in shares] if len(shares) > 1 else [portion]


def portions(address: str, done: Mapping[str, str], output: str, places: Places) -> Iterator[Portion]:
    """Portions of an input, without the pictures that are done.

    Args:
        address: a folder of pictures, tables and tars; a table (.parquet); a tar; or a list of addresses (.txt).
        done: names of pictures that are left out, and the places of their paintings.
        output: address of the output, which is left out if it lies below the input.
        places: where paintings go.

    Raises:
        UserError: there is nothing at the address, or nothing in it.
    """
    store = Store(address)
    kind = store.kind()
    if kind == "nothing":
        raise UserError(f"there is no file or folder '{address}'; check the name")
    if kind == "file":
        yield from _of_file(store, address, done, places)
        return
    below = _below(output, address)
    how: Kind
    listed = sorted(name for name in store.files() if visible(name))
    listed = [name for name in listed if not (below and name.startswith(f"{below}/"))]
    if not listed:
        raise UserError(f"the folder '{address}' is empty")
    holders = [name for name in listed if name.lower().endswith((".parquet", ".tar"))]
    single = [name for name in listed if not name.lower().endswith((".parquet", ".tar", *_BESIDE))]
    for how, some in (("files", [one for one in single if not is_film(one)]), ("films", filter(is_film, single))):
        yield from _in_portions(how, address, {name: names.safe(name) for name in some}, done, places)
    for name in holders:
        how = "table" if name.lower().endswith(".parquet") else "tar"
        prefix = f"{PurePosixPath(name).with_suffix('')}/"
        own = frozenset(one for one in done if one.startswith(names.safe(prefix)))
        yield Portion(how, join(address, name), (), prefix, own)


def _in_portions(
    kind: Kind, address: str, members: Mapping[str, str], done: Mapping[str, str], places: Places
) -> Iterator[Portion]:
    """members: what is read -> name of the picture."""
    form = form_of if kind == "films" else lambda name: None
    left = [(member, places.of(name, form(name))) for member, name in members.items() if name not in done]
    size = 1 if kind == "films" else min(_MOST, max(_LEAST, len(left) // 16))
    for i in range(0, len(left), size):
        yield Portion(kind, address, tuple(left[i : i + size]))


def _of_file(store: Store, address: str, done: Mapping[str, str], places: Places) -> Iterator[Portion]:
    kind = _NAMED.get(PurePosixPath(address.partition("?")[0]).suffix.lower())
    if kind is None:
        raise UserError(
            f"input={address} is one file, which infer.py paints: a folder, .parquet, .tar or .txt is needed"
        )
    if kind != "web":
        yield Portion(kind, address, done=frozenset(done))
        return
    lines = (line.strip() for line in store.read().decode("utf-8", "replace").splitlines())
    listed = {line: names.of_address(line) for line in lines if line and not line.startswith("#") and is_web(line)}
    if not listed:
        raise UserError(f"'{address}' lists no addresses that begin with http:// or https://, one a line")
    yield from _in_portions("web", address, listed, done, places)


def visible(name: str) -> bool:
    """Whether no part of a path is hidden or of the fleet's own."""
    parts = name.split("/")
    return parts[0] != names.RESERVED and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _below(output: str, address: str) -> str:
    """The output relative to the input, where it lies below it; else empty."""
    inner, outer = (one.partition("?")[0].rstrip("/") for one in (output, address))
    return inner[len(outer) + 1 :] if inner.startswith(f"{outer}/") else ""


def pictures(portion: Portion, column: str | None, places: Places) -> Iterator[Source]:
    """Read the pictures of a portion, one by one.

    Args:
        portion: what is read.
        column: of a table, that holds the pictures; None takes the first that can.
        places: where the paintings of a table or tar go.

    Raises:
        UserError: a table or a tar can't be read.
    """
    if portion.kind == "films":
        for member, place in portion.members:
            yield Source(names.safe(member), place, folder=portion.address, film=member, share=portion.share)
        return
    if portion.kind in ("files", "web"):
        store = Store(portion.address)
        for member, place in portion.members:
            web = portion.kind == "web"
            name = names.of_address(member) if web else names.safe(member)
            try:
                yield Source(name, place, download(member) if web else store.read(member))
            except UserError as error:
                yield Source(name, place, problem=str(error).replace(f"'{member}'", "it"))
        return
    for name, content, problem in _of_table(portion, column) if portion.kind == "table" else _of_tar(portion):
        place = places.of(name)
        if name not in portion.done:
            yield Source(name, place, content, problem)


def _of_tar(portion: Portion) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and problem of each file, in order; nothing is unpacked to the disk, and links are not followed."""
    seen: set[str] = set()
    with Store(portion.address).reading() as file, told(portion.address):
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    name = names.safe(portion.prefix + member.name)
                    wanted = member.isfile() and visible(names.safe(member.name))
                    if not wanted or name in seen or name.lower().endswith(_BESIDE):
                        continue
                    seen.add(name)
                    if member.size > MOST_BYTES:
                        yield name, b"", f"it is larger than {MOST_BYTES // 2**30} GiB"
                        continue
                    opened = archive.extractfile(member)
                    yield name, b"" if opened is None else opened.read(), ""
        except tarfile.TarError as error:
            raise UserError(f"'{portion.address}' can't be read as a tar: {printable(error)}") from error


def _of_table(portion: Portion, column: str | None) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and problem of the pictures of a table: a column of bytes, or of structures with a field bytes."""
    pyarrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    with Store(portion.address).reading() as file, told(portion.address):
        try:
            table = parquet.ParquetFile(file)
            held, named = _columns(table.schema_arrow, column, portion.address)
            row = 0
            for batch in table.iter_batches(batch_size=16, columns=list(dict.fromkeys([held, *named]))):
                for values in batch.to_pylist():
                    yield _of_row(values, held, named, row, portion.prefix)
                    row += 1
        except pyarrow.ArrowException as error:
            raise UserError(f"'{portion.address}' can't be read as Parquet: {printable(error)}") from error


def _of_row(values: dict[str, Any], held: str, named: list[str], row: int, prefix: str) -> tuple[str, bytes, str]:
    value, name = values[held], next((str(values[one]) for one in named if values[one] is not None), "")
    if isinstance(value, dict):
        name, value = name or str(value.get("path") or ""), value.get("bytes")
    name = names.safe(f"{prefix}{name or f'{row:08d}'}")
    return (name, value, "") if isinstance(value, bytes) else (name, b"", "the table holds no bytes of it")


def _columns(schema: Any, column: str | None, address: str) -> tuple[str, list[str]]:
    """The column with the pictures, and those with their names."""
    types = require("pyarrow.types", EXTRA)

    def holds(name: str) -> bool:
        kind = schema.field(name).type
        inner = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return bool(types.is_binary(kind) or types.is_large_binary(kind) or inner)

    found = [name for name in schema.names if holds(name)]
    if column is not None and column not in found:
        raise UserError(f"column={column}: '{address}' has no such column of bytes, but {', '.join(found) or 'none'}")
    if not found:
        raise UserError(f"'{address}' has no column of bytes")
    held = column or next((name for name in _BYTES if name in found), found[0])
    strings = [name for name in _NAMES if name in schema.names and types.is_string(schema.field(name).type)]
    return held, strings[:1]
