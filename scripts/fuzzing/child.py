"""Cases in child processes: each measured for time and memory, and watched for what no file may do."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.cases import Case, Kind, build
from onestroke.errors import UserError

SOUND = ("ok", "told")
MIB = 2**20
_LONGEST_MESSAGE, _LONGEST_LINE = 20_000, 2_100
_BATCH = 40  # cases that share a child, since a fork of a process with torch in it takes 10 ms and more


@dataclass(frozen=True)
class Limits:
    """memory: bytes beyond what the process held. cpu: seconds of processor time. wall: seconds, for what waits."""

    memory: int = 1024 * MIB
    cpu: float = 5.0
    wall: float = 120.0


LIMITS = Limits()


@dataclass(frozen=True)
class Result:
    """outcome: ok, told, exception, crash, memory, time, ran, refused (a sound file) or message (unfit to print).

    says: the message, or the exception in a line. where: the innermost place of ours that it came from. trace: the
    whole traceback. cpu: seconds. memory: MiB.
    """

    number: int
    outcome: str
    says: str = ""
    where: str = ""
    trace: str = ""
    cpu: float = 0.0
    memory: float = 0.0

    @property
    def sound(self) -> bool:
        return self.outcome in SOUND

    @property
    def class_of_message(self) -> str:
        """The message without names, numbers and what a library adds."""
        line = re.sub(r"\([^()]*\)", "(...)", (self.says.splitlines() or [""])[0])
        line = re.sub(r"'[^']*'|\"[^\"]*\"|\S*case\.\w+", "...", line)
        return re.sub(r"-?\d[\d.,e+-]*", "N", line)[:110]

    @property
    def signature(self) -> str:
        """What tells one failure from another."""
        kind = "" if self.sound else re.sub(r"'[^']*'|\d+", "...", ":".join(self.says.split(":")[:2]))[:60]
        return f"{self.outcome} {kind} {self.where}".strip()


def run(
    kind: Kind, cases: Sequence[Case], folder: Path, jobs: int = 1, limits: Limits = LIMITS, batch: int = _BATCH
) -> Iterator[Result]:
    """Run cases, some a child, and give the result of each.

    Args:
        kind: of the cases.
        cases: in any order; results come in the order of their ends.
        folder: has the sound files in `bases`; each child has a folder of its own in it.
        jobs: children at once.
        limits: of each case.
        batch: how many cases follow each other in one child.
    """
    waiting = [list(cases[i : i + batch]) for i in range(0, len(cases), batch)][::-1]
    children: dict[int, _Child] = {}
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                child = _Child(kind, waiting.pop(), folder, limits)
                children[child.pipe] = child
            ready, _, _ = select.select(list(children), [], [], 0.2)
            for child in list(children.values()):
                if child.pipe in ready:
                    yield from child.heard()
                child.watch()
                if child.over:
                    del children[child.pipe]
                    yield from child.ended()
                    if child.left:
                        waiting.append(child.left)
    finally:
        for child in children.values():
            child.kill()


class _Child:
    """A forked process that runs cases one after the other and tells through a pipe."""

    def __init__(self, kind: Kind, cases: list[Case], folder: Path, limits: Limits) -> None:
        self.left, self.limits = cases, limits
        self.began, self.late, self.over = time.monotonic(), False, False
        self.pipe, writing = os.pipe()
        self.rest = b""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _work(kind, cases, folder, limits, writing)
        os.close(writing)
        self.folder = folder / f"child{self.pid}"

    def heard(self) -> Iterator[Result]:
        """Read what has come; the results in it."""
        received = os.read(self.pipe, 2**16)
        self.over = not received
        *lines, self.rest = (self.rest + received).split(b"\n")
        for line in lines:
            self.began = time.monotonic()
            self.left = self.left[1:]
            yield Result(**json.loads(line))

    def watch(self) -> None:
        """Kill what has waited for too long."""
        if not self.over and time.monotonic() - self.began > self.limits.wall:
            self.late = True
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> Iterator[Result]:
        """Take leave of the process; where it died of a case, that case's result."""
        _, status, _ = os.wait4(self.pid, 0)
        os.close(self.pipe)
        trace = _text(self.folder / "faults")
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self.left:
            return
        case, self.left = self.left[0], self.left[1:]
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        name = signal.Signals(number).name if number else f"exit code {os.waitstatus_to_exitcode(status)}"
        slow = self.late or number == signal.SIGPROF
        outcome = "time" if slow else "memory" if number == signal.SIGKILL else "crash"
        yield Result(case.number, outcome, name, _ours(trace.splitlines()[::-1]), trace)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.wait4(self.pid, 0)
        os.close(self.pipe)
        shutil.rmtree(self.folder, ignore_errors=True)


def _work(kind: Kind, cases: list[Case], folder: Path, limits: Limits, pipe: int) -> None:
    """The child's whole life."""
    code = 1
    try:
        place = folder / f"child{os.getpid()}"
        place.mkdir()
        os.chdir(place)
        os.environ["TMPDIR"] = os.environ["XDG_CACHE_HOME"] = tempfile.tempdir = str(place)
        crashes = open("faults", "w", encoding="utf-8")  # until the end of the process
        faulthandler.enable(crashes)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.dont_write_bytecode = True
        watch = _Watch(place)
        for case in cases:
            result = _one(kind, case, folder, limits, watch)
            crashes.truncate(0)
            os.write(pipe, json.dumps(asdict(result)).encode() + b"\n")
        code = 0
    except BaseException:
        with Path("faults").open("a", encoding="utf-8") as faults:
            traceback.print_exc(file=faults)
    finally:
        os._exit(code)


