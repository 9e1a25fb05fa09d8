"""Resume files: what `train.py resume=` reads, builds, and goes on with; nothing that they name may run."""

from __future__ import annotations

import io
import json
import pickletools
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fuzzing import values
from fuzzing.cases import Change, Kind
from onestroke.cli.train import config_folder
from onestroke.training import resume_file, resuming, run
from onestroke.training.build import build

_TINY = (
    "trainer=cpu", "trainer.precision=32-true", "trainer.workers=0", "network.channels=[4,4,8]", "network.blocks=1",
    "network.ends=3", "crop=32", "batch_size=1", "steps=2", "data.validation=1", "measure=false", "loss=[content]",
)  # fmt: skip
_RUNS: Mapping[str, tuple[str, ...]] = {
    "plain": ("style=great_wave", "init=null"),
    "adam": ("style=great_wave", "optimizer=adam", "ema=null", "init=null", "network.controls=[]"),
    "many": ("style=[great_wave,udnie]", "style.name=two", "init=null", "network.controls=[strength]"),
}
_COMPOSED = "config.json"
CANARY = "canary"
_configs: dict[str, Any] = {}


def make(folder: Path) -> None:
    """Train each for two steps and keep the resume file."""
    for name, options in _RUNS.items():
        place = Path(name)
        place.mkdir()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            composed = compose("train", [*options, *_TINY, f"out={name}.safetensors"])
        config = json.loads(json.dumps(OmegaConf.to_container(composed, resolve=True)))
        run.train(config, place)
        stored = torch.load(place / resume_file.NAME, weights_only=True)
        stored["onestroke"]["elapsed"] = 1.0  # the one thing that differs from time to time
        torch.save(stored, folder / f"{name}.ckpt")


def warm(folder: Path) -> None:
    """The config of a command line that resumes, and what building needs."""
    sound = folder / "bases" / "plain.ckpt"
    config = json.loads(torch.load(sound, weights_only=True)["onestroke"]["config"])
    _configs["resume"] = {**config, "out": None, "overwrite": False}
    resumed, _ = resuming.resumed({**_configs["resume"], "resume": str(sound)}, [f"resume={sound}"], config_folder())
    build(resumed, folder)


