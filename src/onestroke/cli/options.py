"""Command lines of `key=value` arguments, declared as dataclasses.

The options of a command are a dataclass whose fields are created by `option`: annotations give types, metadata give
help, bounds and choices. Hydra's grammar, for training only, refuses file names such as `photo (1).jpg`.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
import sys
import textwrap
import typing
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, TypeVar

from onestroke.cli.pipes import piped
from onestroke.errors import UserError, near
from onestroke.files import home

_WIDTH = 120  # characters in a line of a help text
_COLUMN = 19  # column at which the description of an option begins
_LARGEST = 10**9 - 1  # default upper bound of integers: nine digits


@dataclass(frozen=True)
class Option:
    """The metadata of an option: everything except its name, type and default.

    Args:
        help: description, one line or more.
        example: an example value, for the message about a missing option.
        placeholder: the value shown in the help text; default: the default value, or the example.
        low, high: inclusive bounds of a number.
        above: exclusive lower bound of a number.
        choices: the allowed values in lower case; case is ignored. Not needed if the type is a Literal.
        path: whether a leading ~ is expanded.
        bare: whether arguments without a key belong to this option, such as the files of a shell pattern.
    """

    help: str
    example: str = ""
    placeholder: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: Collection[str] = ()
    path: bool = False
    bare: bool = False


@dataclass
class CommandOptions:
    """Base class for the options of a command: a dataclass whose fields are created by `option`."""

    def check(self) -> None:
        """Raise a UserError for options that can't be combined; called by `parse`."""


Options = TypeVar("Options", bound=CommandOptions)


