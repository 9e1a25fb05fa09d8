"""Mistakes that a user can mend, each told in one sentence."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable
from difflib import get_close_matches

_LINE = 2000  # characters of a message's line, which may quote whatever a file holds
_LONGEST = 200  # of a name that is looked for; longer ones take their time and are near nothing


class UserError(Exception):
    """What was wrong and what to do about it, in one sentence.

    The command lines print the message alone and exit with code 2; anything else that is raised is a bug of ours
    and keeps its traceback. Control characters of names and files that it quotes are escaped, so that none of them
    reaches a terminal, and lines of more than 2000 characters are cut.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(printable(line, _LINE) for line in message.split("\n")))


def escaped(text: str, keep: str = "") -> str:
    """Text with control characters (those that turn the writing round too) and lone surrogates as JSON writes them.

    Args:
        text: from anywhere.
        keep: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or c.isprintable() or unicodedata.category(c) == "Zs" else json.dumps(c)[1:-1]
                   for c in text)  # fmt: skip


def printable(value: object, most: int = 200) -> str:
    """What a file says, fit for one line of a terminal: escaped, and cut behind so many characters."""
    text = str(value)
    return escaped(text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)")


def quoted(value: object) -> str:
    """A value as Python writes it, fit for a message."""
    return printable(repr(value))


def near(name: str, known: Iterable[str]) -> str:
    """A hint that names what `name` may have been meant to be, or all that is known.

    Returns:
        `did you mean 'a' or 'b'?` where something is near, else `known are a, b, c`.
    """
    names = sorted(known)
    close = get_close_matches(name[:_LONGEST], names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{printable(c)}'" for c in close) + "?"
    return "known are " + ", ".join(map(printable, names)) if names else "none is known"


def gather(checks: Iterable[Callable[[], object]]) -> None:
    """Run every check and raise all that failed as one UserError, so that a user mends everything in one go."""
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


def told(job: Callable[[], object]) -> int:
    """Run a command's job; the exit code is 0, or 2 where a UserError was told on stderr."""
    try:
        job()
    except UserError as error:
        print(f"onestroke: {error}", file=sys.stderr)
        return 2
    return 0
