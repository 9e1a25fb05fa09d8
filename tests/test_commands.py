"""The product as a user meets it: the commands, their files, and what they say."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.commands import TINY, command, environment, process, runs, scalars, signalled, train
from tests.quick import HELD_OUT_SIDE

PHOTOS = ("data=photos", "data.cache=null")  # which are had at once, and scenes are drawn


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Everything in a run's resume file that training changes, flat."""
    stored = torch.load(run / "last.ckpt", weights_only=True)
    flat = dict(stored["state_dict"])
    for index, state in stored["optimizer_states"][0]["state"].items():
        flat.update({f"optimizer.{index}.{name}": value for name, value in state.items()})
    return flat


def photo(path: Path, height: int = 45, width: int = 70) -> Path:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a style was trained."""
    folder = tmp_path_factory.mktemp("trained")
    done = process("train.py", *TINY, "style=great_wave", "steps=4", "save_every=2", cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def test_train_then_infer(trained: Path) -> None:
    ckpt = trained / "checkpoints" / "great_wave.safetensors"
    source = photo(trained / "photo.jpg")
    done = process("infer.py", f"ckpt={ckpt}", f"input={source}", cwd=trained)
    assert done.returncode == 0, done.stderr
    painted = Image.open(trained / "photo.great_wave.png")
    assert painted.size == (70, 45)
    assert np.asarray(painted).std() > 5


def test_the_style_file_says_how_it_was_made(trained: Path) -> None:
    with safe_open(str(trained / "checkpoints" / "great_wave.safetensors"), framework="np") as file:
        document = json.loads(file.metadata()["onestroke"])
    assert document["style"]["styles"][0]["title"] == "The Great Wave off Kanagawa"
    assert document["training"]["steps"] == 4
    assert document["training"]["images"] == 8
    assert document["training"]["config"]["crop"] == 32
    assert document["training"]["dataset"].startswith("scenes")
    assert document["metrics"]["total"] == pytest.approx(
        sum(document["metrics"][term] for term in ("content", "gram", "checkerboard")), rel=1e-6
    )
    assert document["metrics"]["step"] == 4


def test_tensorboard_shows_every_term_and_the_pictures(trained: Path) -> None:
    (run,) = runs(trained)
    found = scalars(run)
    for tag in ("train/content", "train/gram", "train/checkerboard", "train/shift_consistency", "train/total",
                "held_out/content", "held_out/gram", "held_out/checkerboard", "held_out/total",
                "schedule/learning_rate", "speed/images_per_second", "speed/data_wait_share"):  # fmt: skip
        assert found[tag], tag
    terms = [found[f"train/{term}"] for term in ("content", "gram", "checkerboard", "shift_consistency")]
    for (_, total), *parts in zip(found["train/total"], *terms, strict=True):
        assert total == pytest.approx(sum(value for _, value in parts), rel=1e-5)
    events = EventAccumulator(str(run), size_guidance={"images": 0, "tensors": 0}).Reload()
    last = events.Images("content | output")[-1]
    assert last.step == 4
    picture = Image.open(io.BytesIO(last.encoded_image_string))
    assert picture.size == (2 * HELD_OUT_SIDE, HELD_OUT_SIDE)  # one held-out photo beside its painting
    assert "great_wave" in str(events.Tensors("config/text_summary")[0].tensor_proto)


def test_a_second_training_leaves_the_first_one_alone(trained: Path) -> None:
    first = trained / "checkpoints" / "great_wave.safetensors"
    before = first.read_bytes()
    done = train("style=great_wave", "steps=1", cwd=trained)
    assert first.read_bytes() == before
    assert re.search(r"checkpoints/great_wave-[-\d_]+\.safetensors", done.stdout)
    assert len(list(first.parent.glob("great_wave-*.safetensors"))) == 1


def test_out_is_replaced_only_on_request(trained: Path) -> None:
    out = trained / "mine.safetensors"
    train("steps=1", f"out={out}", cwd=trained)
    before = out.read_bytes()
    refused = command("train.py", *TINY, "steps=2", f"out={out}", cwd=trained)
    assert refused.returncode == 2
    assert "overwrite=true" in refused.stderr
    assert out.read_bytes() == before
    train("steps=2", f"out={out}", "overwrite=true", cwd=trained)
    assert out.read_bytes() != before


def test_own_pictures(tmp_path: Path) -> None:
    for name in ("a b.png", "c.png"):
        photo(tmp_path / name, 90, 120)
    train('style.image=["a b.png",c.png]', "style.name=mine", "style.size=64", "steps=2", cwd=tmp_path)
    with safe_open(str(tmp_path / "checkpoints" / "mine.safetensors"), framework="np") as file:
        style = json.loads(file.metadata()["onestroke"])["style"]
    assert style["name"] == "mine"
    assert style["styles"][0]["source"] == "a b.png, c.png"


def test_a_sweep_trains_each(tmp_path: Path) -> None:
    out = "out=checkpoints/${style.name}.safetensors"
    train("-m", "style=starry_night,great_wave", out, "steps=1", cwd=tmp_path)
    assert sorted(p.stem for p in (tmp_path / "checkpoints").iterdir()) == ["great_wave", "starry_night"]
    assert sorted(p.parent.name for p in runs(tmp_path)) == ["great_wave", "starry_night"]


def test_killed_and_resumed_equals_unbroken(photo_folder: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    arguments = (*PHOTOS, f"data.root={photo_folder}", "steps=10", "save_every=3", "trainer.workers=1")
    train(*arguments, cwd=whole)
    killed = signalled(signal.SIGKILL, 5, *arguments, cwd=broken)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (run,) = runs(broken)
    assert torch.load(run / "last.ckpt", weights_only=True)["onestroke"]["step"] == 3
    done = command("train.py", f"resume={run}", cwd=broken)
    assert done.returncode == 0, done.stderr
    expected, found = weights(runs(whole)[0]), weights(run)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert (whole / "checkpoints" / "starry_night.safetensors").is_file()
    assert (broken / "checkpoints" / "starry_night.safetensors").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted_exports_and_goes_on(number: int, photo_folder: Path, tmp_path: Path) -> None:
    done = signalled(number, 3, *PHOTOS, f"data.root={photo_folder}", "steps=100000", "save_every=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    (run,) = runs(tmp_path)
    assert f"resume={run.relative_to(tmp_path)}" in output.replace(f"{tmp_path}/", "")
    ckpt = tmp_path / "checkpoints" / "starry_night.safetensors"
    with safe_open(str(ckpt), framework="np") as file:
        reached = json.loads(file.metadata()["onestroke"])["training"]["steps"]
    assert reached == 4  # the step that the signal came after is the last but one: it is seen after the next
    assert torch.load(run / "last.ckpt", weights_only=True)["onestroke"]["step"] == reached
    done = command("train.py", f"resume={run}", f"steps={reached + 1}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with safe_open(str(ckpt), framework="np") as file:
        assert json.loads(file.metadata()["onestroke"])["training"]["steps"] == reached + 1
    assert len(list(ckpt.parent.iterdir())) == 1


@pytest.mark.slow  # Lightning starts the second process, which imports all anew; tests/test_clusters.py forks both
def test_two_processes_equal_one(photo_folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    # plain steps of a small size: Adam would turn rounding of tiny gradients into steps of full size
    arguments = (*PHOTOS, f"data.root={photo_folder}", "steps=4", "batch_size=4", "save_every=2", "lr=1e-4")
    done = process("train.py", *TINY, *arguments, cwd=one)
    assert done.returncode == 0, done.stderr + done.stdout
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    done = process("train.py", *ddp[:1], *TINY, *ddp[1:], *arguments, cwd=two)
    assert done.returncode == 0, done.stderr + done.stdout
    single, double = scalars(runs(one)[0]), scalars(runs(two)[0])
    for tag in ("train/content", "train/gram", "held_out/total"):
        one_by_step, two_by_step = dict(single[tag]), dict(double[tag])
        common = one_by_step.keys() & two_by_step.keys()
        assert 4 in common or tag.startswith("train")  # those between come by the clock
        assert common
        assert [two_by_step[s] for s in common] == pytest.approx([one_by_step[s] for s in common], rel=1e-4, abs=1e-7)


BAD = [
    (["style=starry_nite"], "starry_night"),
    (["stepz=3"], "'steps'"),
    (["loss.gram.wieght=2"], "loss.gram.weight"),
    (["steps=many"], "steps must be a whole number"),
    (["steps=0"], "steps must be a whole number of at least 1"),
    (["lr=-1"], "lr must be a number above 0"),
    (["minutes=soon"], "minutes must be a number above 0"),
    (["style.strength=2"], "style.strength must be a number from 0"),
    (["style.size=300"], "256, 384, 512"),
    (["style.image=gone.jpg", "style.name=mine"], "gone.jpg"),
    (["style.image=gone.jpg"], "style.name="),
    (["style.name=a/b"], "style.name"),
    (["loss=[content,grm]"], "gram"),
    (["loss=[]"], "loss is empty"),
    (["loss.gram.layers=[relu9_9]"], "relu9_9"),
    (["loss.gram.weight=heavy"], "weight must be a number"),
    (["+loss.extra.weight=2"], "loss.extra"),
    (["network=classical"], "classic"),
    (["network.channels=[4,0,4]"], "channels"),
    (["+network.depth=3"], "depth"),
    (["data=photos"], "data.root"),
    (["data=photos", "data.root=gone"], "gone"),
    (["trainer=gpu"] if not torch.cuda.is_available() else ["trainer.precision=8"], "trainer"),
    (["data.validation=0"], "data.validation=0 holds no picture out"),
    (["data.validation=-1"], "use 1 to"),
    (["trainer.workers=-1"], "trainer.workers"),
    (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "batch_size=3"], "batch_size=3"),
    (["init=gone.safetensors"], "gone.safetensors"),
    (["out=painting.png"], ".safetensors"),
    (["resume=gone"], "gone"),
    (["vgg=vgg19", "style=starry_night"], "vgg19"),
    (["vgg.weights=gone.pth"], "gone.pth"),
    (["vgg.arch=vgg61"], "vgg16"),
    (["style.image=été.jpg", "style.name=mine"], "quotes"),
    (["style.image=photo (1).jpg", "style.name=mine"], "quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "word"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_mistakes_get_one_sentence(
    arguments: list[str],
    word: str,
    tmp_path: Path,
) -> None:
    done = command("train.py", *TINY, *arguments, cwd=tmp_path)
    error = done.stderr
    assert done.returncode == 2
    assert error.startswith("onestroke: ")
    assert error.count("\n") == 1
    assert word in error
    assert "Traceback" not in error
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    done = command("train.py", *TINY, "steps=0", "style.size=1", "data=photos", "data.root=gone", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in ("steps", "style.size", "gone"):
        assert word in done.stderr


def test_a_resumed_run_keeps_its_settings(trained: Path) -> None:
    run = runs(trained)[0]
    done = command("train.py", f"resume={run}", "crop=64", cwd=trained)
    assert done.returncode == 2
    assert "crop" in done.stderr
    assert done.stderr.count("\n") == 1


def test_trainings_that_start_in_the_same_second_have_a_folder_each(tmp_path: Path) -> None:
    asked = "from onestroke.cli.train import run_folder as f; print(*(f(None, 'été', 'then') for _ in range(2)))"
    started = [
        subprocess.Popen([sys.executable, "-c", asked], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [process.communicate()[0].decode().split() for process in started]
    assert all(first == again for first, again in said)  # Hydra asks more than once
    assert {first for first, _ in said} == {f"runs/été/then{end}" for end in ("", "_2", "_3", "_4")}
    assert all((tmp_path / first).is_dir() for first, _ in said)


def test_a_foreign_resume_file_runs_nothing(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(tmp_path / "run"),))

    (tmp_path / "last.ckpt").write_bytes(pickle.dumps(Evil()))
    done = command("train.py", f"resume={tmp_path / 'last.ckpt'}", cwd=tmp_path)
    assert done.returncode == 2
    assert "not a whole resume file" in done.stderr
    assert not (tmp_path / "run").exists()
