"""The one direction of imports, what may be imported at all, and that importing does nothing else."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onestroke
from onestroke.version import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = Path(onestroke.__file__).parent

# a file imports only from its own room and from those before it; rooms on one line never import each other
ORDER = (
    ("errors", "version"),
    ("files",),
    ("unfinished",),
    ("documents", "torch_files"),
    ("devices", "ranks", "packages"),
    ("stores",),
    ("byte_ranges",),
    ("imaging",),
    ("kernels",),
    ("perception",),
    ("losses",),
    ("networks",),
    ("scenes",),
    ("data",),
    ("style_document",),
    ("style_file",),
    ("style_merge",),
    ("provenance",),
    ("interop",),
    ("graphs",),
    ("optimization",),
    ("evaluation",),
    ("training", "inference"),
    ("video",),
    ("export", "live", "fleet"),
    ("cli",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def imported(node: ast.AST) -> list[str]:
    """Every dotted name that an import statement may refer to."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: imports are absolute here"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def violations(package: Path) -> Iterator[str]:
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        if inside == Path("__init__.py"):
            continue  # the front door: it lends names from many rooms, each when it is asked for
        # a room's __main__.py is a command line
        room = "__main__" if inside.name == "__main__.py" else inside.with_suffix("").parts[0]
        if room not in RANK:
            yield f"{inside}: the room {room} has no place in ORDER"
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node):
                parts = name.split(".")
                if parts[0] != "onestroke" or len(parts) == 1:
                    continue
                other = parts[1]
                if not (package / other).is_dir() and not (package / f"{other}.py").is_file():
                    continue  # a name of the package itself, such as __version__
                if other != room and RANK.get(other, len(ORDER)) >= RANK[room]:
                    yield f"{inside}:{getattr(node, 'lineno', '?')} imports {other}"


def test_imports_go_one_way() -> None:
    assert list(violations(PACKAGE)) == []


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("errors.py", "import onestroke.perception.vgg", ["errors.py:1 imports perception"]),
        ("training/run.py", "from onestroke import inference", ["training/run.py:1 imports inference"]),
        ("inference/a.py", "from onestroke.training.run import train", ["inference/a.py:1 imports training"]),
        ("perception/a.py", "def f():\n    from onestroke.losses import gram", ["perception/a.py:2 imports losses"]),
        ("losses/__main__.py", "from onestroke.training.run import train", []),
        ("utils.py", "import os", ["utils.py: the room utils has no place in ORDER"]),
        ("losses/a.py", "from onestroke import perception, __version__\nimport onestroke.losses.b", []),
    ],
)
def test_the_check_itself_sees(tmp_path: Path, file: str, line: str, found: list[str]) -> None:
    (tmp_path / "errors.py").touch()
    for room in ("perception", "losses", "training", "inference"):
        (tmp_path / room).mkdir()
    (tmp_path / file).write_text(line)
    assert [v.replace(os.sep, "/") for v in violations(tmp_path)] == found


def import_graph(package: Path) -> dict[str, set[str]]:
    """By module, the modules of the package that it imports anywhere, in functions and under TYPE_CHECKING too."""
    paths = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        paths[".".join(("onestroke", *(part for part in parts if part != "__init__")))] = path
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        graph[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node):
                while name and name not in paths:  # a name in a module, and not a module
                    name = name.rpartition(".")[0]
                if name:
                    graph[module].add(name)
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, each importing the next; none where there is none."""
    left = dict(graph)
    # what imports nothing that is left lies on no circle
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]
    walk: list[str] = sorted(left)[:1]
    while walk and walk[-1] not in walk[:-1]:
        walk.append(min(left[walk[-1]] & left.keys()))
    return walk[walk.index(walk[-1]) + 1 :] if walk else []


def test_files_import_each_other_in_no_circle() -> None:
    graph = import_graph(PACKAGE)
    assert "onestroke.perception.vgg" in graph["onestroke.perception.style_from_pictures"]
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a": "import onestroke.b", "b": "import onestroke.c", "c": "import os"}, []),
        ({"a": "import onestroke.a"}, ["onestroke.a"]),
        (
            {
                "a": "from onestroke.b import f",
                "b": "def f():\n    from onestroke import c",
                "c": "if TYPE_CHECKING:\n    from onestroke.a import g",
                "d": "import onestroke.a",
            },
            ["onestroke.b", "onestroke.c", "onestroke.a"],
        ),
    ],
)
def test_a_circle_is_seen(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert circle(import_graph(tmp_path)) == found


def test_the_front_door_imports_nothing_until_asked() -> None:
    code = "import sys, onestroke; print(*(m for m in sys.modules if m.split('.')[0] in ('torch', 'onestroke')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["onestroke"]
    assert onestroke.UserError.__module__ == "onestroke.errors"
    assert onestroke.__version__ == __version__
    assert onestroke.Stylizer.__module__ == "onestroke.inference.stylizer"
    with pytest.raises(AttributeError, match="has no attribute 'Stylist'"):
        _ = onestroke.Stylist


MODULES = {
    "pytorch-lightning": "pytorch_lightning",
    "hydra-core": "hydra",
    "pillow": "PIL",
}  # where the names differ


def at_top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import: all but the bodies of functions."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield statement
        for part in ("body", "orelse", "finalbody"):
            yield from at_top(getattr(statement, part, []))
        for handler in getattr(statement, "handlers", []):
            yield from at_top(handler.body)


def test_only_core_dependencies_are_imported_at_the_top() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[ <>=!~\[;]", requirement)[0] for requirement in project["dependencies"]]
    core = {MODULES.get(name, name) for name in names}
    core.add("omegaconf")  # what Hydra hands out: hydra-core brings it, at the version that it needs
    foreign = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in PACKAGE.rglob("*.py")
        for statement in at_top(ast.parse(path.read_text(encoding="utf-8")).body)
        for name in imported(statement)
        if name.split(".")[0] not in core | sys.stdlib_module_names | {"onestroke"}
    }
    assert "torch" in core
    assert foreign == set()


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_are_told_not_to_spin_before_torch_is_there_to_read_it(given: dict[str, str], expected: str) -> None:
    code = "import os, sys, onestroke.cli; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    told = subprocess.run([sys.executable, "-c", code], env=plain | given, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [expected, "False"]
