#!/usr/bin/env python
"""Damage files at random and see that each is taken, or refused in one sentence; nothing else may happen.

    python scripts/fuzz.py KIND [seconds=60] [cases=N] [seed=0] [jobs=1] [case=K] [out=fuzz]

KIND is style, picture, card, resume or onnx, several of them with commas between, or all. seconds= bounds each kind;
with cases=N, the cases 0 to N - 1 are run however long that takes. The same seed and number give the same case: case=K
runs that one alone. A case fails where anything but a UserError is raised, the process dies, more than 1 GiB or 5 s of
processor time is taken, or something is run or written that a file must not cause. A failing file is kept with as few
changes as still make it fail, and what happened beside it, under fuzz/KIND/; the exit code is then 1. Linux only.
"""

from __future__ import annotations

import os
import sys

# before torch is there to read them: a process that forks has one thread
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # which the product sets, and the watch would tell of

import importlib  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from itertools import count, islice  # noqa: E402
from pathlib import Path  # noqa: E402

from fuzzing import child  # noqa: E402
from fuzzing.cases import Case, Kind, build, draw  # noqa: E402
from fuzzing.child import LIMITS, Limits, Result  # noqa: E402

from onestroke.cli.options import CommandOptions, option, parse  # noqa: E402
from onestroke.errors import UserError, near  # noqa: E402

KINDS = {"style": "style", "picture": "picture", "card": "card", "resume": "resume", "onnx": "graph"}
"""Name -> its file in fuzzing/."""
_ROUND = 200  # cases between two looks at the clock
_KEPT = 3  # files of one kind of failure
_MESSAGES = 12  # classes of messages that are listed


