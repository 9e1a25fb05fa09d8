"""scripts/fuzz.py: that it sees what it is there for, keeps the smallest case, and gives the same cases again."""

from __future__ import annotations

import copy
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from onestroke.errors import UserError
from tests.commands import ROOT, process

sys.path.insert(0, str(ROOT / "scripts"))

import fuzz
from fuzzing import child, values
from fuzzing.cases import BYTES, Case, Kind, build, draw
from fuzzing.child import MIB, Limits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and forks")

LIMITS = Limits(memory=64 * MIB, cpu=0.3, wall=20)
SOUND = b"sound file 0123456789"


def kind(use: Callable[[bytes], object]) -> Kind:
    """A kind of one sound file and one change, `spoil`; `use` gets the content."""

    def make(folder: Path) -> None:
        (folder / "base.bin").write_bytes(SOUND)

    def used(path: Path, _: Random) -> None:
        use(path.read_bytes())

    changes = {"spoil": (1, lambda content, _: content + b"!")}
    return Kind("toy", make, lambda _: changes, used)


def spoilt(then: Callable[[], object]) -> Callable[[bytes], object]:
    """A use that does something once the file is spoilt."""
    return lambda content: then() if b"!" in content else None


def case(*names: str) -> Case:
    return Case(0, "base.bin", tuple((name, 1) for name in names), 0)


def run(use: Callable[[bytes], object], folder: Path, *names: str, limits: Limits = LIMITS) -> child.Result:
    """The one result of a case with these changes."""
    toy = kind(use)
    (folder / "bases").mkdir(exist_ok=True)
    toy.make(folder / "bases")
    (result,) = child.run(toy, [case(*names)], folder, limits=limits)
    return result


def fail(error: BaseException) -> Callable[[], object]:
    def throw() -> None:
        raise error

    return throw


def hog() -> None:
    # pages of its own, since a heap may have as many left from before
    with mmap.mmap(-1, 150 * MIB) as pages:
        for page in range(0, len(pages), mmap.PAGESIZE):
            pages[page] = 1