def _one(kind: Kind, case: Case, folder: Path, limits: Limits, watch: _Watch) -> Result:
    path = Path(f"case{Path(case.base).suffix}")
    path.write_bytes(build(kind, case, (folder / "bases" / case.base).read_bytes()))
    held = _memory("VmRSS")
    _reset_peak()
    # more than that is not given, so that no case takes down the machine; see _judged for what comes of it
    roof = _memory("VmData") + 4 * limits.memory
    resource.setrlimit(resource.RLIMIT_DATA, (roof, resource.RLIM_INFINITY))
    _tell_free_memory(limits.memory, held)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, limits.cpu * 1.2)
    error: BaseException | None = None
    watch.begin()
    try:
        kind.use(path, Random(case.use))
    except BaseException as raised:
        error = raised
    watch.end()
    signal.setitimer(signal.ITIMER_PROF, 0)
    cpu, memory = time.process_time() - began, _memory("VmHWM") - held
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    left = [entry.name for entry in Path().iterdir() if entry.name not in (path.name, "faults", *kind.leaves)]
    _sweep()
    what = _judged(case, error, cpu, memory, limits, [*watch.seen, *(f"wrote {name}" for name in left)])
    return Result(case.number, cpu=round(cpu, 3), memory=round(memory / MIB, 1), **what)


def _judged(
    case: Case, error: BaseException | None, cpu: float, memory: int, limits: Limits, ran: Sequence[str]
) -> Mapping[str, Any]:
    """A case's outcome, and what is told of it."""
    trace = "".join(traceback.format_exception(error)) if error else ""
    says = f"{type(error).__name__}: {error}" if error else ""
    where = _ours(trace.splitlines())
    if ran:
        outcome, says = "ran", "; ".join(ran[:5])
    elif cpu > limits.cpu:
        outcome = "time"
    elif memory > limits.memory or _lacked_memory(error):
        outcome = "memory"
    elif error is None:
        outcome = "ok"
    elif not isinstance(error, UserError):
        outcome = "exception"
    else:
        says = str(error)
        lines = says.split("\n")
        clear = len(says) <= _LONGEST_MESSAGE and max(map(len, lines)) <= _LONGEST_LINE
        clear = clear and all(line.isprintable() for line in lines)
        outcome = "message" if not clear else "told" if case.changes else "refused"
    return {"outcome": outcome, "says": says[:5_000], "where": where, "trace": trace[-20_000:]}


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether the system refused memory, though it was told in a sentence: more was asked for than is allowed."""
    while error is not None:
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Watch:
    """Sees, by Python's audit events, that something runs, or is written outside of the case's folder; and stops it."""

    _FORBIDDEN = (
        "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn",
        "socket.connect", "socket.bind", "pickle.find_class", "webbrowser.open",
    )  # fmt: skip
    _CHANGING = (
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.chmod",
        "os.link",
        "os.symlink",
        "os.truncate",
        "shutil.rmtree",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder.resolve())
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def begin(self) -> None:
        self.seen, self.active = [], True

    def end(self) -> None:
        self.active = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
            self._refuse(f"open {path!r} to write", bool(writes) and not self._inside(path))
        elif event in self._CHANGING:
            self._refuse(f"{event} {arguments[0]!r}", not self._inside(arguments[0]))
        elif event in self._FORBIDDEN:
            self._refuse(f"{event} {arguments!r}", True)
        elif event == "os.putenv":
            self._refuse(f"{event} {arguments!r}", not os.fsdecode(arguments[0]).startswith("PL_"))  # Lightning's seeds

    def _inside(self, path: object) -> bool:
        if isinstance(path, int):
            return True
        full = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return full.startswith(self.folder + os.sep) or full in (self.folder, os.devnull)

    def _refuse(self, what: str, refused: bool) -> None:
        if refused:
            self.active = False  # what is done to tell of it is no case's doing
            self.seen.append(what[:300])
            self.active = True
            raise PermissionError(f"the fuzzer refuses: {what[:300]}")


def _ours(lines: Sequence[str]) -> str:
    """The last line of a traceback that names a place in src/onestroke."""
    pattern = re.compile(r'File "[^"]*?/(onestroke/[^"]+)", line (\d+),? in (\S+)')
    found = [match for line in lines if (match := pattern.search(line))]
    return f"{found[-1][1]}:{found[-1][2]} {found[-1][3]}" if found else ""


def _sweep() -> None:
    """An empty folder again."""
    for entry in list(Path().iterdir()):
        if entry.name == "faults":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()


def _tell_free_memory(most: int, held: int) -> None:
    """Let the product, which asks before it takes memory, know a machine with `most` bytes beyond those `held`."""

    def free(*_: object) -> int:
        return max(0, most - (_memory("VmRSS") - held))

    for name, module in list(sys.modules.items()):
        if name.startswith("onestroke.") and hasattr(module, "free_memory"):
            module.free_memory = free  # type: ignore[attr-defined]


def _memory(field: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def _reset_peak() -> None:
    """Let VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
