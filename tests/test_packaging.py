"""What is installed: the wheel by itself, the core dependencies by themselves, and the scripts of a bare machine."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from PIL import Image

from onestroke.cli.main import COMMANDS
from onestroke.inference.stylizer import Stylizer
from onestroke.style_file import read_document
from tests.commands import ROOT, TINY, command, environment

SCRIPTS = ("onestroke-train", "onestroke-infer", "onestroke-export", "onestroke-evaluate", "onestroke-live")
SUBCOMMANDS = [name.split() for name in COMMANDS]


def photo(path: Path, height: int = 40, width: int = 56) -> Path:
    """A picture of colourful blocks."""
    blocks = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, by its path in it; no caches."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def bare(folder: Path, *paths: Path) -> Path:
    """A virtual environment that holds nothing but sees the packages of this one, behind what it is given to hold."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    here = [Path(sysconfig.get_paths()[kind]) for kind in ("purelib", "platlib")] + [Path(torch.__file__).parents[1]]
    # lines of paths alone: the .pth files in these folders, such as that of an editable install, do not count
    (site / "others.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys([*paths, *here])))
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]))
    )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, installed by pip."""
    folder = bare(tmp_path_factory.mktemp("installed") / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    offline = ["--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile", "--quiet"]
    done = subprocess.run([*pip, "install", *offline, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def started(
    folder: Path, name: str, *arguments: str, cwd: Path, gone: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """A program of an environment, started from another folder, where nothing else leads to the package.

    Its environment has no variables of the names in `gone`, and those of `more`.
    """
    gone = (*gone, "PYTHONPATH", "VIRTUAL_ENV")
    variables = {key: value for key, value in environment().items() if key not in gone} | more
    return subprocess.run(
        [str(folder / "bin" / name), *arguments], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )  # fmt: skip


def test_the_wheel_holds_all_that_the_checkout_has(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    package = files(tmp_path / "onestroke")
    configs = {name.removeprefix("configs/"): body for name, body in package.items() if name.startswith("configs/")}
    assert configs == files(ROOT / "configs")
    source = files(ROOT / "src" / "onestroke")
    assert {"py.typed", "assets/vgg16.safetensors", "assets/styles/starry_night.safetensors"} <= source.keys()
    gallery = {"assets/gallery.safetensors": (ROOT / "checkpoints" / "gallery.safetensors").read_bytes()}
    assert {name: body for name, body in package.items() if not name.startswith("configs/")} == source | gallery
    (info,) = tmp_path.glob("*.dist-info")
    assert {path.name for path in info.rglob("*") if path.is_file()} >= {"LICENSE", "NOTICE", "METADATA"}
    assert {path.name for path in tmp_path.iterdir()} == {info.name, "onestroke"}


# Python as it is where nothing but what the core needs is installed: neither the modules of all else nor what their
# metadata says are found. Every module is imported, and then the scripts that pip wrote run one after the other: all in
# one process, since each would import torch anew.
SCRIPTED = """
import contextlib, importlib, io, json, pkgutil, re, runpy, sys
from importlib.machinery import PathFinder
from pathlib import Path

modules, distributions, commands = json.loads(sys.argv[1])

class Core:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in modules else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(*context):
        for found in PathFinder.find_distributions(*context):
            if re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower() not in distributions:
                yield found

sys.meta_path[sys.meta_path.index(PathFinder)] = Core
import onestroke
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    for module in pkgutil.walk_packages(onestroke.__path__, "onestroke."):
        importlib.import_module(module.name)
left = [str(path) for folder in (Path.home(), Path.cwd()) for path in folder.rglob("*")]
imported = [name for name in sys.modules if name.startswith("onestroke")]
told = []
for arguments in commands:
    sys.argv, out = arguments, io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            code = runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    told.append([code, out.getvalue()])
there = sorted(set(modules) & {name.partition(".")[0] for name in sys.modules})
print(json.dumps([told, imported, said.getvalue(), left, there, onestroke.__file__, onestroke.__version__,
                  sys.modules["torch"].__version__]))
"""


def plain(name: str) -> str:
    """A distribution's name as all of its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, lines: list[str], found: set[str]) -> set[str]:
    """The distributions that one needs by itself, without its extras, and those that these need."""
    if plain(name) not in found:
        found.add(plain(name))
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                with contextlib.suppress(metadata.PackageNotFoundError):
                    needed(requirement.name, metadata.requires(requirement.name) or [], found)
    return found