class Raw(UserError):
    """A message whose control characters are not escaped."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


def hang() -> None:
    while True:
        pass


def die() -> None:
    os.abort()


@pytest.mark.parametrize(
    ("then", "outcome", "says"),
    [
        (lambda: None, "ok", ""),
        (fail(UserError("this file is damaged")), "told", "this file is damaged"),
        (fail(KeyError("planted")), "exception", "KeyError: 'planted'"),
        (fail(SystemExit(3)), "exception", "SystemExit: 3"),
        (fail(Raw("\x1b[31mred")), "message", "\x1b[31mred"),
        (fail(Raw("long " * 1000)), "message", "long long"),
        (hog, "memory", ""),
        (hang, "time", "SIGPROF"),
        (die, "crash", "SIGABRT"),
        (lambda: os.system("true"), "ran", "os.system"),
        (lambda: Path("left").touch(), "ran", "wrote left"),
        (lambda: subprocess.run(["true"], check=True), "ran", "subprocess.Popen"),
    ],
)
def test_what_a_file_may_not_cause_is_a_failure(
    then: Callable[[], object], outcome: str, says: str, tmp_path: Path
) -> None:
    result = run(spoilt(then), tmp_path, "spoil")
    assert (result.outcome, result.says[: len(says)]) == (outcome, says), result.trace
    assert result.sound == (outcome in ("ok", "told"))
    assert run(spoilt(then), tmp_path).outcome == "ok", "without the change nothing happens"
    assert [path.name for path in tmp_path.iterdir()] == ["bases"]


def test_a_file_outside_of_the_cases_folder_is_not_written_and_told(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    result = run(spoilt(lambda: place.write_text("x")), tmp_path, "spoil")
    assert result.outcome == "ran" and "elsewhere" in result.says
    assert not place.exists()


def test_what_only_waits_is_killed_after_a_while(tmp_path: Path) -> None:
    result = run(spoilt(lambda: time.sleep(60)), tmp_path, "spoil", limits=Limits(wall=0.5))
    assert result.outcome == "time"


def test_memory_that_the_system_refused_is_a_failure_though_it_was_told(tmp_path: Path) -> None:
    def use() -> None:
        try:
            bytearray(10_000 * MIB)
        except MemoryError as error:
            raise UserError("too large") from error

    assert run(spoilt(use), tmp_path, "spoil").outcome == "memory"


def test_a_sound_file_that_is_refused_is_a_failure(tmp_path: Path) -> None:
    assert run(lambda _: fail(UserError("no"))(), tmp_path).outcome == "refused"


def test_the_cases_after_a_crash_are_run_too(tmp_path: Path) -> None:
    toy = kind(spoilt(die))
    (tmp_path / "bases").mkdir()
    toy.make(tmp_path / "bases")
    cases = [Case(i, "base.bin", (("spoil", 1),) if i in (1, 4) else (), 0) for i in range(7)]
    results = {r.number: r.outcome for r in child.run(toy, cases, tmp_path, jobs=2, limits=LIMITS, batch=4)}
    assert results == {i: "crash" if i in (1, 4) else "ok" for i in range(7)}


def test_a_failing_case_is_kept_with_as_few_changes_as_still_make_it_fail(tmp_path: Path) -> None:
    toy = kind(spoilt(fail(KeyError("planted"))))
    (tmp_path / "bases").mkdir()
    toy.make(tmp_path / "bases")
    many = case("spoil", "bytes.insert", "bytes.flip")
    (result,) = child.run(toy, [many], tmp_path, limits=LIMITS)
    smallest, alone = fuzz.minimised(toy, many, result.signature, tmp_path, LIMITS)
    assert smallest.changes == (("spoil", 1),)
    assert alone is not None and alone.outcome == "exception"


def test_what_failed_is_written_beside_its_traceback(tmp_path: Path) -> None:
    toy = kind(spoilt(fail(KeyError("planted"))))
    (tmp_path / "bases").mkdir()
    toy.make(tmp_path / "bases")
    report = fuzz.fuzz(toy, tmp_path, seed=5, seconds=None, most=40, limits=LIMITS)
    assert set(report.outcomes) == {"ok", "exception"} and sum(report.outcomes.values()) == 40
    kept = fuzz.keep(toy, report, tmp_path, 5, tmp_path / "out", LIMITS)
    assert len(kept) == 3  # of one kind of failure no more are kept
    for path in kept:
        assert b"!" in path.read_bytes()
        told = path.with_suffix(".txt").read_text()
        assert "KeyError: 'planted'" in told and "base.bin: " in told and "Traceback" in told


@pytest.fixture(scope="module", params=sorted(fuzz.KINDS))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kind, Path]]:
    if request.param == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    if request.param == "resume":
        pytest.skip("its sound files are trained: the command below does it")
    folder = tmp_path_factory.mktemp(request.param)
    kind = fuzz.load(request.param)
    (folder / "bases").mkdir()
    kind.make(folder / "bases")
    yield kind, folder / "bases"


def test_the_same_seed_gives_the_same_files_and_another_gives_others(prepared: tuple[Kind, Path]) -> None:
    kind, bases = prepared
    names = [path.name for path in bases.iterdir()]

    def content(seed: int, number: int) -> bytes:
        drawn = draw(kind, names, seed, number)
        return build(kind, drawn, (bases / drawn.base).read_bytes())

    once, again, other = ([content(seed, number) for number in range(6)] for seed in (1, 1, 2))
    assert once == again
    assert sum(a == b for a, b in zip(once, other, strict=True)) < 3


def test_every_change_changes_a_file(prepared: tuple[Kind, Path]) -> None:
    kind, bases = prepared
    idle = {name for path in bases.iterdir() for name in kind.changes(path.name)}
    for path in sorted(bases.iterdir(), key=lambda path: path.stat().st_size):
        content = path.read_bytes()
        for name in idle & set(kind.changes(path.name)):
            if any(build(kind, Case(0, path.name, ((name, seed),), 0), content) != content for seed in range(6)):
                idle.remove(name)
    assert idle == set()


@pytest.mark.parametrize("name", sorted(BYTES))
def test_changes_of_bytes_change_something_and_take_an_empty_file(name: str) -> None:
    content = bytes(range(200)) + b"0123"
    assert any(BYTES[name](content, Random(seed)) != content for seed in range(5))
    assert len(build(kind(lambda _: None), Case(0, "base.bin", ((name, 3),), 0), b"")) < 10_000


def test_a_document_is_spoilt_in_one_place_and_nearly_always() -> None:
    document = {"a": {"b": [1, 2, {"c": "d"}]}, "e": 1.5}
    texts = {values.text(values.changed(copy.deepcopy(document), Random(seed))) for seed in range(50)}
    assert len(texts) > 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stile"], "there is nothing to fuzz called 'stile': did you mean 'style'?"),
        (["style", "seed=x"], "seed must be a whole number from 0"),
        (["style", "case"], "case has no value"),
    ],
)
def test_mistakes_are_told(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = process("scripts/fuzz.py", *arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert says in done.stderr


def fuzzed(cases: int, seed: int, names: str, folder: Path) -> str:
    done = process("scripts/fuzz.py", names, f"cases={cases}", f"seed={seed}", cwd=folder, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_handful_of_each_kind_is_taken_or_refused_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    told = fuzzed(8, 0, "all", tmp_path)
    assert [line.split(",")[0] for line in told.splitlines() if not line.startswith(" ")] == [
        f"{name}: 8 cases" for name in fuzz.KINDS
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(fuzz.KINDS))
def test_a_thousand_of_each_kind_are_taken_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    if name == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    fuzzed(1000, 1, name, tmp_path)
