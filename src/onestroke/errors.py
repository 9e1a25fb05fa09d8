"""Errors that the user can fix, each reported in one sentence, and text made safe for a terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable
from difflib import get_close_matches

_LINE = 2000  # maximum characters in a line of a message, which may quote the contents of a file
_LONGEST = 200  # characters of a name that are compared; comparing longer names is slow


class UserError(Exception):
    """A mistake of the user: one sentence that says what is wrong and what to do about it.

    The command lines print the message without a traceback and exit with code 2. Any other exception is a bug and
    keeps its traceback. Control characters in the message are escaped, so that none reaches a terminal, and each line
    is cut after 2000 characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(printable(line, _LINE) for line in message.split("\n")))


def escaped(text: str, keep: str = "") -> str:
    """Escape control characters, including bidirectional ones, and lone surrogates as JSON does.

    Args:
        text: any text.
        keep: characters that are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or c.isprintable() or unicodedata.category(c) == "Zs" else json.dumps(c)[1:-1]
                   for c in text)  # fmt: skip


def printable(value: object, most: int = 200) -> str:
    """Any value as text for one line of a terminal: escaped, and cut after `most` characters."""
    text = str(value)
    return escaped(text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)")


def quoted(value: object) -> str:
    """The repr of a value, escaped and cut for a message."""
    return printable(repr(value))


def near(name: str, known: Iterable[str]) -> str:
    """Suggest known names that are similar to `name`, for an error message.

    Returns:
        `did you mean 'a' or 'b'?` for up to 3 similar names, else `known are a, b, c` with all of them.
    """
    names = sorted(known)
    close = get_close_matches(name[:_LONGEST], names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{printable(c)}'" for c in close) + "?"
    return "known are " + ", ".join(map(printable, names)) if names else "none is known"


def gather(checks: Iterable[Callable[[], object]]) -> None:
    """Run every check and raise all their UserErrors as one, so that a user can fix everything at once."""
    problems: list[str] = []
    for check in checks:
        try:
            check()
        except UserError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise UserError(f"{len(problems)} things need mending first:\n" + "\n".join(f"  - {p}" for p in problems))


def exit_code(job: Callable[[], object]) -> int:
    """Run a command and return its exit code: 0, or 2 after printing a UserError on stderr."""
    try:
        job()
    except UserError as error:
        print(f"onestroke: {error}", file=sys.stderr)
        return 2
    return 0
