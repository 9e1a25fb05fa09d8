"""scripts/gpu_night.py: packing, what it refuses, what it keeps when it is stopped, and a rehearsal on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.errors import UserError
from tests.commands import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import gpu_checks
import gpu_night
import gpu_photos
import gpu_report
import gpu_stages


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos of noise, one of them in a subfolder and one too small, and a file that is no photo."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate([(200, 150), (150, 200), (100, 100), (300, 180), (40, 40)]):
        place = folder / "more" if number == 3 else folder
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(place / f"{number}.png")
    (folder / "notes.txt").write_text("none")
    return folder


def packed(photos: Path, to: Path, **more: Any) -> list[Path]:
    gpu_photos.pack(gpu_photos.PackOptions(photos=str(photos), to=str(to), **more))
    return sorted(to.iterdir())


def test_packed_photos_are_small_jpegs(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = packed(photos, tmp_path / "small", side=120)
    sizes = []
    for path in files:
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
            sizes.append(picture.size)
    assert sorted(sizes) == [(100, 100), (120, 160), (120, 200), (160, 120)]  # never enlarged
    # of five pictures, as 40 pixels are too few
    assert capsys.readouterr().out.startswith("4 of 5 photos in ")


def test_no_more_is_packed_than_there_is_room_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packed(photos, tmp_path / "whole")
    sizes = [path.stat().st_size for path in whole]
    # room for the first two, but for one byte
    held = ((64 - 2) << 20) - sum(sizes[:2]) + 1
    monkeypatch.setattr(gpu_photos, "repository_bytes", lambda root: held)
    assert [path.read_bytes() for path in packed(photos, tmp_path / "one")] == [whole[0].read_bytes()]
    monkeypatch.setattr(gpu_photos, "repository_bytes", lambda root: held + sum(sizes))
    with pytest.raises(UserError, match=r"none of the 5 photos .* was packed: 0\.0 MiB are left"):
        packed(photos, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_files_that_git_ignores_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_bytes(b"12345")
    (tmp_path / ".hidden").write_bytes(b"123")
    assert gpu_photos.repository_bytes(tmp_path) == 5  # without git
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_bytes(b"ignored\n")
    (tmp_path / "ignored").write_bytes(b"1" * 100)
    assert gpu_photos.repository_bytes(tmp_path) == 5 + 3 + 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack"], "photos is needed"),
        (["pack", "photos=missing", "to=small"], "there is no folder missing"),
        (["pack", "photos=.", "to=earlier"], "to=earlier is there already"),
        (["photos=missing"], "photos=missing is no folder"),
        (["out=earlier"], "out=earlier holds an earlier call: add resume=earlier"),
        (["resume=empty"], "resume=empty is no folder of an earlier call"),
        (["resume=earlier", "photos=."], "leave out photos= and train="),
        (["resume=earlier", "train=lr=1e-3"], "leave out photos= and train="),
        (["seconds=5"], "seconds must be"),
        (["device=tpu"], "device can't be 'tpu'"),
        (["second=60"], "seconds"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("earlier", "empty"):
        (tmp_path / name).mkdir()
    for name in ("numbers.json", "last.ckpt"):
        (tmp_path / "earlier" / name).write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        gpu_night.night(arguments)
    assert message in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_gpu_it_says_how_to_rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onestroke.devices.choose_device", lambda name: torch.device("cpu"))
    with pytest.raises(UserError, match="device=cpu tiny=true rehearses it"):
        gpu_night.night([f"out={tmp_path / 'out'}"])


def test_a_number_beyond_its_limit_does_not_hold() -> None:
    assert gpu_checks.judged({"gradient_cosine": 0.99, "loss_difference": 0.002, "steps": 20})["held"]
    assert not gpu_checks.judged({"gradient_cosine": 0.97})["held"]
    assert not gpu_checks.judged({"loss_difference": 0.011})["held"]
    assert not gpu_checks.judged({"loss_difference": float("nan")})["held"]


def test_a_stage_ends_as_its_process_does(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert gpu_stages.run(["-c", "print('well')"], 60, log) == "done"
    assert gpu_stages.run(["-c", "raise RuntimeError('no card')"], 60, log) == "failed: RuntimeError: no card"
    assert gpu_stages.run(["-c", "raise SystemExit(3)"], 60, log) == "failed: exit code 3"
    assert gpu_stages.run(["-c", "import time; time.sleep(600)"], 0, log) == "took too long"
    assert log.read_text().count("$ python -c") == 4


def a_night(monkeypatch: pytest.MonkeyPatch, out: Path, results: dict[str, Any], **more: Any) -> tuple[int, list[str]]:
    """A call whose stages do nothing but what `results` has for them; its exit code, and the stages that ran."""
    ran = []

    def run(command: list[str], seconds: float, log: Path, gently: bool = False) -> str:
        name = command[1] if Path(command[0]).stem == "gpu_checks" else Path(command[0]).stem
        ran.append(name)
        result = results.get(name, {"held": True, "numbers": {}})
        if isinstance(result, Exception):
            raise result
        if isinstance(result, str):
            return result
        target = next((a for a in command if a.startswith("out=") and a.endswith(".json")), None)
        if target is not None and name != "bench":
            Path(target.removeprefix("out=")).write_text(json.dumps(result))
        return "done"

    monkeypatch.setattr(gpu_night, "run", run)
    monkeypatch.setattr(gpu_night, "raise_on_signals", lambda: None)
    options = gpu_night.NightOptions(out=str(out), tiny=True, **more)
    options.check()
    return gpu_night.Night(options, "cpu").run(), ran


def test_a_failing_check_is_recorded_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    broken = {"held": False, "numbers": {"loss_difference": 0.5}, "limits": {"loss_difference": 0.01}}
    code, ran = a_night(monkeypatch, out, {"step": broken, "compile": "failed: no compiler"})
    assert (code, ran) == (1, ["step", "painting", "compile", "memory", "bench", "bench", "train"])
    checks = json.loads((out / "numbers.json").read_text())["checks"]
    assert {name: check["held"] for name, check in checks.items()} == {
        "step": False, "painting": True, "compile": False, "memory": True,
    }  # fmt: skip
    assert checks["compile"]["error"] == "failed: no compiler"
    report = (out / "report.md").read_text()
    assert "| step | no | loss_difference 0.5 (0.01) |" in report and "| painting | yes |" in report
    # what held is not repeated
    code, ran = a_night(monkeypatch, tmp_path / "next", {}, resume=str(out))
    assert (code, ran) == (0, ["step", "compile", "bench", "bench", "train"])


def test_what_is_finished_is_there_after_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, ran = a_night(monkeypatch, tmp_path, {"compile": gpu_stages.Stopped(15)})
    assert (code, ran) == (128 + 15, ["step", "painting", "compile"])
    found = json.loads((tmp_path / "numbers.json").read_text())
    assert sorted(found["checks"]) == ["painting", "step"]
    assert found["stages"][-1]["state"] == "stopped by SIGTERM"
    assert "| painting | yes |" in (tmp_path / "report.md").read_text()


def test_it_compiles_only_where_that_gains_time(tmp_path: Path) -> None:
    night = gpu_night.Night(gpu_night.NightOptions(out=str(tmp_path)), "cuda")
    numbers = {"seconds_to_compile": 30.0, "eager_ms": 40.0, "compiled_ms": 20.0}
    night.record.found["checks"]["compile"] = {"held": True, "numbers": numbers}
    assert night._compiles()
    night.record.found["checks"]["compile"] = {"held": True, "numbers": {**numbers, "compiled_ms": 38.0}}
    assert not night._compiles()
    night.record.found["checks"]["compile"] = {"held": False, "numbers": numbers}
    assert not night._compiles()


def test_the_curve_is_that_of_the_last_session(tmp_path: Path) -> None:
    assert gpu_report.held_out_curve(tmp_path) == []
    for number, total in ((0, 9.0), (1, 8.0)):
        folder = tmp_path / "csv" / f"version_{number}"
        folder.mkdir(parents=True)
        text = f"held_out/total,loss/gram,step\n,3.0,10\n{total},,20\n"
        (folder / "metrics.csv").write_text(text)
        os.utime(folder / "metrics.csv", (number, number))
    assert gpu_report.held_out_curve(tmp_path) == [{"held_out/total": 8.0, "step": 20.0}]
    assert (tmp_path / "metrics.csv").is_file() and not (tmp_path / "csv").exists()


def shell(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The shell script with this Python."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": sys.prefix, **variables}
    return subprocess.run(
        [str(ROOT / "scripts" / "gpu_night.sh"), *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_rehearsal_on_the_cpu_and_one_that_goes_on_with_it(tmp_path: Path) -> None:
    tiny = ["device=cpu", "tiny=true"]
    first = shell(*tiny, "out=a", "seconds=240", cwd=tmp_path)
    found = json.loads((tmp_path / "a" / "numbers.json").read_text())
    assert first.returncode == 0, first.stdout + first.stderr
    assert all(check["held"] for check in found["checks"].values()) and len(found["checks"]) == 4
    assert set(found["bench"]) == {"train", "infer"}
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {
        "numbers.json", "report.md", "night.log", "gallery.safetensors", "last.ckpt", "config.json", "metrics.csv",
        "sheet.jpg",
    }  # fmt: skip
    second = shell(*tiny, "resume=a", "out=b", "seconds=100", cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    later = json.loads((tmp_path / "b" / "numbers.json").read_text())
    assert later["gallery"]["steps"] > found["gallery"]["steps"] > 0
    assert [stage["name"] for stage in later["stages"]] == ["gallery", "sheet"]