@dataclass
class Report:
    """What came of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Result]] = field(default_factory=dict)
    slowest: float = 0.0
    largest: float = 0.0
    seconds: float = 0.0

    def add(self, result: Result) -> None:
        """Count a case."""
        self.outcomes[result.outcome] += 1
        self.slowest, self.largest = max(self.slowest, result.cpu), max(self.largest, result.memory)
        if result.outcome == "told":
            self.messages[result.class_of_message] += 1
        if not result.sound:
            self.failures.setdefault(result.signature, []).append(result)

    def tell(self, name: str) -> None:
        """Print it."""
        total = sum(self.outcomes.values())
        parts = ", ".join(f"{number} {outcome}" for outcome, number in self.outcomes.most_common())
        rate = total / max(self.seconds, 1e-9)
        print(f"{name}: {total} cases, {rate:.0f}/s: {parts}; at most {self.slowest:.2f} s and {self.largest:.0f} MiB")
        for message, number in self.messages.most_common(_MESSAGES):
            print(f"  {number:6} told: {message}")
        for signature, results in sorted(self.failures.items(), key=lambda item: -len(item[1])):
            print(
                f"  {len(results):6} FAILED: {signature}: {results[0].says[:200]!r}, such as case={results[0].number}"
            )


def load(name: str) -> Kind:
    """The kind of a name; what it needs is imported."""
    found = importlib.import_module(f"fuzzing.{KINDS[name]}").KIND
    assert isinstance(found, Kind)
    return found


def prepare(kind: Kind, folder: Path) -> None:
    """Make the sound files, in a process of its own, and what all cases need, in this one.

    Raises:
        UserError: where they could not be made.
    """
    bases = folder / "bases"
    bases.mkdir()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.chdir(folder)
            kind.make(bases)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(process, 0)[1]:
        raise UserError(f"the sound files of {kind.name} could not be made; what happened is above")
    kind.warm(folder)


def cases(kind: Kind, folder: Path, seed: int, numbers: Iterator[int] | range) -> Iterator[Case]:
    """Draw the cases of these numbers."""
    bases = [path.name for path in (folder / "bases").iterdir()]
    for number in numbers:
        yield draw(kind, bases, seed, number)


def fuzz(
    kind: Kind,
    folder: Path,
    seed: int,
    seconds: float | None,
    most: int | None,
    jobs: int = 1,
    limits: Limits = LIMITS,
) -> Report:
    """Run cases until the time is up or there are `most`.

    Args:
        folder: prepared.
    """
    report, began = Report(), time.monotonic()
    drawn = cases(kind, folder, seed, count() if most is None else range(most))
    while True:
        some = list(islice(drawn, _ROUND))
        for result in child.run(kind, some, folder, jobs, limits):
            report.add(result)
        report.seconds = time.monotonic() - began
        if len(some) < _ROUND or (seconds is not None and report.seconds >= seconds):
            return report


def minimised(
    kind: Kind, case: Case, signature: str, folder: Path, limits: Limits = LIMITS
) -> tuple[Case, Result | None]:
    """The case with as few changes as still make it fail in the same way, each tried in a child of its own.

    Returns:
        That case and its result; the case as it was and None where it doesn't fail alone.
    """
    (result,) = child.run(kind, [case], folder, 1, limits)
    if result.signature != signature:
        return case, None
    place = len(case.changes) - 1
    while place >= 0:
        smaller = case.without(place)
        (other,) = child.run(kind, [smaller], folder, 1, limits)
        if other.signature == signature:
            case, result = smaller, other
        place -= 1
    return case, result


def keep(kind: Kind, report: Report, folder: Path, seed: int, out: Path, limits: Limits = LIMITS) -> list[Path]:
    """Write the smallest case of each failure that was seen, and what happened; the files."""
    written = []
    for signature, results in report.failures.items():
        for result in results[:_KEPT]:
            (case,) = cases(kind, folder, seed, range(result.number, result.number + 1))
            case, alone = minimised(kind, case, signature, folder, limits)
            place = out / kind.name
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{seed}-{result.number}{Path(case.base).suffix}"
            path.write_bytes(build(kind, case, (folder / "bases" / case.base).read_bytes()))
            told = alone or result
            note = "" if alone else "only after the cases before it in one process\n"
            path.with_suffix(".txt").write_text(
                f"seed={seed} case={result.number}\n{case}\n{note}{told.outcome}: {told.says}\n"
                f"{told.cpu} s, {told.memory} MiB\n\n{told.trace}",
                encoding="utf-8", errors="backslashreplace",
            )  # fmt: skip
            written.append(path)
    return written


@dataclass
class Options(CommandOptions):
    """How many cases, and which."""

    seconds: int | None = option("for each kind; default: 60, or no end with cases=", None, low=1)
    cases: int | None = option("how many", None, low=1)
    seed: int = option("the same seed and number give the same case", 0, high=999_999_999)
    jobs: int = option("processes", 1, low=1)
    case: int | None = option("the one that is run, alone", None, high=999_999_999)
    out: str = option("where failing files are kept", "fuzz", path=True)


def main(arguments: list[str]) -> int:
    """The command line: 0 where nothing failed, 1 where something did, 2 for a user's mistake."""
    names = list(KINDS) if arguments[0] == "all" else arguments[0].split(",")
    for name in names:
        if name not in KINDS:
            raise UserError(f"there is nothing to fuzz called '{name}': {near(name, KINDS)}, all")
    options = parse(Options, arguments[1:])
    seed, most, jobs, out, single = options.seed, options.cases, options.jobs, Path(options.out), options.case
    seconds = options.seconds or (60 if most is None else None)
    failed = False
    for name in names:
        kind = load(name)
        with tempfile.TemporaryDirectory(prefix="onestroke-fuzz-") as temporary:
            folder = Path(temporary).resolve()
            prepare(kind, folder)
            if single is None:
                report = fuzz(kind, folder, seed, seconds, most, jobs)
            else:
                report = Report()
                for case in cases(kind, folder, seed, range(single, single + 1)):
                    print(case)
                    for result in child.run(kind, [case], folder):
                        report.add(result)
                        print(f"{result.outcome}: {result.says}\n{result.trace}")
            report.tell(name)
            for path in keep(kind, report, folder, seed, out.resolve()):
                print(f"  kept {path}")
        failed = failed or bool(report.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or any(argument in ("-h", "--help", "help") for argument in sys.argv[1:]):
        print(__doc__)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"onestroke: {error}", file=sys.stderr)
        sys.exit(2)