def beyond(wheel: Path) -> tuple[list[str], list[str]]:
    """The modules and the distributions that are not there where the wheel is installed without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    assert lines is not None
    kept = needed("onestroke", lines, set())
    by_module = {name: {plain(one) for one in owners} for name, owners in metadata.packages_distributions().items()}
    modules = sorted(name for name, owners in by_module.items() if not owners & kept)
    assert {"skimage", "matplotlib", "onnx", "onnxruntime", "pytest"} <= set(modules)
    assert not {"torch", "numpy", "PIL", "hydra", "omegaconf", "tensorboard"} & set(modules)
    return modules, sorted(set().union(*by_module.values()) - kept)


@dataclass
class Scripted:
    """What the installed scripts said, exit code and output by their arguments, and left in their folders."""

    told: dict[tuple[str, ...], tuple[int, str]]
    modules: list[str]  # of the package, all imported
    said: str  # by importing them
    left: list[str]  # by importing them, in the home and the working folder
    there: list[str]  # modules that are not the core's
    package: Path
    versions: tuple[str, str]  # of OneStroke and of torch
    folder: Path
    photo: Path


HELPED = [(script, "--help") for script in SCRIPTS] + [("onestroke", *words, "--help") for words in SUBCOMMANDS]


@pytest.fixture(scope="module")
def scripted(installed: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    folder, home, away = (tmp_path_factory.mktemp(name) for name in ("scripted", "home", "away"))
    source = photo(away / "photo.png")
    (gallery,) = installed.glob("lib/python*/site-packages/onestroke/assets/gallery.safetensors")
    style = read_document(gallery).styles[0]
    small = [option for option in TINY if not option.startswith("network.")]  # the gallery's network
    commands = [
        *HELPED,
        ("onestroke-infer", f"ckpt={gallery}", f"style={style}", f"input={source}", "output=painted.png"),
        # one step at next to no rate: what comes out is what it started from
        ("onestroke-train", *small, "style=udnie", "steps=1", "lr=1e-12"),
    ]
    given = [[str(installed / "bin" / script), *arguments] for script, *arguments in commands]
    done = started(
        installed, "python", "-c", SCRIPTED, json.dumps([*beyond(wheel), given]), cwd=folder,
        gone=("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TORCH_HOME", "MPLCONFIGDIR"),
        HOME=str(home), USERPROFILE=str(home), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, modules, said, left, there, package, *versions = json.loads(done.stdout.splitlines()[-1])
    named = {command: tuple(each) for command, each in zip(commands, told, strict=True)}
    return Scripted(named, modules, said, left, there, Path(package), tuple(versions), folder, source)


def test_the_wheel_s_package_is_the_one_that_is_found(installed: Path, scripted: Scripted) -> None:
    assert installed in scripted.package.parents
    assert scripted.versions == (metadata.version("onestroke"), torch.__version__)


def test_each_command_is_installed_and_says_how_it_is_used(scripted: Scripted) -> None:
    for asked in HELPED:
        code, text = scripted.told[asked]
        name = asked[-2].removeprefix("onestroke-")
        assert (code, name in text) == (0, True), (asked, text)
    assert {path.name for path in scripted.folder.iterdir()} == {"painted.png", "checkpoints", "runs"}


def test_the_one_command_and_the_module_list_all_commands(installed: Path, tmp_path: Path) -> None:
    listed = started(installed, "python", "-m", "onestroke", "--help", cwd=tmp_path)
    assert listed.stdout == started(installed, "onestroke", cwd=tmp_path).stdout
    assert [" ".join(words) for words in SUBCOMMANDS] == re.findall(r"^  (\w+(?: \w+)?)  ", listed.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def ended(scripted: Scripted, script: str) -> int:
    """The exit code of a script's last command."""
    return [code for command, (code, _) in scripted.told.items() if command[0] == script][-1]


def test_the_wheel_s_gallery_paints_a_photo(scripted: Scripted) -> None:
    assert ended(scripted, "onestroke-infer") == 0
    painted = np.asarray(Image.open(scripted.folder / "painted.png")).astype(float)
    assert painted.shape == (40, 56, 3)
    assert np.abs(painted - np.asarray(Image.open(scripted.photo))).mean() > 10


def test_the_wheel_trains_from_its_own_gallery_cards_and_vgg(scripted: Scripted) -> None:
    assert ended(scripted, "onestroke-train") == 0
    photos = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    found = Stylizer(scripted.folder / "checkpoints" / "udnie.safetensors").paint(photos)
    expected = Stylizer(ROOT / "checkpoints" / "gallery.safetensors", mix="udnie").paint(photos)
    assert float((found - expected).abs().max()) < 1 / 255
    assert float((found - photos).abs().mean()) > 0.1


# --- the core dependencies alone --------------------------------------------------------------------------


