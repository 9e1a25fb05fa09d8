"""Painting clips: sound, times, geometry, colours and damage, checked with readers that are not ours."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onestroke.cli import infer
from onestroke.inference.stylizer import Stylizer
from onestroke.video import clip as clips
from onestroke.video.reading import Film
from tests.clip_files import av, decoded, frame_times, make_clip, needs_ffmpeg, probe, scene, sound_hash, style_of_two
from tests.peaks import needs_peak, peak_of


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a style file of two styles, a.safetensors, whose painting differs much from the photo."""
    monkeypatch.chdir(tmp_path)
    style_of_two(tmp_path)
    return tmp_path


def paint(*arguments: str, style: str = "udnie", steady: str = "0") -> int:
    return infer.main(["ckpt=a.safetensors", f"style={style}", f"steady={steady}", *arguments])


VFR = [0, 1, 2, 5, 6, 9, 14, 15, 16, 20, 21, 30]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cfr.mp4", {}),
        pytest.param("ntsc.mp4", {"base": Fraction(1001, 30000)}, marks=pytest.mark.slow),
        ("vfr.mp4", {"times": VFR, "base": Fraction(1, 90000 // 1500)}),
        pytest.param("late.mp4", {"times": [7, 8, 9, 12], "base": Fraction(1, 90)}, marks=pytest.mark.slow),
        ("rotated.mp4", {"rotation": 90}),
        ("silent.mp4", {"audio": None}),
        pytest.param("wide.mp4", {"aspect": Fraction(4, 3)}, marks=pytest.mark.slow),
        ("odd.mkv", {"size": (47, 65), "pixels": "yuv444p"}),
        ("ten.mp4", {"codec": "libx265", "pixels": "yuv420p10le", "options": {"x265-params": "log-level=none"}}),
        pytest.param("pcm.mov", {"audio": "pcm_s16le"}, marks=pytest.mark.slow),
        pytest.param("opus.webm", {"codec": "libvpx-vp9", "audio": "libopus"}, marks=pytest.mark.slow),
        pytest.param("one.mp4", {"times": [0]}, marks=pytest.mark.slow),
    ],
)
def test_sound_times_and_geometry_are_kept(name: str, options: dict[str, Any], inside: Path) -> None:
    make_clip(inside / name, **options)
    target = inside / f"painted{Path(name).suffix}"
    assert paint(f"input={name}", f"output={target.name}") == 0
    assert frame_times(target) == frame_times(inside / name)
    before, after = probe(inside / name), probe(target)
    turned = options.get("rotation", 0) % 180 != 0
    size = (before["height"], before["width"]) if turned else (before["width"], before["height"])
    assert (after["width"], after["height"]) == size
    assert after.get("sample_aspect_ratio", "1:1") == before.get("sample_aspect_ratio", "1:1")
    assert not after.get("side_data_list")  # upright, and says so
    if options.get("audio", "aac"):
        assert sound_hash(target) == sound_hash(inside / name)
        assert probe(target, "a")["codec_name"] == probe(inside / name, "a")["codec_name"]
    # in Matroska the last packet of sound counts as whole
    assert abs(float(_seconds(target)) - float(_seconds(inside / name))) < (0.022 if name.endswith("mkv") else 0.002)
    assert not list(inside.glob(".*"))  # nothing is left behind


def _seconds(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return Fraction(stream.duration * stream.time_base if stream.duration else Fraction(container.duration, 10**6))


@needs_ffmpeg
@pytest.mark.parametrize("rotation", [0, 90, *(pytest.param(r, marks=pytest.mark.slow) for r in (180, 270))])
def test_frames_are_read_as_ffmpeg_reads_them(rotation: int, inside: Path) -> None:
    path = make_clip(inside / "a.mp4", rotation=rotation)
    ours = np.stack([frame.rgb for frame in Film(path).frames()])
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(path),
        "-sws_flags",
        flags,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout  # which turns frames by itself
    theirs = np.frombuffer(raw, np.uint8).reshape(ours.shape)
    # it turns them before it converts them, so that colours at edges are interpolated in another direction
    assert np.abs(ours.astype(int) - theirs).max() <= (8 if rotation else 0)
    assert ours.shape == ((12, 64, 48, 3) if rotation % 180 else (12, 48, 64, 3))


@needs_ffmpeg
def test_the_frames_are_those_that_the_stylizer_paints(inside: Path) -> None:
    path = make_clip(inside / "a.mp4", size=(64, 96), audio=None)
    assert paint("input=a.mp4", "output=out.mp4", "quality=100") == 0
    stylizer = Stylizer(inside / "a.safetensors", mix="udnie")
    expected = np.stack([np.asarray(stylizer(frame.rgb)) for frame in Film(path).frames()])
    written = decoded(inside / "out.mp4")
    assert np.abs(written.astype(int) - expected).mean() < 6  # colours are stored at half the size
    assert np.abs(written.astype(int) - np.stack([scene(i, 64, 96) for i in range(12)])).mean() > 20


@needs_ffmpeg
@pytest.mark.parametrize(
    ("colours", "matrix"),
    [
        ({"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}, "bt709"),
        ({"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 2}, "smpte170m"),
    ],
)
def test_colour_coding_is_heeded_and_written(colours: dict[str, int], matrix: str, inside: Path) -> None:
    path = make_clip(inside / "a.mp4", colours=colours)
    assert paint("input=a.mp4", "output=out.mp4", "strength=0") == 0
    before, after = probe(path), probe(inside / "out.mp4")
    for key in ("color_space", "color_primaries", "color_transfer", "color_range"):
        assert after[key] == before[key]
    assert after["color_space"] == matrix
    # at strength 0 the frames come back, whatever their matrix and range
    ours, theirs = (np.stack([f.rgb for f in Film(p).frames()]).astype(int) for p in (path, inside / "out.mp4"))
    assert np.abs(ours - theirs).mean() < 3


@needs_ffmpeg
def test_hdr_is_mapped_and_said(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    options = {"x265-params": "log-level=none"}
    make_clip(inside / "a.mp4", codec="libx265", pixels="yuv420p10le", colours=colours, audio=None, options=options)
    assert paint("input=a.mp4", "output=out.mp4") == 0
    assert "HDR" in capsys.readouterr().err
    after = probe(inside / "out.mp4")
    assert (after["color_transfer"], after["color_space"], after["pix_fmt"]) == ("bt709", "bt709", "yuv420p")


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mov", "prores_ks", "yuva444p10le"), ("a.webm", "libvpx-vp9", "yuva420p")],
)
def test_alpha_is_kept(name: str, codec: str, pixels: str, inside: Path) -> None:
    path = make_clip(inside / name, alpha=True, audio=None, times=range(4), codec=codec, pixels=pixels)
    assert paint(f"input={name}", f"output=out{path.suffix}") == 0
    for clip in (path, inside / f"out{path.suffix}"):
        frames = list(Film(clip).frames())
        assert len(frames) == 4
        for frame in frames:
            assert frame.alpha is not None
            assert frame.alpha[:, :10].max() < 8 and frame.alpha[:, 24:].min() > 247


def test_a_damaged_packet_costs_its_frames_and_is_said(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_clip(inside / "a.mp4", times=range(30), options={"g": "5", "bf": "0"})
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    begin, size = packets[10]
    data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    assert paint("input=a.mp4", "output=out.mp4") == 0
    assert "damaged frame" in capsys.readouterr().err
    times = frame_times(inside / "out.mp4")
    assert 24 <= len(times) < 30
    assert set(times) <= {Fraction(i, 25) for i in range(30)}
    assert sound_hash(inside / "out.mp4") == sound_hash(path)


def test_a_clip_that_was_cut_off_is_painted_as_far_as_it_goes(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_clip(inside / "a.mkv", times=range(60), size=(96, 128))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert paint("input=a.mkv", "output=out.mkv") == 0
    painted = frame_times(inside / "out.mkv")
    assert 5 < len(painted) < 60 and painted == frame_times(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\0\0\0\x18ftypisom" + bytes(100), "can't be read as a clip"),
        (b"", "is empty"),
        (b"not a film", "can't be read as a clip"),
    ],
)
def test_a_file_that_is_no_clip_gets_one_sentence(
    content: bytes, sentence: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "a.mp4").write_bytes(content)
    assert paint("input=a.mp4") == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_a_playlist_opens_no_other_file(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_clip(inside / "secret.mp4")
    (inside / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{inside / 'secret.mp4'}\n#EXT-X-ENDLIST\n")
    (inside / "b.mp4").write_text(f"ffconcat version 1.0\nfile {inside / 'secret.mp4'}\n")
    for name in ("a.mp4", "b.mp4"):
        assert paint(f"input={name}") == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_start_end_and_max_side(inside: Path) -> None:
    make_clip(inside / "a.mp4", times=range(50), size=(96, 128))
    assert paint("input=a.mp4", "output=out.mp4", "start=0.5", "end=1.2", "max_side=64") == 0
    times = frame_times(inside / "out.mp4")
    # frames at 0.52 to 1.16 s, counted from 0.5 s
    assert [round(float(t) * 100) for t in times] == [4 * i - 50 for i in range(13, 30)]
    frame = next(iter(Film(inside / "out.mp4").frames()))
    assert frame.rgb.shape == (48, 64, 3)
    with av.open(str(inside / "out.mp4")) as container:
        seconds = float(container.streams.audio[0].duration * container.streams.audio[0].time_base)
        assert 0.65 < seconds < 0.8


def test_style_and_strength_over_time(inside: Path) -> None:
    path = make_clip(inside / "a.mp4", times=range(10), base=Fraction(1, 10), audio=None)
    changing = ["strength=0.1:0,0.5:1", "output=frames/"]
    assert paint("input=a.mp4", *changing, style="0:udnie,0.4:wave") == 0
    frames = list(Film(path).frames())
    for i, (mix, strength) in enumerate([("udnie", 0.0), ("udnie:0.75,wave:0.25", 0.0), ("udnie:0.5,wave:0.5", 0.25)]):
        expected = Stylizer("a.safetensors", mix=mix, strength=strength)(frames[i].rgb)
        painted = np.asarray(Image.open(inside / "frames" / f"{i + 1:06d}.png"))
        assert np.abs(painted.astype(int) - expected).max() <= 1, (i, mix, strength)
    last = Stylizer("a.safetensors", mix="wave", strength=1)(frames[9].rgb)
    assert np.array_equal(np.asarray(Image.open(inside / "frames" / "000010.png")), last)


def test_masks_and_colours_of_clips(inside: Path) -> None:
    path = make_clip(inside / "a.mp4", times=range(3), audio=None)
    half = np.zeros((48, 64), np.uint8)
    half[:, 32:] = 255
    Image.fromarray(half).save(inside / "mask.png")
    assert paint("input=a.mp4", "output=masked/", "mask=mask.png") == 0
    assert paint("input=a.mp4", "output=photo/", "color=photo") == 0
    stylizer = Stylizer("a.safetensors", mix="udnie")
    for i, frame in enumerate(Film(path).frames()):
        masked = np.asarray(Image.open(inside / "masked" / f"{i + 1:06d}.png"))
        assert np.array_equal(masked[:, :32], frame.rgb[:, :32])
        assert np.array_equal(masked[:, 32:], stylizer(frame.rgb)[:, 32:])
        coloured = np.asarray(Image.open(inside / "photo" / f"{i + 1:06d}.png")).astype(int)
        assert np.abs(coloured - stylizer(frame.rgb, color="photo")).max() <= 1


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_their_durations_and_loops(suffix: str, inside: Path) -> None:
    frames = [Image.fromarray(scene(i, 48, 64)) for i in range(5)]
    durations = [40, 200, 100, 60, 500]
    frames[0].save(inside / f"a{suffix}", save_all=True, append_images=frames[1:], duration=durations, loop=3)
    assert paint(f"input=a{suffix}", f"output=out{suffix}") == 0
    with Image.open(inside / f"out{suffix}") as image:
        assert image.n_frames == 5 and image.size == (64, 48)
        found = []
        for i in range(5):
            image.seek(i)
            image.load()
            found.append(round(image.info["duration"]))
        assert found == durations
        assert image.info["loop"] == 3


def test_a_folder_of_frames_is_a_clip(inside: Path) -> None:
    (inside / "frames").mkdir()
    for i in range(11):
        Image.fromarray(scene(i, 48, 64)).save(inside / "frames" / f"f{i}.png")
    assert paint("input=frames/", "fps=24", "output=out.mp4") == 0
    assert frame_times(inside / "out.mp4") == [Fraction(i, 24) for i in range(11)]
    assert paint("input=frames/", "fps=24", "output=painted/") == 0
    stylizer = Stylizer("a.safetensors", mix="udnie")
    for i in range(11):  # 10 comes after 9
        painted = np.asarray(Image.open(inside / "painted" / f"{i + 1:06d}.png"))
        assert np.array_equal(painted, stylizer(scene(i, 48, 64)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["output=a.avi"], "a clip is written as"),
        (["output=a.mp4"], "never overwritten"),
        (["output=there.mp4"], "is there already"),
        (["codec=prores"], "codec=prores is not for .mp4"),
        (["strength=0:0.2,5"], "keyframes are written"),
        (["strength=5:0.2,0:0.3"], "must rise"),
        (["strength=0:0.2,5:1.5"], "from 0 to 1"),
        (["start=3", "end=2"], "end=2 is not after start=3"),
        (["start=99"], "has no frame to paint"),
        (["mask=alpha"], "has no alpha"),
        (["output=out.gif", "quality=50"], "quality=50 is not for .gif"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str], sentence: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clip(inside / "a.mp4", times=range(3))
    (inside / "there.mp4").write_bytes(b"precious")
    assert paint("input=a.mp4", *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert (inside / "there.mp4").read_bytes() == b"precious"


def test_a_painted_clip_is_not_painted_again_by_a_pattern(inside: Path) -> None:
    make_clip(inside / "a.mp4", times=range(3))
    assert paint("input=*.mp4") == 0
    assert paint("input=*.mp4", "overwrite=true") == 0
    assert sorted(path.name for path in inside.glob("*.mp4")) == ["a.mp4", "a.udnie.mp4"]


@pytest.mark.parametrize("signs", clips._TURNS)
def test_a_display_matrix_puts_each_corner_where_it_says(signs: tuple[int, int, int, int]) -> None:
    a, b, c, d = signs
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    turned = clips._TURNS[signs](pixels)
    height, width = pixels.shape[:2]
    places = {(a * x + c * y, b * x + d * y): pixels[y, x, 0] for y in range(height) for x in range(width)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    for (x, y), value in places.items():
        assert turned[y - top, x - left, 0] == value


@pytest.mark.slow
@needs_peak
def test_memory_does_not_grow_with_the_length_of_a_clip(inside: Path) -> None:
    peaks = []
    for count in (200, 2000):
        make_clip(inside / f"{count}.mp4", times=range(count), size=(144, 192))
        peaks.append(peak_of("ckpt=a.safetensors", "style=udnie", f"input={count}.mp4"))
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize(
    ("name", "suffix", "said"),
    [
        ("a.avi -c:v mpeg4 -c:a libmp3lame", ".mp4", ""),
        pytest.param("a.ts -c:v mpeg2video -c:a mp2", ".mp4", "", marks=pytest.mark.slow),
        pytest.param("a.wmv -c:v wmv2 -c:a wmav2", ".mkv", "audio in wmav2", marks=pytest.mark.slow),
        pytest.param("a.flv -c:v flv1 -an", ".mp4", "", marks=pytest.mark.slow),
        ("a.h264 -c:v libx264 -an", ".mp4", ""),
        ("a.mkv -i text.srt -i chapters.txt -map 0 -map 1 -map 2 -c:v libx264 -c:a libmp3lame", ".mkv", ""),
        ("a.mp4 -i text.srt -i chapters.txt -map 0 -map 1 -map 2 -c:v libx264 -c:s mov_text", ".mp4", ""),
        ("a.mp4 -c:v libx264 -flags +ildct+ilme -vf interlace", ".mp4", ""),
    ],
)
@needs_ffmpeg
def test_clips_of_many_kinds(
    name: str, suffix: str, said: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "text.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nhello\n")
    chapters = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    (inside / "chapters.txt").write_text(
        ";FFMETADATA1\n" + chapters.format(0, 500, "one") + chapters.format(500, 1200, "two")
    )
    file, *arguments = name.split()
    sources = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1.2", "-f", "lavfi", "-i", "sine=d=1.2"]
    subprocess.run(["ffmpeg", "-v", "error", *sources, *arguments, file], cwd=inside, check=True)
    assert paint(f"input={file}") == 0
    captured = capsys.readouterr()
    assert (said in captured.err) if said else captured.err == ""
    target = inside / f"a.udnie{suffix}"
    before, after = frame_times(inside / file), frame_times(target)
    assert [t - after[0] for t in after] == [t - before[0] for t in before]
    if "-an" not in arguments and not said:
        assert sound_hash(target) == sound_hash(inside / file)
    with av.open(str(inside / file)) as one, av.open(str(target)) as other:
        assert [c["metadata"] for c in other.chapters()] == [c["metadata"] for c in one.chapters()]
        assert len(other.streams.subtitles) == len(one.streams.subtitles) == ("text.srt" in arguments)
