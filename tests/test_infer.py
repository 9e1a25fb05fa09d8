from __future__ import annotations

import errno
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from onestroke import style_file
from onestroke.cli.infer import main
from onestroke.cli.infer_options import Options
from onestroke.cli.options import parse
from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.inference.memory import free_on
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from tests.commands import command, process

ROOT = Path(__file__).parents[1]
ARGS = {"channels": [4, 4, 8], "blocks": 1, "ends": 3}

Bytes = npt.NDArray[np.uint8]
Said = tuple[int, list[str], str]

pytestmark = pytest.mark.usefixtures("alone")


def tiny(path: Path, name: str | None = "tiny", paint: Callable[[ResidualNetwork], None] | None = None) -> Path:
    """A style file of a network that changes a photo for all to see."""
    torch.manual_seed(5)
    network = ResidualNetwork(channels=[4, 4, 8], blocks=1, ends=3)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(torch.randn(weights.shape) * 0.1)
        if paint is not None:
            paint(network)
    style = {} if name is None else {"name": name}
    style_file.save(path, network, Metadata({"name": "ResidualNetwork", "args": ARGS}, style))
    return path


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> Said:
    """What infer.py answers: exit code, lines on stdout, stderr."""
    capfd.readouterr()
    code = main([*arguments])
    out, err = capfd.readouterr()
    return code, out.splitlines(), err


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("style") / "file.safetensors")


