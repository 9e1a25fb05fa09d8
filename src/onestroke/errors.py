"""Mistakes that a user can mend, each told in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches


class UserError(Exception):
    """What was wrong and what to do about it, in one sentence.

    The command lines print the message alone and exit with code 2; anything else that is raised is a bug of ours
    and keeps its traceback.
    """


def printable(value: object, most: int = 200) -> str:
    """What a file says, fit for one line of a terminal: escaped, and cut behind so many characters."""
    return str(value)[:most].encode("unicode_escape").decode("ascii")


def near(name: str, known: Iterable[str]) -> str:
    """A hint that names what `name` may have been meant to be, or all that is known.

    Returns:
        `did you mean 'a' or 'b'?` where something is near, else `known are a, b, c`.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "known are " + ", ".join(names) if names else "none is known"


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