def _zipped(change: Callable[[dict[str, bytes], Random], None]) -> Change:
    """A change of the files in the archive, whose sums fit again after it."""

    def apply(content: bytes, rng: Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        change(entries, rng)
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            for name, data in entries.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return written.getvalue()

    return apply


def _pickle_of(entries: Mapping[str, bytes]) -> str:
    return next(name for name in entries if name.endswith("data.pkl"))


def _opcode(entries: dict[str, bytes], rng: Random) -> None:
    """One step of the pickle's program: left out, twice, or another."""
    name = _pickle_of(entries)
    data = entries[name]
    starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    number = rng.randrange(len(starts) - 1)
    start, end = starts[number], starts[number + 1]
    choice = rng.randrange(4)
    if choice == 0:
        data = data[:start] + data[end:]
    elif choice == 1:
        data = data[:end] + data[start:end] + data[end:]
    elif choice == 2:
        data = data[:start] + rng.choice(pickletools.opcodes).code.encode("latin-1") + data[start + 1 :]
    else:
        data = data[:start] + rng.randbytes(rng.choice((1, 4))) + data[start:]
    entries[name] = data


def _program(entries: dict[str, bytes], rng: Random) -> None:
    """A pickle that calls something; were it to run, there would be a file, or the watch would tell."""
    calls = (
        b"cos\nsystem\n(V touch canary\ntR",
        b"cos\nremove\n(Vcase.ckpt\ntR",
        b"cbuiltins\neval\n(V open('canary', 'w')\ntR",
        b"cbuiltins\nexec\n(V1\ntR",
        b"cbuiltins\ngetattr\n(cpathlib\nPath\nVtouch\ntR",
        b"csubprocess\nPopen\n(Vtrue\ntR",
        b"cpathlib\nPath\n(Vcanary\ntR",
        b"cfuzzing.resume\nfire\n(tR",
        b"ctorch\nload\n(Vcase.ckpt\ntR",
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI0\n(I9\nt(I1\nt\x89Ntr",
        b"ccollections\nOrderedDict\n(I1\ntR",
    )
    name = _pickle_of(entries)
    data, call = entries[name], rng.choice(calls)
    start = 2 if data[:1] == b"\x80" else 0
    entries[name] = data[:start] + call + (b"." if rng.random() < 0.3 else b"0" + data[start:])


def _entry(entries: dict[str, bytes], rng: Random) -> None:
    """A file of the archive that is missing, shorter, longer or called otherwise."""
    name = rng.choice(sorted(entries))
    choice = rng.randrange(4)
    if choice == 0:
        del entries[name]
    elif choice == 1:
        entries[name] = entries[name][: rng.randrange(len(entries[name]) + 1)]
    elif choice == 2:
        entries[name] += bytes(rng.choice((1, 1000, 10**7)))
    else:
        entries[rng.choice(("../up", "/abs", "archive/data/0", "archive/data.pkl", "a" * 60_000))] = entries.pop(name)


def _repickled(change: Callable[[dict[str, Any], Random], None]) -> Change:
    """A change of what the pickle holds."""

    def apply(content: bytes, rng: Random) -> bytes:
        stored = torch.load(io.BytesIO(content), weights_only=True)
        change(stored, rng)
        written = io.BytesIO()
        torch.save(stored, written)
        return written.getvalue()

    return apply


def _field(stored: dict[str, Any], rng: Random) -> None:
    """One of our own fields, or of Lightning's."""
    holder = stored["onestroke"] if rng.random() < 0.6 else stored
    key = rng.choice(sorted(holder))
    if rng.random() < 0.25:
        del holder[key]
    else:
        holder[key] = rng.choice((values.hostile(rng), torch.zeros(2), {0: {1: 2}}, (1, 2), b"bytes", 2.5))


def _state(stored: dict[str, Any], rng: Random) -> None:
    """A tensor of the network, or of the optimiser: missing, of another shape or kind, not finite."""
    state = stored["state_dict"]
    name = rng.choice(sorted(state))
    tensor = state[name]
    choice = rng.randrange(7)
    if choice == 0:
        del state[name]
    elif choice == 1:
        state[f"{name}x"] = state.pop(name)
    elif choice == 2:
        state[name] = tensor.flatten()[:1]
    elif choice == 3:
        state[name] = torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else -tensor
    elif choice == 4:
        state[name] = rng.choice((tensor.to(torch.int64), tensor.to_sparse(), None, "x"))
    else:
        states = stored["optimizer_states"]
        states[:] = rng.choice(([], [{}], states * 2, [{"state": {}, "param_groups": []}], [values.hostile(rng)]))


def _config(change: Callable[[Any, Random], Any]) -> Change:
    def apply(stored: dict[str, Any], rng: Random) -> None:
        config = change(json.loads(stored["onestroke"]["config"]), rng)
        stored["onestroke"]["config"] = values.text(config)

    return _repickled(apply)


def fire(*_: object, **__: object) -> None:
    """What a hostile file names; running it leaves a file, which the case then fails by."""
    Path(CANARY).touch()


_FIRE = {"_target_": "fuzzing.resume.fire"}
_TARGETS: tuple[dict[str, Any], ...] = (
    _FIRE,
    {**_FIRE, "_partial_": True},
    {**_FIRE, "_recursive_": False, "_convert_": "object"},
    {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": ["canary"]}, "x"]},
    {"_target_": "os.system", "command": "touch canary"},
    {"_target_": "builtins.eval", "_args_": ["open('canary', 'w')"]},
    {"_target_": "builtins.exec", "_args_": ["import fuzzing.resume as r; r.fire()"]},
    {"_target_": "builtins.open", "file": "canary", "mode": "w"},
    {"_target_": "subprocess.Popen", "args": ["true"]},
    {"_target_": "shutil.rmtree", "path": "."},
    {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    {"_target_": "torch.nn.Linear", "in_features": 10**6, "out_features": 10**6},
    {"_target_": "functools.partial", "_args_": [_FIRE]},
    {"_target_": "hydra.utils.instantiate", "config": _FIRE},
    {"_target_": "hydra.utils.call", "_args_": [_FIRE]},
    {"_target_": "onestroke.training.parts.instantiate", "config": _FIRE},
    {"_target_": "onestroke.files.make_folder", "folder": "canary"},
    {"_target_": "onestroke.data.download.fetch"},
    {"_target_": "onestroke.cli.cache.build", "arguments": ["root=."]},
    {"_target_": "onestroke.networks.residual.UserError"},
    {"_target_": "onestroke.networks.residual.ResidualNetwork", "channels": _FIRE},
    {"_target_": "onestroke.networks.base.TransformNetwork"},
    {"_target_": "onestroke.losses.gram..gram"},
    {"_target_": ""},
    {"_target_": 5},
    {"_target_": ["a"]},
    {"_target_": "${oc.env:HOME}"},
    {"_target_": "${run_folder:a,b,c}"},
)


def _target(config: Any, rng: Random) -> Any:
    """Something to be called in the place of a part, or inside of one."""
    hostile = json.loads(json.dumps(rng.choice(_TARGETS)))
    groups = [
        "network",
        "data",
        "loss.content",
        "trainer",
        "style",
        "vgg",
        "logger",
        "callbacks",
        "optimizer",
        "schedule",
    ]
    holder, (*path, last) = config, rng.choice(groups).split(".")
    for step in path:
        holder = holder[step]
    choice = rng.randrange(4)
    if choice == 0 or not isinstance(holder.get(last), dict):
        holder[last] = hostile
    elif choice == 1:
        holder[last].update(hostile)
    elif choice == 2:
        part = holder[last]
        part[rng.choice([*part, "extra"])] = hostile
    else:
        holder[last]["extra"] = [{"deep": [hostile]}]
    return config


def _place(config: Any, rng: Random) -> Any:
    """Where a run would write or read."""
    place = rng.choice(
        ("/canary.safetensors", "canary.safetensors", "../canary.safetensors", "~/canary.safetensors", "case.ckpt")
    )
    config[rng.choice(("out", "out", "init", "teacher", "resume"))] = place
    if rng.random() < 0.5:
        config["overwrite"] = True
    return config


def _value(config: Any, rng: Random) -> Any:
    """One option of the run."""
    holder = rng.choice([config, config, *(part for part in config.values() if isinstance(part, dict) and part)])
    key = rng.choice(sorted(holder))
    holder[key] = values.near(holder[key], rng) if rng.random() < 0.4 else values.hostile(rng)
    return config


CHANGES: Mapping[str, tuple[int, Change]] = {
    "resume.opcode": (4, _zipped(_opcode)),
    "resume.program": (4, _zipped(_program)),
    "resume.entry": (2, _zipped(_entry)),
    "resume.field": (4, _repickled(_field)),
    "resume.state": (2, _repickled(_state)),
    "resume.config": (6, _config(values.changed)),
    "resume.value": (6, _config(_value)),
    "resume.target": (10, _config(_target)),
    "resume.place": (3, _config(_place)),
}


def use(path: Path, rng: Random) -> None:
    """Resume and build; now and then train a step more and export."""
    folder = Path("run")
    folder.mkdir()
    shutil.copyfile(path, folder / resume_file.NAME)
    overrides = [f"resume={folder}", *(["steps=3"] if rng.random() < 0.5 else [])]
    config = {**_configs["resume"], "resume": str(folder), "steps": 3}
    resumed, run_dir = resuming.resumed(config, overrides, config_folder())
    if rng.random() < 0.9:
        build(resumed, run_dir)
        return
    resumed.update(steps=min(resumed["steps"], 4) if isinstance(resumed["steps"], int) else resumed["steps"])
    run.train(resumed, run_dir)


KIND = Kind("resume", make, lambda _: CHANGES, use, warm, leaves=("run", "checkpoints", "out.safetensors"))