def test_the_core_dependencies_are_enough(scripted: Scripted) -> None:
    assert [command for command, (code, _) in scripted.told.items() if code] == []
    assert scripted.there == [], "imported all the same"
    assert Image.open(scripted.folder / "painted.png").size == (56, 40)


def test_importing_every_module_leaves_nothing_behind(scripted: Scripted) -> None:
    package = ROOT / "src" / "onestroke"
    files = {path for path in package.rglob("*.py") if path != package / "__init__.py"}
    modules = {
        ".".join(("onestroke", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        for path in files
    }
    assert modules <= set(scripted.modules), "a module was not imported"
    assert (scripted.said, scripted.left) == ("", [])


# --- from a bare machine to a painted photo -----------------------------------------------------------------

BASH = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def ready(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the checkout, in a folder with a space, and an environment that is set up for it."""
    root = tmp_path / "my project"
    for name in ("configs", "scripts"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("train.py", "infer.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    for name in ("src", "checkpoints"):
        (root / name).mkdir()
    shutil.copy(ROOT / "checkpoints" / "gallery.safetensors", root / "checkpoints")
    shutil.copytree(
        ROOT / "src" / "onestroke", root / "src" / "onestroke", ignore=shutil.ignore_patterns("assets", "__pycache__")
    )
    (root / "src" / "onestroke" / "assets").symlink_to(ROOT / "src" / "onestroke" / "assets")
    folder = bare(tmp_path / "venv", root / "src")
    shutil.copy(root / "pyproject.toml", folder / ".onestroke-demo")
    return root, folder


def quickstart(ready: tuple[Path, Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    root, folder = ready
    variables = {**environment(), "VIRTUAL_ENV": str(folder)}
    del variables["PYTHONPATH"]
    return subprocess.run(
        ["bash", str(root / "scripts" / "quickstart.sh"), *arguments],
        cwd=root.parent, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


@BASH
def test_quickstart_trains_and_paints(ready: tuple[Path, Path]) -> None:
    """The commands that it gives, run here on a network and pictures so small that they take no minutes."""
    root, folder = ready
    assert "minutes: 4" in (root / "configs" / "experiment" / "quick.yaml").read_text()
    photo(root.parent / "my photo.png")
    python, noted = folder / "bin" / "python", root.parent / "noted"
    python.unlink()
    note = f'printf "%s\\0" "$@" >> "{noted}"; echo >> "{noted}"'
    python.write_text(f'#!/bin/sh\ncase $1 in *.py) {note} ;; *) exec "${{0%/*}}/python3" "$@" ;; esac\n')
    python.chmod(0o755)
    done = quickstart(ready, "input=my photo.png", "style=udnie", "minutes=5")
    assert done.returncode == 0, done.stderr
    style, painting = (root / "runs" / "quickstart" / name for name in ("udnie.safetensors", "my photo.udnie.png"))
    assert f"style file   {style}" in done.stdout and f"painting     {painting}" in done.stdout
    (train, *asked), (infer, *wanted) = (line.split("\0")[:-1] for line in noted.read_text().splitlines())
    assert (train, infer) == ("train.py", "infer.py") and "experiment=quick" in asked
    for script, arguments in ((train, [*asked, *TINY, "batch_size=1", "steps=2"]), (infer, wanted)):
        ran = command(script, *arguments, cwd=root, root=root)
        assert ran.returncode == 0, ran.stderr
    training = read_document(style).training
    assert (training["steps"], training["config"]["minutes"], training["config"]["style"]["name"]) == (2, 5, "udnie")
    assert Image.open(painting).size == (56, 40)


@BASH
def test_quickstart_tells_mistakes_and_how_it_is_used(ready: tuple[Path, Path]) -> None:
    shown = quickstart(ready, "--help")
    assert shown.returncode == 0 and "minutes=4" in shown.stdout
    for argument, words in (("minuets=1", "there is no option 'minuets=1'"), ("input=gone.jpg", "gone.jpg")):
        done = quickstart(ready, argument)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert not (ready[0] / "runs").exists()


@BASH
@pytest.mark.slow
def test_quickstart_as_it_is_in_a_minute(ready: tuple[Path, Path]) -> None:
    """The photo that scikit-image ships, the network and pictures of the quick experiment, and a minute to train."""
    pytest.importorskip("skimage")
    done = quickstart(ready, "minutes=1")
    assert done.returncode == 0, done.stderr
    folder = ready[0] / "runs" / "quickstart"
    training = read_document(folder / "starry_night.safetensors").training
    assert training["steps"] >= 1 and training["seconds"] >= 60
    painted = np.asarray(Image.open(folder / "astronaut.starry_night.png")).astype(float)
    assert painted.shape == (512, 512, 3)
    assert np.abs(painted - np.asarray(Image.open(folder / "astronaut.png"))).mean() > 10
