"""Paths on every command line: the home folder behind a `=`, and links where files are written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from onestroke import style_file, style_merge
from onestroke.cli import checkpoints, evaluate_options, export, infer_options, optimize, styles, vgg
from onestroke.cli.home import PATHS, home_in_override, with_home
from onestroke.cli.options import parse
from onestroke.cli.train import config_folder, run_folder
from onestroke.data.cache import cache_folder
from onestroke.data.photos import Photos
from onestroke.errors import UserError
from onestroke.evaluation.report import write_html, write_json
from onestroke.interop.adopting import adopt
from onestroke.training.output import check_out
from tests.commands import command, train
from tests.test_infer import photo, tiny


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home of me"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    "given, value",
    [
        ("out=~/x.safetensors", "H/x.safetensors"),
        ("data.root=~", "H"),
        ("style.image=[~/a.jpg, ~/b.jpg,c.jpg]", ["H/a.jpg", "H/b.jpg", "c.jpg"]),
        ("out=~/été (1).safetensors", "H/été (1).safetensors"),
        ('+out="~/kept, as it is quoted"', "~/kept, as it is quoted"),
        ("out='~/[a]'", "~/[a]"),
        ("steps=3", 3),
    ],
)
def test_hydra_reads_a_path_in_the_home_folder(at_home: Path, given: str, value: object) -> None:
    override = OverridesParser.create().parse_override(home_in_override(given))
    wanted = [str(v).replace("H", str(at_home)) for v in np.atleast_1d(np.array(value, object))]
    found = override.value()
    assert [str(part).strip('"') for part in (found if isinstance(found, list) else [found])] == wanted


def test_what_is_no_path_at_home_stays() -> None:
    for argument in ("~style", "~data.val", "-m", "style.name=a~b", "out=~nobody_of_that_name/x", "--help", ""):
        assert home_in_override(argument) == argument
    assert home_in_override("--config-dir=~/c") == f"--config-dir={os.environ['HOME']}/c"


def test_every_option_that_is_a_path_is_one_of_the_config(at_home: Path) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", ["data=photos", "data.root=x"])
    for option in PATHS:
        OmegaConf.update(config, option, ["~/a", "b"] if option == "style.image" else "~/a")
    plain = with_home(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
    for option in PATHS:
        found = OmegaConf.select(OmegaConf.create(plain), option)
        assert (found[0] if option == "style.image" else found) == str(at_home / "a")
    assert with_home({"style": None, "init": "auto"}) == {"style": None, "init": "auto"}
    assert run_folder("~/runs", "x", "now") == str(at_home)


def test_a_resumed_runs_log_is_its_own(at_home: Path) -> None:
    (at_home / "precious").write_text("precious")
    (at_home / "train.log").symlink_to(at_home / "precious")
    (at_home / "other.log").write_text("kept")
    run_folder("~", "x", "now")
    assert sorted(path.name for path in at_home.iterdir()) == ["other.log", "precious"]


def test_a_training_in_the_home_folder(at_home: Path, tmp_path: Path) -> None:
    for index in range(6):
        photo(str(at_home / "photos" / f"{index}.png"), 70, 70, seed=index)
    photo(str(at_home / "mine.png"), 70, 70)
    done = train(
        "style.image=~/mine.png", "style.name=mine", "style.size=64", "steps=1", "data=photos", "data.root=~/photos",
        'out="~/made/mine.safetensors"', "data.cache=~/cache", cwd=tmp_path,
    )  # fmt: skip
    assert (at_home / "made" / "mine.safetensors").is_file() and (at_home / "cache").is_dir(), done.stdout
    assert not list(tmp_path.rglob("~*"))


def test_the_other_command_lines(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = str(at_home / "x")
    measured = parse(
        evaluate_options.Options, ["ckpt=~/x", "ckpt=~/x", "photos=~/x", "style=~/x", "out=~/x", "cache=~/x"]
    )
    assert [measured.photos, measured.style, measured.out, measured.cache, *measured.ckpt] == [x] * 6
    assert parse(evaluate_options.Options, ["outputs=~/x", "style=a", "photos=b"]).outputs == [x]
    painted = parse(infer_options.Options, ["ckpt=~/x", "input=a", "output=~/x", "mask=~/x", "style_map=~/x"])
    assert [painted.ckpt, painted.output, painted.mask, painted.style_map] == [x] * 4
    exported = parse(export.Options, ["ckpt=~/x", "out=~/x", "photos=~/x", "variant=int8"])
    assert [exported.ckpt, exported.out, exported.photos] == [x] * 3
    direct = parse(optimize.Options, ["image=~/x", "input=~/x", "output=~/x"])
    assert [direct.image, direct.input, direct.output] == [x] * 3
    assert cache_folder("~/x", 32).parent == at_home / "x" and Photos("~/x").root == at_home / "x"
    with pytest.raises(UserError, match="no folder ~nobody_of_that_name"):
        Photos("~nobody_of_that_name/x").files()
    for function, arguments, given in (
        (checkpoints.merge, ["path=~/x", "path=~/y", "out=~/z"], "no style file"),
        (checkpoints.show, ["~/x"], "no style file"),
        (checkpoints.import_, ["path=~/x", "out=~/z.safetensors"], "x"),
        (styles.make, ["image=~/x", "out=~/z"], "no file"),
        (vgg.pack, ["out=~/z", "weights=~/x"], "no file"),
    ):
        code, err = function(arguments), capsys.readouterr().err
        assert code == 2 and "~" not in err and given in err


def test_the_sheet_of_photos(at_home: Path) -> None:
    photo(str(at_home / "p.png"), 64, 64)
    style = tiny(at_home / "s.safetensors")
    arguments = [f"ckpt=~/{style.name}", "photo=~/p.png", "out=~/sheet.png"]
    done = command("scripts/gallery.py", *arguments, cwd=Path.cwd())
    assert done.returncode == 0 and (at_home / "sheet.png").is_file(), done.stderr


# --- links ----------------------------------------------------------------------------------------------


def test_a_link_where_a_style_file_goes_is_there_already(tmp_path: Path) -> None:
    for target in ("nowhere", "precious"):
        out = tmp_path / f"{target}.safetensors"
        (tmp_path / "precious").write_text("precious")
        out.symlink_to(tmp_path / target)
        with pytest.raises(UserError, match="is there already"):
            check_out(out, False, "run")
        check_out(out, True, "run")
        with pytest.raises(UserError, match="is there already"):
            style_merge.merge_files([], out)
        with pytest.raises(UserError, match="is there already"):
            adopt(tmp_path / "x", out)
        out.with_suffix(".onnx").symlink_to(tmp_path / target)
        with pytest.raises(UserError, match="is there already"):
            export.place(export.Options("x", out=str(out.with_suffix(".onnx"))))
        tiny(out)
        assert not out.is_symlink() and style_file.read_document(out).styles == ["tiny"]
    assert (tmp_path / "precious").read_text() == "precious" and not (tmp_path / "nowhere").exists()


def test_numbers_go_into_the_style_file_that_a_link_leads_to(tmp_path: Path) -> None:
    real = tiny(tmp_path / "real.safetensors")
    link = tmp_path / "link.safetensors"
    link.symlink_to(real)
    style_file.annotate(link, {"evaluated/total": 1.5})
    assert link.is_symlink() and style_file.read_document(real).metrics == {"evaluated/total": 1.5}


def test_a_report_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name, write in (("report.json", write_json), ("report.html", write_html)):
        (tmp_path / name).symlink_to(tmp_path / "precious")
        write(tmp_path / name, [], {})
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"