def option(help: str, default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """Create a dataclass field for an option.

    Args:
        help: description.
        default: of the option; without one, it is required. An option of type list may be given several times.
        more: the other arguments of `Option`.
    """
    metadata = {"option": Option(help, **more)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class _Declared:
    """An option of a dataclass. kind: the type of one value. several: whether it may be given several times."""

    name: str
    option: Option
    kind: Any
    several: bool
    default: Any  # MISSING if the option is required

    @property
    def choices(self) -> Collection[str]:
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else self.option.choices


def _declared(kind: type[CommandOptions]) -> dict[str, _Declared]:
    """The options of a dataclass by name."""
    types = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        several = typing.get_origin(types[field.name]) is list
        one = _one(types[field.name])
        found[field.name] = _Declared(field.name, field.metadata["option"], one, several, default)
    return found


def _one(annotation: Any) -> Any:
    """The type of one value: the annotation without None, or the item type of a list."""
    if typing.get_origin(annotation) is Literal:
        return annotation
    kinds = [kind for kind in typing.get_args(annotation) if kind is not NoneType]
    return _one(kinds[0]) if kinds else annotation


def parse(kind: type[Options], arguments: Sequence[str]) -> Options:
    """Parse `key=value` arguments; the value is everything after the first `=`.

    Args:
        kind: the dataclass of the options.
        arguments: without the name of the command.

    Raises:
        UserError: an option is unknown, missing, empty or given twice, a value has the wrong type or is out of bounds,
            or options can't be combined.
    """
    declared = _declared(kind)
    given = _given(arguments, declared)
    values: dict[str, Any] = {}
    for name, one in declared.items():
        if name in given:
            read = [_value(one, text) for text in given[name]]
            values[name] = read if one.several else read[0]
        elif one.default is dataclasses.MISSING:
            raise UserError(f"{name} is needed: {name}={one.option.example}")
    options = kind(**values)
    options.check()
    return options


def _given(arguments: Sequence[str], declared: Mapping[str, _Declared]) -> dict[str, list[str]]:
    """The values of each given option, as text."""
    bare = next((name for name, one in declared.items() if one.option.bare), None)
    values: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if bare is not None and key not in declared and (not equals or os.path.lexists(argument)):
            key, value = bare, argument
        elif key not in declared:
            raise UserError(f"there is no option '{key}': {near(key, declared)}")
        # an empty value of a bare list is passed on, and reported where the files are searched
        if not value and not (key == bare and equals and declared[key].several):
            raise UserError(f"{key} has no value: write {key}=...")
        if key in values and not declared[key].several:
            both = f" ({values[key][0]} and {value})" if key == bare else ""
            raise UserError(f"{key} is given twice{both}")
        values.setdefault(key, []).append(value)
    return values


def _value(declared: _Declared, text: str) -> Any:
    """Convert the text of a value to the type of its option, and check it."""
    name, option, kind = declared.name, declared.option, declared.kind
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{name} must be true or false, not '{text}'")
        return text.lower() == "true"
    if kind is int:
        return _whole(name, text, option)
    if kind is float:
        return _number(name, text, option)
    if declared.choices:
        if text.lower() not in declared.choices:
            raise UserError(f"{name} can't be '{text}': {near(text, declared.choices)}")
        return text.lower()
    return home(text) if option.path else text


def _whole(name: str, text: str, option: Option) -> int:
    low = 0 if option.low is None else option.low
    high = _LARGEST if option.high is None else option.high
    if not re.fullmatch("0*[0-9]{1,9}", text) or not low <= int(text) <= high:
        bounds = f"of at least {low:.0f}" if option.high is None else f"from {low:.0f} to {high:.0f}"
        raise UserError(f"{name} must be a whole number {bounds}, not '{text}'")
    return int(text)


def _number(name: str, text: str, option: Option) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    low, above, high = option.low, option.above, option.high
    sound = math.isfinite(value) and (low is None or value >= low) and (above is None or value > above)
    if not sound or (high is not None and value > high):
        raise UserError(f"{name} must be a number{_bounds(option)}, not '{text}'")
    return value


def _bounds(option: Option) -> str:
    low, above, high = option.low, option.above, option.high
    if above is not None:
        return f" above {above:g}" + ("" if high is None else f", up to {high:g}")
    if low is not None:
        return f" of at least {low:g}" if high is None else f" from {low:g} to {high:g}"
    return "" if high is None else f" of at most {high:g}"


def help_text(kind: type[CommandOptions], usage: str, epilogue: str = "") -> str:
    """The text that --help prints.

    Args:
        kind: the dataclass of the options.
        usage: the usage lines.
        epilogue: text below the options.
    """
    lines = [f"{'usage:' if i == 0 else '      '} {line}" for i, line in enumerate(usage.splitlines())] + [""]
    for one in _declared(kind).values():
        placeholder, default = _placeholder(one)
        words = [part for line in f"{one.option.help}{default}".split("\n") for part in _wrapped(line)]
        head = f"  {one.name}={placeholder}".ljust(_COLUMN)
        if not head.endswith(" "):
            lines.append(head)
            head = ""
        lines += [f"{head if i == 0 else '':<{_COLUMN}}{part}" for i, part in enumerate(words)]
    return "\n".join(lines) + "\n" + (f"\n{epilogue.rstrip()}\n" if epilogue else "")


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH - _COLUMN, break_long_words=False, break_on_hyphens=False)


def _placeholder(declared: _Declared) -> tuple[str, str]:
    """The value shown after `=` in a help text, and a clause with the default if that value is not the default."""
    default, option = declared.default, declared.option
    if declared.kind is bool:
        return "true", "; true is the default" if default is True else ""
    if default in (None, "", dataclasses.MISSING) or isinstance(default, list):
        return option.placeholder or option.example or "...", ""
    return (option.placeholder, f"; default: {default}") if option.placeholder else (str(default), "")


def command(
    kind: type[Options],
    usage: str,
    job: Callable[[Options], int | None],
    arguments: list[str] | None,
    epilogue: str = "",
) -> int:
    """Run a command whose options are a dataclass: print its help text, or parse the options and run `job`.

    Args:
        kind: the dataclass of the options.
        usage: the usage lines of the help text.
        job: takes the options and returns the exit code; None is 0.
        arguments: None takes those of the process.
        epilogue: text below the options in the help text.

    Returns:
        The exit code: that of `job`, 2 after printing a UserError, 130 after Ctrl-C.
    """
    return guarded(help_text(kind, usage, epilogue), lambda given: job(parse(kind, given)), arguments)


def guarded(help: str, job: Callable[[list[str]], int | None], arguments: list[str] | None) -> int:
    """As `command`, for a command that parses its arguments itself.

    Args:
        help: printed for --help; also without arguments, with exit code 2.
        job: takes the arguments and returns the exit code; None is 0.
        arguments: None takes those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    return piped(lambda: _guarded(help, job, arguments))


def _guarded(help: str, job: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    if not arguments or any(a in ("-h", "--help", "help") for a in arguments):
        print(help, end="")
        return 0 if arguments else 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file name may contain bytes that are not valid text; printing it must not fail
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            return job(arguments) or 0
        except UserError as error:
            print(f"onestroke: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130


def _show(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the source line that raised it."""
    print(f"onestroke: {message}", file=sys.stderr)