@pytest.fixture
def infer(style: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line: exit code, lines on stdout, stderr."""

    def run(*arguments: str, ckpt: Path | str = style) -> Said:
        return said(capfd, f"ckpt={ckpt}", *arguments)

    return run


@pytest.fixture
def refused(infer: Callable[..., Said]) -> Callable[..., str]:
    """Run the command line and see that it fails with one sentence and leaves the folder as it was."""

    def run(*arguments: str, **more: Path | str) -> str:
        before = files()
        code, out, err = infer(*arguments, **more)
        assert (code, out) == (2, []), err
        assert err.startswith("onestroke: ") and err.count("\n") == 1 and "Traceback" not in err
        assert files() == before
        return err

    return run


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in Path().rglob("*")}


def noise(height: int, width: int, channels: int = 3) -> Bytes:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def photo(path: str, height: int = 20, width: int = 24, seed: int = 0) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(noise(height, width), seed)).save(path)
    return Path(path)


def independent(style: Path, rgb: torch.Tensor) -> torch.Tensor:
    """What the style paints, by none of the code under test: (N, 3, H, W) to the same."""
    network = ResidualNetwork(channels=[4, 4, 8], blocks=1, ends=3).eval()
    network.load_state_dict({name: weights.float() for name, weights in load_file(style).items()})
    with torch.no_grad():
        painted: torch.Tensor = network(rgb).clamp(0, 1)
    return painted


def expected(style: Path, pixels: Bytes) -> npt.NDArray[np.int64]:
    rgb = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    levels: npt.NDArray[np.int64] = np.rint(independent(style, rgb)[0].permute(1, 2, 0).numpy() * 255).astype(int)
    return levels


def near(path: Path | str, wanted: npt.NDArray[np.int64]) -> bool:
    """Within a level: sums in another order may round the other way."""
    with Image.open(path) as image:
        got = np.asarray(image.convert("RGB")).astype(int)
    return got.shape == wanted.shape and bool(np.abs(got - wanted).max() <= 1)


# --- what is painted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width", [(1, 1), (5, 7), (33, 64), (16, 16), (1, 40)])
def test_same_size_and_what_the_network_paints(
    infer: Callable[..., Said], style: Path, height: int, width: int
) -> None:
    pixels = noise(height, width)
    Image.fromarray(pixels).save("photo.png")
    assert infer("input=photo.png") == (0, ["photo.tiny.png"], "")
    assert near("photo.tiny.png", expected(style, pixels))
    if height * width > 1:
        assert np.abs(expected(style, pixels) - pixels).mean() > 10, "the style under test paints too little"


def test_alpha_is_kept(infer: Callable[..., Said], style: Path) -> None:
    pixels = noise(9, 13, 4)
    pixels[..., 3] |= 16  # what can't be seen would be painted as what is beside it
    Image.fromarray(pixels).save("photo.png")
    assert infer("input=photo.png")[0] == 0
    with Image.open("photo.tiny.png") as painted:
        assert painted.mode == "RGBA"
        assert np.array_equal(np.asarray(painted)[..., 3], pixels[..., 3])
    assert near("photo.tiny.png", expected(style, pixels[..., :3]))


def test_the_orientation_of_a_photo_is_applied_to_its_painting(infer: Callable[..., Said], style: Path) -> None:
    pixels = noise(10, 18)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save("photo.png", exif=exif)
    assert infer("input=photo.png")[0] == 0
    assert near("photo.tiny.png", expected(style, np.ascontiguousarray(np.rot90(pixels, -1))))
    with Image.open("photo.tiny.png") as painted:
        assert painted.size == (10, 18) and painted.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_and_palette_photos_are_painted_as_rgb(infer: Callable[..., Said], style: Path, mode: str) -> None:
    image = Image.fromarray(noise(12, 15)).convert(mode)
    image.save("photo.png")
    assert infer("input=photo.png")[0] == 0
    assert near("photo.tiny.png", expected(style, np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("side, size", [(10, (10, 5)), (40, (40, 20)), (1, (1, 1)), (1000, (40, 20))])
def test_max_side_shrinks_and_never_enlarges(infer: Callable[..., Said], side: int, size: tuple[int, int]) -> None:
    Image.fromarray(noise(20, 40, 4)).save("photo.png")
    assert infer("input=photo.png", f"max_side={side}")[0] == 0
    with Image.open("photo.tiny.png") as painted:
        assert painted.size == size and painted.mode == "RGBA"


# --- where it goes --------------------------------------------------------------------------------------


def test_output_of_a_picture_s_name_is_that_file_in_that_format(infer: Callable[..., Said]) -> None:
    photo("photo.png")
    for name, kind in (("out.jpg", "JPEG"), ("new/deep/out.WEBP", "WEBP"), ("été (1).png", "PNG")):
        assert infer("input=photo.png", f"output={name}") == (0, [name], "")
        with Image.open(name) as painted:
            assert painted.format == kind and painted.size == (24, 20)


def test_output_of_any_other_name_is_a_folder(
    infer: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photo("photo.jpg")
    photo("other.jpg")
    Path("there").mkdir()
    Path("there.png").mkdir()
    for folder in ("there", "there.png", "new", "new/deep", "v1.2/"):
        assert infer("input=photo.jpg", f"output={folder}") == (0, [str(Path(folder, "photo.tiny.png"))], "")
    two = infer("input=photo.jpg", "input=other.jpg", "output=v1.3")
    assert two == (0, ["v1.3/photo.tiny.png", "v1.3/other.tiny.png"], "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert infer("input=~/photo.jpg", "output=~/home")[0] == 0
    assert Path("home/photo.tiny.png").is_file() and not Path("~").exists()


def test_several_inputs_are_painted_each_once(infer: Callable[..., Said]) -> None:
    names = ["a.jpg", "b/c.png", "b/d.webp", "e1.jpg", "e2.jpg"]
    for name in names:
        photo(name)
    code, out, err = infer("input=a.jpg", "input=b", "input=e*.jpg", "input=./a.jpg")
    assert (code, err) == (0, "")
    assert out == ["a.tiny.png", "b/c.tiny.png", "b/d.tiny.png", "e1.tiny.png", "e2.tiny.png"]
    assert all(Path(name).is_file() for name in out)


NAMES = [
    "photo (1).jpg",
    "a,b.jpg",
    "été.jpg",
    "[a].jpg",
    "x=1.jpg",
    "-dash.jpg",
    "what?*.png",
    "two  words.jpg",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_of_any_name_is_painted_beside_it(infer: Callable[..., Said], name: str) -> None:
    photo(name)
    photo("a.jpg")  # which [a].jpg would match, were it a pattern
    painted = f"{Path(name).stem}.tiny.png"
    assert infer(f"input={name}") == (0, [painted], "")
    assert infer(name, "overwrite=true") == (0, [painted], ""), "as a shell's pattern gives it"
    assert not Path("a.tiny.png").exists()


def test_a_name_that_is_no_text(infer: Callable[..., Said]) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        Path(name).write_bytes(Path(photo("a.jpg")).read_bytes())
    except OSError:
        pytest.skip("this disk takes no such names")
    assert infer(f"input={name}") == (0, ["caf\\udce9.tiny.png"], "")
    assert Path(os.fsdecode(b"caf\xe9.tiny.png")).is_file()


def test_paintings_of_photos_of_one_stem_have_a_name_each(infer: Callable[..., Said], style: Path) -> None:
    pixels = {}
    for seed, name in enumerate(["a/photo.png", "a/photo.bmp", "b/photo.png", "a/Photo.png", "b/photo-2.png"]):
        photo(name, seed=seed)
        pixels[name] = np.asarray(Image.open(name))
    code, out, _ = infer(*(f"input={name}" for name in pixels), "output=out")
    assert code == 0 and len({name.casefold() for name in out}) == len(out) == 5
    assert out[:3] == ["out/photo.tiny.png", "out/photo-2.tiny.png", "out/photo-3.tiny.png"]
    for name, painted in zip(pixels, out, strict=True):
        assert near(painted, expected(style, pixels[name]))


def test_a_second_run_paints_no_paintings(infer: Callable[..., Said], refused: Callable[..., str]) -> None:
    photo("in/a.jpg")
    photo("in/b.jpg")
    assert infer("input=in")[0] == 0
    before = files()
    code, out, err = infer("input=in")
    assert (code, out) == (0, []) and files() == before
    assert err.splitlines()[0] == "painted 0 of 2 photos; skipped:" and err.count("is there already") == 2
    # A shell's pattern names the paintings, too.
    assert infer("overwrite=true", *map(str, sorted(Path("in").iterdir())))[1] == [
        "in/a.tiny.png",
        "in/b.tiny.png",
    ]
    assert len(list(Path("in").iterdir())) == 4
    Path("in/a.jpg").unlink()
    Path("in/b.jpg").unlink()
    assert "only paintings of this style" in refused("input=in")
    Path("in/b.tiny.png").unlink()
    assert "only paintings of this style" in refused("input=in")
    code, out, err = infer("input=in/a.tiny.png")
    assert (code, out) == (0, ["in/a.tiny.tiny.png"]), "the one that is named is painted"
    assert len(err.splitlines()) == 1 and err.startswith("painted again, as these are paintings of OneStroke already")


def test_a_photo_is_never_overwritten(refused: Callable[..., str], infer: Callable[..., Said]) -> None:
    photo("photo.png")
    photo("other.png")
    Path("link.png").symlink_to("photo.png")
    for arguments in (
        ["input=photo.png", "output=photo.png"],
        ["input=photo.png", "output=./photo.png"],
        ["input=photo.png", "output=link.png"],
        ["input=link.png", "output=photo.png"],
    ):
        assert "never overwritten" in refused(*arguments, "overwrite=true")
    assert infer("input=photo.png", "output=other.png", "overwrite=true")[0] == 0


def test_what_exists_is_kept_or_replaced(refused: Callable[..., str], infer: Callable[..., Said]) -> None:
    photo("photo.png")
    Path("photo.tiny.png").write_text("precious")
    assert "photo.tiny.png is there already" in refused("input=photo.png")
    assert "overwrite=true" in refused("input=photo.png", "output=photo.tiny.png", "overwrite=false")
    assert infer("input=photo.png", "overwrite=True")[0] == 0
    with Image.open("photo.tiny.png") as painted:
        assert painted.size == (24, 20)


def test_an_output_that_cannot_be(refused: Callable[..., str]) -> None:
    photo("a.png")
    photo("b.png")
    Path("file").touch()
    assert "written as .bmp" in refused("input=a.png", "output=a.gif")
    assert "ends in /" in refused("input=a.png", "output=v1.2")
    assert "2 photos need a folder" in refused("input=a.png", "input=b.png", "output=out.png")
    assert "2 photos need a folder" in refused("input=a.png", "input=b.png", "output=file")
    assert "can't make the folder" in refused("input=a.png", "output=file/below/")
    assert "output has no value" in refused("input=a.png", "output=")
    refused("input=a.png", f"output={'n' * 300}.png")


# --- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["ckpt=a", "inptu=b"], "no option 'inptu': did you mean 'input'?"),
        (["ckpt=a", "input=b", "--device=cpu"], "did you mean 'device'?"),
        (["ckpt=a", "input=b", "overwrite"], "overwrite has no value"),
        (["ckpt=a", "input=b", "device="], "device has no value"),
        (["ckpt=", "input=b"], "ckpt has no value"),
        (["input=b"], "ckpt is needed"),
        (["ckpt=a"], "input is needed"),
        (["ckpt=a", "ckpt=b", "input=c"], "ckpt is given twice"),
        (["ckpt=a", "input=b", "overwrite=yes"], "overwrite must be true or false, not 'yes'"),
        (["ckpt=a", "input=b", "compile=1"], "compile must be true or false, not '1'"),
        (["ckpt=a", "input=b", "batch=0"], "batch must be a whole number of at least 1, not '0'"),
        (["ckpt=a", "input=b", "backend=onxx"], "backend can't be 'onxx': did you mean 'onnx'?"),
        *(
            (["ckpt=a", "input=b", f"max_side={side}"], "max_side must be a whole number of at least 1")
            for side in ("0", "-3", "1.5", "big", "²", "9" * 5000)
        ),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as error:
        parse(Options, arguments)
    assert words in str(error.value)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"onestroke: {error.value}\n"


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", "cpu:x", "privateuseone"])
def test_devices_that_are_not_here(refused: Callable[..., str], device: str) -> None:
    photo("photo.png")
    assert f"device={device} can't be used here" in refused("input=photo.png", f"device={device}")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and "usage: python infer.py" in capsys.readouterr().out
    assert main([]) == 2 and "usage: python infer.py" in capsys.readouterr().out


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def encoded(height: int, width: int) -> bytes:
    memory = BytesIO()
    Image.fromarray(noise(height, width)).save(memory, "JPEG")
    return memory.getvalue()


BAD_PHOTOS = {
    "text": (b"this is no picture", "cannot be read as a picture"),
    "empty": (b"", "is empty"),
    "truncated": (encoded(40, 40)[:900], "damaged or cut short"),
    "bomb": (bomb(), "60000 x 60000"),
}


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_photo_that_cannot_be_read_is_told(refused: Callable[..., str], kind: str) -> None:
    content, words = BAD_PHOTOS[kind]
    Path("bad.jpg").write_bytes(content)
    err = refused("input=bad.jpg", "output=new/folder/")
    assert words in err and "bad.jpg" in err


def test_photos_that_are_not_there(refused: Callable[..., str]) -> None:
    Path("folder").mkdir()
    Path("broken.jpg").symlink_to("nowhere.jpg")
    assert "there is no file or folder 'gone.jpg'" in refused("input=gone.jpg")
    assert "no picture matches" in refused("input=*.webp")
    assert "holds no pictures" in refused("input=folder")
    assert "is empty" in refused("input=")
    assert "broken.jpg" in refused("input=broken.jpg")


def test_bad_photos_among_good_ones(infer: Callable[..., Said]) -> None:
    for kind, (content, _) in BAD_PHOTOS.items():
        Path(f"{kind}.jpg").write_bytes(content)
    photo("a.jpg")
    photo("z.jpg")
    code, out, err = infer("input=.")
    assert (code, out) == (2, ["a.tiny.png", "z.tiny.png"])
    lines = err.splitlines()
    assert lines[0] == "painted 2 of 6 photos; skipped:" and len(lines) == 5 and "Traceback" not in err
    for kind, (_, words) in BAD_PHOTOS.items():
        assert any(f"{kind}.jpg" in line and words in line for line in lines)
    assert len(list(Path().iterdir())) == 8


def test_a_batch_is_painted_as_its_photos_are(
    infer: Callable[..., Said], style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours of one size together, in order; one that can't be painted spoils no other."""
    sizes = [(9, 12), (9, 12), (9, 12), (12, 9), (12, 9), (9, 12)]
    for number, size in enumerate(sizes):
        photo(f"in/{number}.png", *size, seed=number)
    Path("in/2b.png").write_bytes(b"no picture")
    counts: list[int] = []
    real = Stylizer.paint

    def paint(self: Stylizer, image: torch.Tensor, **finish: Any) -> torch.Tensor:
        counts.append(len(image))
        return real(self, image, **finish)

    monkeypatch.setattr(Stylizer, "paint", paint)
    code, out, err = infer("input=in", "batch=2")
    assert code == 2 and "2b.png" in err and counts == [2, 1, 2, 1]
    assert out == [str(Path(f"in/{number}.tiny.png")) for number in range(6)]
    for number in range(6):
        assert near(out[number], expected(style, np.asarray(Image.open(f"in/{number}.png"))))

    def without_the_second(self: Stylizer, image: torch.Tensor, **finish: Any) -> torch.Tensor:
        if any(torch.equal(one, images.read("in/1.png").rgb[0]) for one in image):
            raise UserError("not this one")
        return real(self, image, **finish)

    Path("in/2b.png").unlink()
    monkeypatch.setattr(Stylizer, "paint", without_the_second)
    code, out, err = infer("input=in", "batch=9", "output=out/")
    assert code == 2
    assert err.splitlines() == [
        "painted 5 of 6 photos; skipped:",
        "  not this one",
        "6 left out: 6 paintings of OneStroke",
    ]
    assert out == [str(Path(f"out/{number}.tiny.png")) for number in (0, 2, 3, 4, 5)]


def test_a_folder_that_may_not_be_written_to(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    photo("photo.png")

    # Simulated, since nothing is forbidden to root.
    real = os.open

    def refuse(path: str | Path, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_CREAT and os.fspath(path).endswith(".png"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert "Permission denied" in refused("input=photo.png")


def test_a_style_file_that_cannot_be_read_is_told(
    refused: Callable[..., str], style: Path, plant: Callable[[Path], Path]
) -> None:
    photo("photo.png")
    assert "there is no style file gone.safetensors" in refused("input=photo.png", ckpt="gone.safetensors")
    assert "there is no style file" in refused("input=photo.png", ckpt=".")
    Path("cut.safetensors").write_bytes(style.read_bytes()[:-100])
    assert "not a whole style file" in refused("input=photo.png", ckpt="cut.safetensors")
    Path("empty.safetensors").touch()
    assert "not a whole style file" in refused("input=photo.png", ckpt="empty.safetensors")
    Path("weights.safetensors").write_bytes(pickle.dumps({"weights": [1.0]}))
    assert "not a whole style file" in refused("input=photo.png", ckpt="weights.safetensors")
    executed = plant(Path("bomb.safetensors"))
    assert "not a whole style file" in refused("input=photo.png", ckpt="bomb.safetensors")
    assert not executed.exists()


def test_a_broken_profile_is_told_in_a_sentence(infer: Callable[..., Said]) -> None:
    Image.fromarray(noise(8, 8)).save("photo.png", icc_profile=b"no profile")
    code, out, err = infer("input=photo.png")
    assert (code, out) == (0, ["photo.tiny.png"])
    assert err.startswith("onestroke: the colour profile of 'photo.png' is ignored") and err.count("\n") == 1


def test_a_name_in_the_style_file_leads_nowhere_else(infer: Callable[..., Said]) -> None:
    photo("in/photo.png")
    for name in ("../../evil", "a/b", "..", "C:\\evil", None):
        tiny(Path("own.safetensors"), name)
        assert infer("input=in/photo.png", "overwrite=true", ckpt="own.safetensors")[1] == ["in/photo.own.png"]
    for name in ("", "a\nb"):  # no style file has such a name
        with pytest.raises(UserError, match=r"style\.name"):
            tiny(Path("none.safetensors"), name)
    tiny(Path("own.safetensors"), "La vérité (2)")
    assert infer("input=in/photo.png", ckpt="own.safetensors")[1] == ["in/photo.La vérité (2).png"]


def test_infer_py_paints_with_code_0_and_tells_a_mistake_with_code_2(style: Path) -> None:
    photo("photo (1).jpg", 7, 5)
    good = process("infer.py", f"ckpt={style}", "input=photo (1).jpg", cwd=Path.cwd())
    assert (good.returncode, good.stdout, good.stderr) == (0, "photo (1).tiny.png\n", "")
    with Image.open("photo (1).tiny.png") as painted:
        assert painted.size == (5, 7)
    bad = command("infer.py", f"ckpt={style}", "input=gone.jpg", cwd=Path.cwd())
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.startswith("onestroke: there is no file") and bad.stderr.count("\n") == 1


# --- Stylizer -------------------------------------------------------------------------------------------


def test_stylizer_paints_pil(style: Path) -> None:
    stylizer = Stylizer(style, "cpu")
    pixels = noise(11, 14, 4)
    pixels[..., 3] |= 16  # what can't be seen would be painted as what is beside it
    for mode in ("RGB", "L", "RGBA", "P", "CMYK"):
        image = Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode)
        painted = stylizer(image)
        assert painted.size == (14, 11) and painted.mode == ("RGBA" if mode == "RGBA" else "RGB")
        wanted = expected(style, np.asarray(image.convert("RGB")))
        assert np.abs(np.asarray(painted)[..., :3].astype(int) - wanted).max() <= 1
        if mode == "RGBA":
            assert np.array_equal(np.asarray(painted)[..., 3], pixels[..., 3])


def test_stylizer_paints_stacks_and_alpha_and_what_is_hidden_counts_nowhere(style: Path) -> None:
    stylizer = Stylizer(style, "cpu")
    stack = np.stack([noise(11, 14, 4), noise(11, 14, 4)[::-1]])
    stack[..., 3] |= 16
    stack[0, :5, :6, 3] = 0
    other = stack.copy()
    other[0, :5, :6, :3] = 255 - other[0, :5, :6, :3]
    for color in ("style", "photo", "match"):
        painted, again = (stylizer(pixels, color=color) for pixels in (stack, other))
        assert painted.shape == stack.shape and painted.dtype == np.uint8
        assert np.array_equal(painted, again)
        assert np.array_equal(painted[..., 3], stack[..., 3])
        assert np.array_equal(stylizer(stack[0], color=color), painted[0])
        as_image = np.asarray(stylizer(Image.fromarray(stack[0]), color=color))
        assert np.abs(as_image.astype(int) - painted[0]).max() <= 1
        floats = stylizer(stack.astype(np.float32) / 255, color=color)
        assert np.abs(floats[1] * 255 - painted[1]).max() <= 1
    assert np.abs(stylizer(stack[..., :3]).astype(int)[1] - stylizer(stack)[1, ..., :3]).max() <= 1
    with pytest.raises(UserError, match=r"\(N, H, W, 3 or 4\), not uint8 \(2, 11, 14, 2\)"):
        stylizer(stack[..., :2])


def test_a_mask_of_another_aspect_is_told_and_not_stretched(infer: Callable[..., Said], style: Path) -> None:
    Image.fromarray(noise(20, 40)).save("photo.png")
    Image.fromarray(noise(40, 40, 1)[..., 0]).save("square.png")
    Image.fromarray(noise(40, 81, 1)[..., 0]).save("double.png")
    code, names, told = infer("input=photo.png", "mask=square.png")
    assert (code, names) == (2, []) and "'square.png' has another aspect, 40 : 40, than the photo of 40 x 20" in told
    assert infer("input=photo.png", "mask=double.png")[0] == 0


@pytest.mark.filterwarnings("error")
def test_stylizer_paints_arrays(style: Path) -> None:
    stylizer = Stylizer(style, "cpu")
    pixels = noise(11, 14)
    pixels.flags.writeable = False
    wanted = expected(style, pixels)
    painted = stylizer(pixels)
    assert painted.dtype == np.uint8 and np.abs(painted.astype(int) - wanted).max() <= 1
    for dtype in (np.float32, np.float64, np.float16, np.dtype(">f4")):
        floats = stylizer((pixels / 255).astype(dtype))
        assert floats.dtype == dtype and floats.shape == (11, 14, 3)
        assert np.abs(floats.astype(np.float64) * 255 - wanted).max() < (2.5 if dtype == np.float16 else 0.6)
    flipped = stylizer(pixels[::-1, ::-1])
    assert np.abs(flipped.astype(int) - expected(style, np.ascontiguousarray(pixels[::-1, ::-1]))).max() <= 1
    grey = stylizer(pixels[..., 0])
    assert grey.shape == (11, 14, 3)
    assert np.array_equal(grey, stylizer(np.repeat(pixels[..., :1], 3, axis=2)))


@pytest.mark.filterwarnings("error")
def test_stylizer_paints_tensors(style: Path) -> None:
    stylizer = Stylizer(str(style))
    batch = torch.rand(2, 3, 10, 17)
    wanted = independent(style, batch)
    assert torch.allclose(stylizer(batch), wanted, atol=1e-4)
    assert torch.allclose(stylizer(batch[1]), wanted[1], atol=1e-4)
    for dtype, slack in ((torch.float64, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)):
        painted = stylizer(batch.to(dtype))
        assert painted.dtype == dtype and painted.shape == batch.shape
        assert torch.allclose(painted.double(), wanted.double(), atol=slack)
    painted = stylizer(batch.requires_grad_())
    assert painted.is_contiguous() and not painted.is_inference() and 0 <= painted.min() <= painted.max() <= 1
    assert stylizer.paint(batch[:, :, :1, :1]).shape == (2, 3, 1, 1)


@pytest.mark.parametrize(
    "picture",
    [
        torch.rand(10, 10),
        torch.rand(4, 10, 10),
        torch.rand(10, 10, 3),
        torch.rand(1, 1, 3, 10, 10),
        torch.zeros(3, 10, 10, dtype=torch.uint8),
        torch.rand(3, 0, 10),
        torch.full((3, 4, 4), torch.nan),
        torch.full((3, 4, 4), 255.0),
        torch.full((3, 4, 4), -0.5),
        np.zeros((10, 10, 5), np.uint8),
        np.zeros((10, 10, 3), np.int32),
        np.zeros((10, 10, 3), bool),
        np.zeros((3, 10, 10)),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros(5),
        np.full((4, 4, 3), np.inf),
        np.full((4, 4), 200.0),
        "photo.jpg",
        None,
    ],
)
def test_stylizer_refuses_what_is_no_picture_in_one_sentence(style: Path, picture: torch.Tensor) -> None:
    with pytest.raises(UserError) as error:
        Stylizer(style, "cpu")(picture)
    assert "\n" not in str(error.value)


@torch.no_grad()
def black(network: ResidualNetwork) -> None:
    network.paint.convolution.bias.fill_(-100)  # type: ignore[union-attr]


def test_what_is_no_picture_is_not_written(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    photo("photo.png")
    tiny(Path("black.safetensors"), paint=black)
    assert "black.safetensors paints no picture" in refused("input=photo.png", ckpt="black.safetensors")
    stylizer = Stylizer("black.safetensors", "cpu")
    night = torch.full((1, 3, 8, 8), 0.1)
    assert stylizer.paint(night).max() == 0, "a photo of the dark may be painted black"
    with pytest.raises(UserError, match="all black"):
        stylizer.paint(torch.cat((night, night + 0.5)))
    forward = ResidualNetwork.forward

    def poisoned(self: ResidualNetwork, image: torch.Tensor) -> torch.Tensor:
        painted = forward(self, image)
        painted[..., 0, 0] = torch.nan
        return painted

    tiny(Path("nan.safetensors"))
    monkeypatch.setattr(ResidualNetwork, "forward", poisoned)
    assert "nan.safetensors paints no picture" in refused("input=photo.png", ckpt="nan.safetensors")


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: can't allocate memory: you tried", "MPS: out of memory"])
def test_memory_that_runs_out(
    refused: Callable[..., str], style: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    photo("photo.png")

    def forward(self: ResidualNetwork, image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(words)

    monkeypatch.setattr(ResidualNetwork, "forward", forward)
    assert "24 x 20 is too large for the memory; use a smaller max_side" in refused("input=photo.png")
    words = "a mistake of ours with the memory format"
    with pytest.raises(RuntimeError, match="mistake of ours"):
        Stylizer(style, "cpu").paint(torch.rand(1, 3, 8, 8))


def test_the_memory_is_looked_at_first(
    style: Path, refused: Callable[..., str], infer: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo("photo.png", 100, 200)
    needed = Stylizer(style, "cpu").backend.memory(1, 100, 200)
    monkeypatch.setattr("onestroke.inference.memory.free_on", lambda device: needed / 4)
    assert "200 x 100 needs about 0.0 GiB" in (err := refused("input=photo.png"))
    assert err.endswith("max_side=100\n")
    with monkeypatch.context() as before_it_is_floats:
        before_it_is_floats.setattr(images.Picture, "rgb", property(lambda _: pytest.fail("four times the memory")))
        assert "200 x 100 needs about" in refused("input=photo.png")
    assert infer("input=photo.png", "max_side=100")[0] == 0, "what is advised works"
    monkeypatch.undo()
    assert free_on(torch.device("cpu")) > 2**20


def test_the_public_names(style: Path) -> None:
    import onestroke

    path = photo("photo.png")
    painted = onestroke.Stylizer(style)(Image.open(path))
    images.write("again.png", images.from_pil(painted).rgb)
    assert near("again.png", expected(style, noise(20, 24)))
