"""`onestroke provenance show|verify`: what the marks of a picture or clip say, and whether its signature verifies."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from onestroke.cli.options import CommandOptions, command, option
from onestroke.errors import escaped
from onestroke.packages import installed
from onestroke.provenance import credentials, reading
from onestroke.provenance.credentials import Verdict

_FILE = {"placeholder": "FILE", "example": "photo.starry_night.png", "path": True, "bare": True}
CLAIMS = "this is what each file says of itself; only a signature that verifies shows that it has not changed since"


@dataclass
class ShowOptions(CommandOptions):
    """The options of `onestroke provenance show`."""

    path: list[str] = option("a picture or an MP4; as often as you like", **_FILE)


@dataclass
class VerifyOptions(CommandOptions):
    """The options of `onestroke provenance verify`."""

    path: list[str] = option("a picture or an MP4; as often as you like", **_FILE)
    trust: str | None = option(
        "certificates in PEM that you trust; without them no signer is called trusted",
        None, placeholder="CERTS.pem", path=True,
    )  # fmt: skip


def show_files(options: ShowOptions) -> int:
    """Print what the marks of files say; the exit code is 1 where a file has none."""
    codes = []
    for name in options.path:
        path = Path(name)
        lines = described(path)
        for line in (f"{path}:", *(f"  {line}" for line in lines or ["no marks"])):
            print(escaped(line))  # one by one, so that no text of a file looks like a line of this
        codes.append(0 if lines else 1)
    print(CLAIMS, file=sys.stderr)
    return max(codes)


def described(path: Path) -> list[str]:
    """What the marks of a file say, in lines; none where it has no marks.

    Raises:
        UserError: the file or its marks can't be read.
    """
    marks = reading.read(path)
    lines = [f"digital source type: {marks.source_type}"] if marks.source_type else []
    lines += [f"{name}: {value}" for name, value in marks.facts.items()]
    lines += [f"style: {style}" for style in marks.styles]
    lines += [f"history {i}: {event}" for i, event in enumerate(marks.history, 1)]
    if marks.software:
        lines.append("software: OneStroke, as the EXIF or the header says")
    if installed("c2pa"):
        found = credentials.verify(path, reading.kind(path))
        lines += [sentence(found)] if found.state else []
    else:
        lines += ["Content Credentials: not looked for: pip install 'onestroke[c2pa]'"] if lines else []
    return lines


def verify_files(options: VerifyOptions) -> int:
    """Verify the Content Credentials of files; the exit code is 1 where one has none or does not verify."""
    trusted = None if options.trust is None else credentials.read_trusted(Path(options.trust))
    codes = []
    for name in options.path:
        path = Path(name)
        found = credentials.verify(path, reading.kind(path), trusted)
        print(escaped(f"{path}: {sentence(found)}"))
        codes.append(0 if found.valid else 1)
    return max(codes)


def sentence(found: Verdict) -> str:
    """A verdict in a sentence."""
    if not found.state:
        return "no Content Credentials, so there is nothing to verify"
    if not found.valid:
        return f"Content Credentials that DON'T verify: {', '.join(found.problems) or found.state}"
    signer = f"signed by a certificate in the name of '{found.signer}'" if found.signer else "signed"
    trust = "which your trusted certificates vouch for" if found.trusted else "which nobody here vouches for"
    return f"unchanged since it was {signer}, {trust}"


def show(arguments: list[str] | None = None) -> int:
    """Run `onestroke provenance show`; returns the exit code."""
    return command(ShowOptions, "onestroke provenance show FILE ...", show_files, arguments)


def verify(arguments: list[str] | None = None) -> int:
    """Run `onestroke provenance verify`; returns the exit code."""
    return command(VerifyOptions, "onestroke provenance verify FILE ... [trust=CERTS.pem]", verify_files, arguments)
