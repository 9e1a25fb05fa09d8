"""A resume file may come from anyone: it builds nothing of its own choice, writes where nobody said, and is checked."""

from __future__ import annotations

import copy
import functools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from onestroke.errors import UserError
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import read_document, save
from onestroke.training import resume_file
from onestroke.training.resuming import resumed
from onestroke.training.run import train
from tests.commands import command
from tests.running import CONFIGS, composed
from tests.test_training import CONFIG

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the resume file of a run of two steps holds, of four."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "run").mkdir()
        train({**CONFIG, "steps": 2, "save_every": 1}, folder / "run")
    loaded: dict[str, Any] = torch.load(folder / "run" / "last.ckpt", weights_only=True)
    return loaded


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder; whatever is written without a place of its own lands beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def written(run: Path, kept: dict[str, Any], change: Change | None = None, **config: Any) -> Path:
    """A resume file, changed."""
    checkpoint = copy.deepcopy(kept)
    if change is not None:
        change(checkpoint)
    if config:
        own = checkpoint["onestroke"]
        own["config"] = json.dumps({**json.loads(own["config"]), **config})
    torch.save(checkpoint, run / "last.ckpt")
    return run / "last.ckpt"


PLAIN = functools.cache(composed)  # Hydra takes a while


def goes_on(path: Path, out: str | None = None) -> Path:
    """`python train.py resume=... steps=4 out=...`, in this process."""
    arguments = [f"resume={path}", "steps=4", *([] if out is None else [f"out={out}"])]
    config, folder = resumed({**PLAIN(), "resume": str(path), "steps": 4, "out": out}, arguments, CONFIGS)
    return train(config, folder)


def refused(path: Path, pattern: str) -> None:
    """Assert that a run can't go on, in one sentence, and that nothing was written."""
    before = sorted(path.parent.parent.rglob("*"))
    with pytest.raises(UserError, match=pattern) as raised:
        goes_on(path)
    assert "\n" not in str(raised.value)
    assert sorted(path.parent.parent.rglob("*")) == before


# --- what it names ----------------------------------------------------------------------------------------

