"""What the command lines share that read `key=value` themselves: Hydra's grammar refuses `photo (1).jpg`."""

from __future__ import annotations

import io
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection
from typing import TypeVar

from onestroke.errors import UserError, near

Word = TypeVar("Word", bound=str)


def keyed(
    arguments: list[str], known: Collection[str], several: Collection[str] = (), bare: str | None = None
) -> dict[str, list[str]]:
    """Read `key=value` arguments; any file name may follow the first `=`.

    Args:
        arguments: the command line.
        known: the keys there are.
        several: those of them that may be given more than once.
        bare: the one of several that names without a key belong to, as a shell's pattern gives them.

    Returns:
        The values of each key that was given, of each but `several` one.

    Raises:
        UserError: for unknown, repeated or empty keys.
    """
    values: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key == bare and equals:
            values.setdefault(key, []).append(value)  # an empty one is told with the others' mistakes
        elif bare is not None and key not in known and (not equals or os.path.lexists(argument)):
            values.setdefault(bare, []).append(argument)
        elif key not in known:
            raise UserError(f"there is no option '{key}': {near(key, known)}")
        elif not value:
            raise UserError(f"{key} has no value: write {key}=...")
        elif key in values and key not in several:
            raise UserError(f"{key} is given twice")
        else:
            values.setdefault(key, []).append(value)
    return values


def home(path: str) -> str:
    """A path with the home folder in place of a leading `~`, which no shell expands behind a `=`."""
    return os.path.expanduser(path)


_WORDS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?:^|(?<=[\[,]))(\s*)(~[^,\]]*)""")


def home_in_override(argument: str) -> str:
    """An argument of Hydra's, `key=value`, with the home folder in each path of its value.

    Hydra's grammar knows no `~` in a value, so what is expanded is put in quotes; what stands in quotes already stays.
    """
    key, equals, value = argument.partition("=")

    def expand(word: re.Match[str]) -> str:
        quoted, space, path = word.groups()
        if quoted or home(path) == path:
            return word[0]
        if key.startswith("-"):
            return f"{space}{home(path)}"
        return f'{space}"{home(path)}"'

    return f"{key}{equals}{_WORDS.sub(expand, value)}"


class Values:
    """The values of `keyed`, each read as what it has to be.

    Raises:
        UserError: (each method) the value is something else.
    """

    def __init__(self, values: dict[str, list[str]]) -> None:
        self.values = values

    def text(self, key: str, default: str) -> str:
        """As it was given."""
        return self.values.get(key, [default])[0]

    def path(self, key: str) -> str | None:
        """The name of a file."""
        return home(self.values[key][0]) if key in self.values else None

    def paths(self, key: str) -> list[str]:
        """The names of several files."""
        return [home(path) for path in self.values.get(key, [])]

    def needed(self, key: str, example: str) -> str:
        """The name of a file without which nothing goes."""
        path = self.path(key)
        if path is None:
            raise UserError(f"{key} is needed: {key}={example}")
        return path

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.text(key, str(default))
        if value.lower() not in ("true", "false"):
            raise UserError(f"{key} must be true or false, not '{value}'")
        return value.lower() == "true"

    def count(self, key: str) -> int | None:
        """A whole number from 1 on, of nine digits at most."""
        value = self.values.get(key, [None])[0]
        if value is not None and not re.fullmatch("0*[1-9][0-9]{0,8}", value):
            raise UserError(f"{key} must be a whole number of at least 1, not '{value}'")
        return None if value is None else int(value)

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number that is given, from `least` to `most`."""
        value = self.values[key][0]
        if not re.fullmatch("[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise UserError(f"{key} must be a whole number from {least} to {most}, not '{value}'")
        return int(value)

    def number(self, key: str) -> float | None:
        """A number; NaN for what is none, so that any check of its bounds refuses that too."""
        try:
            return float(self.values[key][0]) if key in self.values else None
        except ValueError:
            return math.nan

    def share(self, key: str) -> float | None:
        """A number from 0 to 1."""
        share = self.number(key)
        if share is not None and not 0 <= share <= 1:
            raise UserError(f"{key} must be a number from 0 to 1, not '{self.values[key][0]}'")
        return share

    def choice(self, key: str, known: Collection[Word]) -> Word:
        """One of `known`, of which the first is the default; in capitals too."""
        value = self.text(key, next(iter(known)))
        for word in known:
            if word == value.lower():
                return word
        raise UserError(f"{key} can't be '{value}': {near(value, known)}")


def command(usage: str, job: Callable[[list[str]], int], arguments: list[str] | None) -> int:
    """Run a command line: its help, or its job and the exit code, 2 and one sentence for a user's mistake.

    Args:
        usage: what --help prints.
        job: takes the arguments, gives the exit code.
        arguments: None for those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or any(a in ("-h", "--help", "help") for a in arguments):
        print(usage, end="")
        return 0 if arguments else 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file name may hold bytes that are no text, and printing it must not fail
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            return job(arguments)
        except UserError as error:
            print(f"onestroke: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130


def _show(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as a sentence, without the line of our code that gave it."""
    print(f"onestroke: {message}", file=sys.stderr)