WRITES = {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": ["evil"]}, "x"]}


@pytest.mark.parametrize(
    "config",
    [
        {"data": WRITES},
        {"data": {"_target_": "onestroke.data.scenes.Scenes", "val": WRITES}},
        {"data": {"_target_": "onestroke.data.scenes.Scenes", "validation": [[{"a": WRITES}]]}},
        {"data": {"_target_": "onestroke.data.scenes.Scenes", "_partial_": True}},
        {"data": {"_target_": "onestroke.data.scenes.Scenes", "_args_": ["x"]}},
        {"data": {"_target_": "onestroke.data.scenes.Scenes", "val": "${oc.env:HOME}"}},
        {"data": {"_target_": "onestroke.losses.gram.Gram"}},
        {"data": {"_target_": ["pathlib.Path"]}},
        {"data": None},
        {"data": [WRITES]},
        {"network": {"_target_": "torch.load", "f": "evil.pth"}},
        {"network": {"_target_": "torch.nn.Identity"}},
        {"network": {"_target_": "onestroke.networks.layers.Conv", "inputs": 3, "outputs": 3, "kernel": 1}},
        {"loss": {"content": {"_target_": "os.system", "command": "touch evil"}}},
        {"loss": {"content": WRITES}},
        {"loss": ["x"]},
        {"style": {"name": WRITES}},
        {"vgg": {"arch": "vgg16", "weights": WRITES}},
        {"trainer": {"strategy": WRITES}},
    ],
)
def test_what_a_resume_file_alone_names_is_not_built(config: dict[str, Any], run: Path, kept: dict[str, Any]) -> None:
    refused(written(run, kept, **config), "resume: ")


def test_what_the_command_line_or_configs_name_again_is_built(run: Path, kept: dict[str, Any], tmp_path: Path) -> None:
    own = {"_target_": "torch.nn.Identity", "unused": 1}
    path = written(run, kept, network=own)
    given = [f"resume={path}"]
    named = {**{**PLAIN(), "resume": str(path)}, "network": own}
    assert resumed(named, [*given, "network=mine"], CONFIGS)[0]["network"] == own
    with pytest.raises(UserError, match="repeat all of network as the run was started with it"):
        resumed({**named, "network": {**own, "unused": 2}}, [*given, "network=mine"], CONFIGS)
    with pytest.raises(UserError, match="repeat what the run was started with, network="):
        resumed({**PLAIN(), "resume": str(path)}, given, CONFIGS)
    mine = tmp_path / "configs" / "network" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("_target_: torch.nn.Identity\n")
    assert resumed({**PLAIN(), "resume": str(path)}, given, tmp_path / "configs")[0]["network"] == own


# --- what the command line changes ------------------------------------------------------------------------


def test_options_of_the_run_s_own_terms_are_known(run: Path, kept: dict[str, Any]) -> None:
    """Of loss=[gram,wasserstein] data=photos, where the defaults lack both: they may be repeated, and not changed."""
    loss, photos = composed("loss=[gram,wasserstein]", "data=photos", "data.root=photos"), "data.root=photos"
    path = written(run, kept, loss=loss["loss"], data=loss["data"])

    def told(*changes: str) -> str:
        done = command("train.py", f"resume={path}", *changes, cwd=run.parent)
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    layers = "loss.wasserstein.layers=[relu1_2,relu2_2,relu3_3,relu4_3]"
    for repeated in ("loss.wasserstein.weight=2.0", layers, photos):
        assert "there is no folder photos" in told(repeated), "it is accepted, and fails at what comes after"
    assert "so leave loss.wasserstein.weight out, or repeat all of loss as" in told("loss.wasserstein.weight=3.0")
    assert "so leave data.root out" in told("data.root=others")
    assert "so leave loss out" in told("loss=[gram]")
    wrong = told("loss.wasserstein.wieght=2.0")
    assert "no option 'loss.wasserstein.wieght' in the run" in wrong and "'loss.wasserstein.weight'" in wrong
    assert "there is no option 'loss.content.weight' in the run" in told("loss.content.weight=1.0")


# --- where it writes --------------------------------------------------------------------------------------


def test_where_to_write_is_not_taken_from_the_file(
    run: Path, kept: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    precious = run.parent / "precious.safetensors"
    save(precious, ResidualNetwork([2, 2, 2], 1, 3), Metadata({"name": "ResidualNetwork", "args": {}}))
    before = precious.read_bytes()
    path = written(run, kept, out=str(precious), overwrite=True)
    assert goes_on(path) == Path("checkpoints") / f"{CONFIG['style']['name']}.safetensors"
    assert precious.read_bytes() == before
    assert f"started with out={precious}" in caplog.text
    assert goes_on(path, "other.safetensors") == Path("other.safetensors")


def test_a_finished_style_of_another_run_stays_though_the_file_names_its_run(run: Path, kept: dict[str, Any]) -> None:
    """Whoever knows a style file knows its run's name and mark, but not what the mark is made of."""
    first = goes_on(written(run, kept))
    before = first.read_bytes()
    mark = read_document(first).training["owner"]
    for owner in ("", mark, "0" * 32):
        changed = {**kept, "onestroke": {**kept["onestroke"], "owner": owner}}
        second = goes_on(written(run, changed))
        assert second != first
    assert first.read_bytes() == before
    assert goes_on(written(run, kept)) == first


def test_the_photo_cache_is_not_taken_from_the_file(run: Path, kept: dict[str, Any]) -> None:
    photos = {"_target_": "onestroke.data.photos.Photos", "root": "photos", "cache": "/somewhere"}
    path = written(run, kept, data=photos)
    given = [f"resume={path}"]
    assert resumed({**PLAIN(), "resume": str(path)}, given, CONFIGS)[0]["data"] == {**photos, "cache": "auto"}
    again = [*given, "data=photos", "data.root=photos", "data.cache=/somewhere"]
    named = {**{**PLAIN(), "resume": str(path)}, "data": photos}
    assert resumed(named, again, CONFIGS)[0]["data"] == photos
    alone = {**PLAIN(), "resume": str(path), "data": {**PLAIN()["data"], "cache": "/somewhere"}}
    assert resumed(alone, [*given, "++data.cache=/somewhere"], CONFIGS)[0]["data"] == photos


@pytest.mark.parametrize("name", ["last.ckpt", "config.json", "train.log"])
def test_a_folder_with_links_in_place_of_its_files_is_refused(name: str, run: Path, kept: dict[str, Any]) -> None:
    path = written(run, kept)
    target = run.parent / "target"
    (run / name).rename(target) if (run / name).exists() else target.touch()
    (run / name).symlink_to(target)
    refused(path, "is a link")


# --- what it holds ----------------------------------------------------------------------------------------


def deep(checkpoint: dict[str, Any], *keys: Any, value: Any) -> None:
    for key in keys[:-1]:
        checkpoint = checkpoint[key]
    if value is ...:
        del checkpoint[keys[-1]]
    else:
        checkpoint[keys[-1]] = value


WEIGHT = "network.paint.convolution.weight"
OPTIMIZER = ("optimizer_states", 0)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *((("onestroke", name), value) for name in ("step", "elapsed", "skipped_steps", "rollbacks", "lr_factor")
          for value in (..., None, "1", -1, float("nan"), float("inf"), [1], True)),
        (("onestroke", "moving"), 2.0),
        (("onestroke", "owner"), 5),
        (("onestroke", "config"), "{"),
        (("onestroke", "config"), "[" * 50_000),
        (("onestroke", "config"), '{"lr": NaN}'),
        (("onestroke",), ...),
        (("state_dict",), ...),
        (("state_dict", WEIGHT), ...),
        (("state_dict", WEIGHT), torch.zeros(3)),
        (("state_dict", WEIGHT), torch.zeros(3, 4, 3, 3, dtype=torch.float64)),
        (("state_dict", WEIGHT), torch.full((3, 4, 3, 3), float("nan"))),
        (("state_dict", WEIGHT), torch.zeros(3, 4, 3, 3).to_sparse()),
        (("state_dict", WEIGHT), 1),
        (("state_dict", "more"), torch.zeros(1)),
        (("optimizer_states",), []),
        ((*OPTIMIZER, "state"), []),
        ((*OPTIMIZER, "state", 0, "momentum"), torch.zeros(1)),
        ((*OPTIMIZER, "state", 0, "momentum"), ...),
        ((*OPTIMIZER, "state", 0, "more"), 1),
        ((*OPTIMIZER, "state", 999), {}),
        ((*OPTIMIZER, "param_groups"), []),
        ((*OPTIMIZER, "param_groups", 0, "lr"), "x"),
        ((*OPTIMIZER, "param_groups", 0, "params"), [0]),
        ((*OPTIMIZER, "param_groups", 0, "muon"), False),
        (("loops", "fit_loop"), {}),
        (("loops", "fit_loop", "epoch_progress", "current", "ready"), "x"),
        (("loops", "fit_loop", "epoch_loop.state_dict", "_batches_that_stepped"), -1),
        (("loops",), None),
        (("pytorch-lightning_version",), "x"),
        (("PhotoBatches", "step"), 1_000),
        (("lr_schedulers",), [1]),
        (("callbacks",), [1]),
        (("epoch",), 3),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_one_sentence(
    keys: tuple[Any, ...], value: Any, run: Path, kept: dict[str, Any]
) -> None:
    refused(written(run, kept, lambda checkpoint: deep(checkpoint, *keys, value=value)), "resume: ")


def test_a_single_flipped_bit_in_its_numbers_is_noticed(run: Path, kept: dict[str, Any]) -> None:
    path = written(run, kept)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = [e for e in archive.infolist() if "/data/" in e.filename and e.file_size > 64]
        places = [e.header_offset + 30 + 200 for e in data[:4]]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is not a whole resume file of OneStroke"):
            resume_file.read(path)
    path.write_bytes(whole)
    assert resume_file.read(path).config["lr"] == CONFIG["lr"]


def test_an_untouched_file_goes_on(run: Path, kept: dict[str, Any]) -> None:
    assert read_document(goes_on(written(run, kept))).training["steps"] == 4


# --- values of kinds that no run writes -------------------------------------------------------------------


@pytest.mark.parametrize("weights", [3, [], ["a"], {"a": 1}, True, 1.5])
def test_weights_of_a_vgg_that_are_no_path_are_refused(weights: Any, run: Path, kept: dict[str, Any]) -> None:
    refused(written(run, kept, vgg={"arch": "vgg16", "weights": weights}), r"vgg\.weights must be a file's path, not ")
    with pytest.raises(UserError, match=r"vgg\.weights must be a file's path"):
        train({**CONFIG, "vgg": {"arch": "vgg16", "weights": weights}}, run)


@pytest.mark.parametrize("vgg", [{"arch": [], "weights": None}, {"arch": {"a": 1}, "weights": None}, [], "x"])
def test_arguments_that_no_constructor_takes_are_one_sentence(vgg: Any, run: Path, kept: dict[str, Any]) -> None:
    refused(written(run, kept, vgg=vgg), "^(resume: |vgg.arch: there is no )")


SEVERAL = torch.zeros(3)
TENSORS: dict[str, Change] = {
    "lr_schedulers": lambda c: c.update(lr_schedulers=SEVERAL),
    "a scheduler": lambda c: c.update(lr_schedulers=[SEVERAL]),
    "PhotoBatches": lambda c: c.update(PhotoBatches={"step": SEVERAL}),
    "all of PhotoBatches": lambda c: c.update(PhotoBatches=SEVERAL),
    "params": lambda c: c["optimizer_states"][0]["param_groups"][0].update(params=SEVERAL),
    "a parameter's number": lambda c: c["optimizer_states"][0]["param_groups"][0].update(params=[SEVERAL]),
    "muon": lambda c: c["optimizer_states"][0]["param_groups"][0].update(muon=SEVERAL),
    "step": lambda c: c["onestroke"].update(step=SEVERAL),
    "epoch": lambda c: c.update(epoch=SEVERAL),
    "moving": lambda c: c["onestroke"].update(moving=SEVERAL),
}


@pytest.mark.parametrize("place", TENSORS)
def test_a_tensor_where_a_plain_value_belongs_is_refused(place: str, run: Path, kept: dict[str, Any]) -> None:
    refused(written(run, kept, TENSORS[place]), "^resume: ")


@pytest.mark.parametrize("many", [[{}] * 10**5, {str(i): [] for i in range(10**5)}])
def test_a_config_of_too_many_entries_is_refused_before_it_is_built(many: Any, run: Path, kept: dict[str, Any]) -> None:
    network = {**CONFIG["network"], "blocks": many}
    refused(written(run, kept, network=network), "too many entries")
