"""scripts/bench.py: what it counts, what it compares with, and what it makes of times. No times are judged here."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onestroke.cli import export
from onestroke.data.datamodule import PhotoBatches
from onestroke.export import live_export
from onestroke.losses.objective import Objective
from onestroke.losses.raw import RawContent, RawGram
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from tests.browsing import RUNTIME, need_browser
from tests.running import Blocks

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import bench  # noqa: E402
import bench_clips  # noqa: E402
import bench_data  # noqa: E402
import bench_measure  # noqa: E402
import bench_modes  # noqa: E402
import bench_report  # noqa: E402
import bench_step  # noqa: E402
from bench_baseline import LAYERS, ClassicNetwork, ClassicStep, ClassicVGG  # noqa: E402
from bench_measure import Case, Contestant, Spread, Timings, compare, gmac, race  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small matrices, no pauses, one timing a call, and no thread setting that outlives the test."""
    monkeypatch.setattr(bench_measure, "MATRIX", 16)
    monkeypatch.setattr(bench_measure, "PAUSE", 0.0)
    monkeypatch.setattr(bench_measure, "LEAST", 0.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- what is counted ------------------------------------------------------------------------------------


def by_hand(channels: tuple[int, int, int], size: int = 256) -> float:
    """Multiply-adds of Johnson's network: pixels x inputs x outputs x kernel, of each convolution."""
    full, half, quarter = channels
    at_full, at_half, at_quarter = size**2, (size // 2) ** 2, (size // 4) ** 2
    ends = 2 * at_full * 3 * full * 81
    down = at_half * full * half * 9 + at_quarter * half * quarter * 9
    middle = 10 * at_quarter * quarter * quarter * 9
    up = at_half * quarter * half * 9 + at_full * half * full * 9
    return (ends + down + middle + up) / 1e9


@pytest.mark.parametrize(("channels", "about"), [((32, 64, 128), 10.1), ((16, 32, 64), 2.8)])
def test_counts_networks(channels: tuple[int, int, int], about: float) -> None:
    network = ResidualNetwork(channels, adds_photo=False)
    assert gmac(network, 256, 256) == pytest.approx(by_hand(channels))
    assert gmac(network, 256, 256) == pytest.approx(about, abs=0.05)
    assert gmac(ClassicNetwork(channels), 256, 256) == pytest.approx(by_hand(channels))


@pytest.mark.parametrize(("layer", "about"), [("relu2_2", 6.2), ("relu3_3", 12.2), ("relu4_3", 18.2)])
def test_counts_vgg_to_a_layer(layer: str, about: float) -> None:
    assert gmac(VGG(LAYERS, random=True), 256, 256, layers=[layer]) == pytest.approx(about, abs=0.06)


def test_counts_the_colour_change_the_batch_and_any_shape() -> None:
    plain, whole = ResidualNetwork((4, 4, 8), 1, adds_photo=False), ResidualNetwork((4, 4, 8), 1)
    assert gmac(whole, 64, 32) - gmac(plain, 64, 32) == pytest.approx(64 * 32 * 9 / 1e9)
    assert gmac(whole, 64, 32, 3) == pytest.approx(3 * gmac(whole, 64, 32))


def test_counting_leaves_no_hooks_and_changes_nothing() -> None:
    network = ResidualNetwork((4, 4, 8), 1)
    before = network(noise(1, 3, 32, 32))
    gmac(network, 64, 64)
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(network(noise(1, 3, 32, 32)), before)


def test_counts_a_step_of_ours_with_the_content_pass_cut() -> None:
    step = bench_step.prepared(["experiment=classic", "crop=32", "trainer.precision=32-true"], CPU)
    network, content, output = by_hand((32, 64, 128)), 6.2, 18.2
    assert step.gmac(256, 256) == pytest.approx(3 * network + 2 * output + content, abs=0.2)


# --- the baseline ---------------------------------------------------------------------------------------


def twins(channels: tuple[int, int, int] = (8, 16, 32)) -> tuple[ClassicNetwork, ResidualNetwork]:
    """The baseline's network and ours, with the same random weights, of norms too."""
    torch.manual_seed(0)
    ours = ResidualNetwork(channels, adds_photo=False, upsampling="nearest")
    plain = ClassicNetwork(channels)
    mine = [m for m in ours.modules() if type(m).__name__ == "InstanceNorm"]
    theirs = [m for m in plain.modules() if isinstance(m, nn.InstanceNorm2d)]
    painting_last = nn.ModuleList([ours.encoder, ours.middle, ours.decoder, ours.paint])
    pairs = zip(
        [m for m in painting_last.modules() if isinstance(m, nn.Conv2d)],
        [m for m in plain.modules() if isinstance(m, nn.Conv2d)],
        strict=True,
    )
    with torch.no_grad():
        for one, other in pairs:
            other.load_state_dict(one.state_dict())
        for norm, other_norm in zip(mine, theirs, strict=True):
            for name in ("weight", "bias"):
                value: Tensor = torch.rand_like(getattr(norm, name)) + 0.5
                getattr(norm, name).copy_(value)
                getattr(other_norm, name).copy_(value[0])
    return plain, ours


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_the_baseline_paints_what_our_network_paints(size: tuple[int, int]) -> None:
    plain, ours = twins()
    photo = noise(2, 3, *size)
    with torch.no_grad():
        assert torch.allclose(plain(photo), ours(photo), atol=2e-5)


def test_the_baselines_network_has_the_papers_weights() -> None:
    assert sum(p.numel() for p in ClassicNetwork().parameters()) == pytest.approx(1.68e6, rel=0.01)


def test_the_baselines_vgg_is_ours_in_nchw() -> None:
    plain, ours = ClassicVGG(), VGG(LAYERS)
    photo = noise(1, 3, 48, 64)
    for found, (name, wanted) in zip(plain(photo), ours(photo).items(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-3 * float(wanted.std())), name
    assert not any(p.requires_grad for p in plain.parameters())
    assert all(p.is_contiguous() for p in plain.parameters())


def test_the_baselines_losses_are_the_raw_terms() -> None:
    style = from_card("starry_night", 256, LAYERS)
    step = ClassicStep(style, 2, CPU, ClassicNetwork((4, 4, 8), 1))
    objective = Objective({"content": RawContent(), "gram": RawGram()}, VGG(LAYERS), style)
    output, photos = noise(2, 3, 48, 48, seed=1).requires_grad_(), noise(2, 3, 48, 48)
    content, gram = step.losses(output, photos)
    ours = objective(output, photos)
    assert float(content.detach()) == pytest.approx(float(ours["content"].detach()), rel=1e-4)
    assert float(gram.detach()) == pytest.approx(float(ours["gram"].detach()), rel=1e-4)
    (found,) = torch.autograd.grad(content + gram, output)
    (wanted,) = torch.autograd.grad(ours["content"] + ours["gram"], output)
    assert float((found - wanted).norm() / wanted.norm()) < 1e-3


def test_the_baseline_learns() -> None:
    step = ClassicStep(from_card("starry_night", 256, LAYERS), 1, CPU, ClassicNetwork((4, 4, 8), 1))
    before = [p.detach().clone() for p in step.network.parameters()]
    step(noise(1, 3, 32, 32))
    moved = [not torch.equal(p, b) for p, b in zip(step.network.parameters(), before, strict=True)]
    assert sum(moved) > len(moved) / 2 and step.content > 0 and step.style > 0


TERMS = {"content", "gram", "checkerboard", "shift_consistency"}


def test_our_step_is_the_one_of_training() -> None:
    step = bench_step.prepared(["network.channels=[4,4,8]", "network.blocks=1", "crop=32", "batch_size=2"], CPU)
    weights = [p.detach().clone() for p in step.network.parameters()]
    average = [p.detach().clone() for p in step.ema.parameters()]
    for _ in range(2):
        step(bench_modes.photos_of((32, 32), 2))
    assert step.step == 2 and step.guard.skipped_steps == 0 and set(step.losses) == TERMS
    assert any(not torch.equal(p, b) for p, b in zip(step.network.parameters(), weights, strict=True))
    assert any(not torch.equal(p, b) for p, b in zip(step.ema.parameters(), average, strict=True))


def test_the_work_of_a_step_counts_what_is_painted_once_more() -> None:
    small = ["network.channels=[4,4,8]", "network.blocks=1", "crop=64", "batch_size=1"]
    step, without = (
        bench_step.prepared([*small, f"loss=[{terms}]"], CPU)
        for terms in (",".join(TERMS), "content,gram,checkerboard")
    )
    step(bench_modes.photos_of((64, 64), 1))
    assert set(step.losses) == TERMS
    # forward and backward, of every other photo
    assert step.gmac(64, 64) - without.gmac(64, 64) == pytest.approx(3 * gmac(step.network, 64, 64) / 2)


# --- statistics -----------------------------------------------------------------------------------------


def test_median_and_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([4.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.75, 3.25)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_ratio_rate_and_the_rest_of_a_row() -> None:
    slow = Contestant("baseline", lambda: None, images=4, pixels=2_000_000, gmac=30.0, dtype=torch.float32)
    fast = Contestant("ours", lambda: None, images=4, gmac=10.0, dtype=torch.bfloat16)
    products = [
        Contestant("mm-fp32", lambda: None, gmac=8.0, dtype=torch.float32),
        Contestant("mm-bf16", lambda: None, gmac=8.0, dtype=torch.bfloat16),
    ]
    found = {
        "baseline": Timings([4.0, 2.0, 3.0], 3 * 2**20),
        "ours": Timings([1.0, 0.5, 100.0]),
        "mm-fp32": Timings([0.4, 0.4, 0.4]),
        "mm-bf16": Timings([0.2, 0.2, 9.0]),
    }
    one, other = compare(Case({"size": "a"}, [slow, fast]), products, found, "baseline")
    assert (one["seconds"], one["low"], one["high"], one["ratio"]) == (3.0, 2.5, 3.5, 1.0)
    assert other["ratio"] == pytest.approx(3.0) and other["images_per_second"] == pytest.approx(4.0)
    assert one["fraction"] == pytest.approx((30 / 3) / (8 / 0.4))
    assert other["fraction"] == pytest.approx((10 / 1) / (8 / 0.2))
    assert one["ms_per_megapixel"] == pytest.approx(1500) and other["ms_per_megapixel"] is None
    assert one["peak_mib"] == 3 and one["size"] == "a" and one["runs"] == [4.0, 2.0, 3.0]
    assert compare(Case({}, [fast]), products, found, None)[0]["ratio"] is None


def test_contestants_run_in_turn_and_warm_up_first() -> None:
    ran: list[str] = []
    contestants = [Contestant(name, lambda name=name: ran.append(name)) for name in "ab"]  # type: ignore[misc]
    found = race(contestants, 3, 2, CPU, rest=False)
    assert "".join(ran) == "ab" * 5
    assert all(len(times.seconds) == 3 and min(times.seconds) >= 0 and times.peak > 2**20 for times in found.values())


def test_what_times_itself_is_believed(quick: None) -> None:
    laps = iter([9.0, 1.0, 2.0])
    found = race([Contestant("loader", lambda: next(laps))], 2, 1, CPU)
    assert found["loader"].seconds == [1.0, 2.0]


def test_what_is_fast_is_called_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_measure, "LEAST", 1e9)
    calls: list[int] = []
    race([Contestant("fast", lambda: calls.append(1))], 1, 1, CPU)
    assert len(calls) == 1 + bench_measure._MOST_CALLS


# --- the command ----------------------------------------------------------------------------------------


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    out = tmp_path / "results" / "bench.json"
    assert bench.main([*arguments, "device=cpu", "runs=1", "warmup=1", f"out={out}"]) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    return result


@pytest.mark.slow
def test_train_times_each_contestant_beside_the_baseline(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["train", "size=32", "batch=1", "only=baseline,default-fp32"]
    result = run(tmp_path, *options)
    rows = {row["contestant"]: row for row in result["rows"]}
    assert list(rows) == ["baseline", "default-fp32"]
    assert rows["baseline"]["ratio"] == 1 and all(row["seconds"] > 0 for row in rows.values())
    assert rows["baseline"]["gmac"] > rows["default-fp32"]["gmac"]
    assert result["command"] == " ".join(["python scripts/bench.py", *options, "device=cpu runs=1 warmup=1"])
    assert result["machine"]["cpu"] and result["machine"]["torch"] == torch.__version__
    assert result["rates"]["fp32"] > 0
    assert "default-fp32" in capsys.readouterr().out


def test_vgg_times_both_passes_of_a_step(tmp_path: Path, quick: None) -> None:
    rows = run(tmp_path, "vgg", "size=32", "batch=1", "only=vgg-fp32")["rows"]
    assert [row["pass"] for row in rows] == ["content to relu3_3", "output to relu4_3"]
    assert rows[1]["gmac"] / rows[0]["gmac"] == pytest.approx(2 * 18.2 / 12.2, rel=0.01)
    assert all(row["ratio"] is None and row["fraction"] > 0 for row in rows)


def test_infer_times_each_size_and_batch(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ("networks=default", "backends=torch")
    result = run(tmp_path, "infer", "size=32,64x32", "batch=1,2", "threads=1", *choice)
    cases = [(row["size"], row["batch"], row["contestant"]) for row in result["rows"]]
    shapes = [(size, batch) for size in ("32 x 32", "64 x 32") for batch in (1, 2)]
    assert cases == [(*shape, name) for shape in shapes for name in ("baseline", "default-torch")]
    for row in result["rows"]:
        pixels = row["batch"] * (1024 if row["size"] == "32 x 32" else 2048)
        assert row["ms_per_megapixel"] == pytest.approx(row["seconds"] * 1e9 / pixels)
    monkeypatch.setattr(bench_modes, "free_on", lambda device: 2**20)
    assert bench.main(["infer", "size=512", "device=cpu", *choice]) == 2


def test_frames_are_timed_beside_the_graph_alone(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(live_export, "SIDE", 32)
    rows = run(tmp_path, "frames", "size=32,64x32", "threads=1", "networks=realtime")["rows"]
    names = ["baseline", "frames-onnx", "stylizer-onnx", "frames-torch", "stylizer-torch"]
    assert [(row["network"], row["size"], row["contestant"]) for row in rows] == [
        ("realtime", size, name) for size in ("32 x 32", "64 x 32") for name in names
    ]
    assert bench.main(["frames", "batch=2", "device=cpu"]) == 2


def test_clips_are_timed_beside_the_network_alone(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "av", "cv2"):
        pytest.importorskip(name)
    monkeypatch.setattr(live_export, "SIDE", 32)
    monkeypatch.setattr(bench_clips, "FRAMES", 3)
    rows = run(tmp_path, "clips", "size=64x32", "threads=1", "networks=realtime")["rows"]
    assert [row["contestant"] for row in rows] == ["baseline", "clip-steady=0", "clip", "motion", "decoding"]
    assert all(row["frames"] == 3 for row in rows)


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_is_timed_beside_the_graph_alone(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    need_browser()
    monkeypatch.setattr(live_export, "SIDE", 32)
    monkeypatch.setattr(export, "runtime_folder", lambda: RUNTIME)
    rows = run(tmp_path, "page", "size=32,64x32", "threads=2", "networks=realtime")["rows"]
    names = ["baseline", "native-2", "wasm-1", "wasm-2"]
    assert [(row["size"], row["contestant"]) for row in rows] == [
        (size, name) for size in ("32 x 32", "64 x 32") for name in names
    ]
    assert bench.main(["page", "batch=2", "device=cpu"]) == 2


def test_every_network_and_backend_can_be_timed() -> None:
    roads = bench_modes.roads_on(CPU)
    assert "torch" in roads and bench_modes.roads_on(torch.device("cuda")) == ["torch"]
    assert {"classic", "default"} <= set(bench_modes.network_names())
    (case,) = bench_modes.infer_cases([(32, 32)], [1], CPU, ["default"], roads)
    for one in case.contestants:
        one.work()
    assert [one.name for one in case.contestants] == ["baseline", *(f"default-{road}" for road in roads)]


def test_data_times_each_source_and_consumer(tmp_path: Path, quick: None, painting: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(7):
        shutil.copy(painting, folder / f"{i}.png")
    options = ("crop=32", "workers=0", "consumer=none,2000", "batch=2", "batches=1", f"data.root={folder}")
    result = run(tmp_path, "data", *options)
    cases = [(row["source"], row["consumer"], row["contestant"]) for row in result["rows"]]
    roads = {"scenes": ["0-workers"], "photos": ["0-workers", "0-workers-cached"]}
    assert cases == [(source, taker, road) for source in roads for taker in ("none", "2000") for road in roads[source]]
    assert all(("wait_share" in row) == (row["consumer"] == "2000") for row in result["rows"])
    assert all(0 < row["wait_share"] <= 1 for row in result["rows"] if "wait_share" in row)
    assert str(folder) not in json.dumps(result) and "data.root=/path/to/photos" in result["command"]


def test_data_times_shards(tmp_path: Path, quick: None, painting: Path) -> None:
    with tarfile.open(tmp_path / "s-0.tar", "w") as shard:
        for i in range(7):
            shard.add(painting, f"{i}.png")
    options = ("crop=32", "workers=0", "consumer=none", "batch=2", "batches=1", "source=shards")
    result = run(tmp_path, "data", *options, f"data.urls={tmp_path}/s-{{0..0}}.tar")
    assert [(row["source"], row["contestant"]) for row in result["rows"]] == [("shards", "0-workers")]
    assert str(tmp_path) not in json.dumps(result) and "data.urls=photos.tar" in result["command"]


# a worker is a process that imports torch anew
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_waiting_for_data_is_what_the_consumer_does_not_take(workers: int) -> None:
    taken: list[Tensor] = []
    seconds, waited = bench_data.lap(PhotoBatches(Blocks(), 2, 32, 0, workers), taken.append, 3)
    assert len(taken) == 3 and taken[0].shape == (2, 32, 32, 3) and 0 < waited <= seconds


def test_the_section_of_benchmarks(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "BENCHMARKS.md"
    path.write_text("# Benchmarks\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    run(tmp_path, "vgg", "size=32", "batch=1", "append=true")
    text = path.read_text()
    assert text.startswith(f"# Benchmarks\n\n## vgg: {bench_report.cpu_name()}, ")
    assert torch.__version__ in text and "scripts/bench.py vgg size=32" in text and str(tmp_path) not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "times as fast" in lines[0] and len({line.count("|") for line in lines}) == 1
    assert any("baseline" in line and "| 1.00 |" in line for line in lines)


def test_the_name_of_the_processor(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nmodel name\t: A Fast One @ 3 GHz\nmodel name\t: A Fast One @ 3 GHz\n")
    assert bench_report.cpu_name(path) == "A Fast One @ 3 GHz"
    assert bench_report.cpu_name(tmp_path / "missing")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tran"], "there is no mode 'tran': did you mean 'train'?"),
        (["train", "sise=64"], "there is no option 'sise'"),
        (["train", "crop=64"], "there is no option 'crop'"),
        (["train", "size=16"], "size=16: write multiples of 4"),
        (["train", "size=250"], "size=250: write multiples of 4"),
        (["train", "size=big"], "size=big: write multiples of 4"),
        (["train", "size=64x32"], "photos to train on are square, not 64 x 32"),
        (["train", "size=32", "batch=0"], "batch=0: write whole numbers of at least 1"),
        (["train", "size=32", "batch=1,1"], "batch=1,1: write different values"),
        (["train", "size=32", "loss.nothing.weight=2"], "loss.nothing"),
        (["train", "runs=0"], "runs must be a whole number of at least 1, not '0'"),
        (["train", "threads=few"], "threads must be a whole number"),
        (["train", "device=abacus"], "device=abacus can't be used here"),
        (["train", "append=perhaps"], "append must be true or false"),
        (["vgg", "loss.gram.weight=2"], "the mode vgg takes no loss.gram.weight"),
        (["vgg", "size=32", "only=baselin"], "only: there is no contestant 'baselin': did you mean 'baseline'?"),
        (["infer", "networks=huge"], "networks: there is no 'huge' here"),
        (["infer", "backends=tensorrt"], "backends: there is no 'tensorrt' here"),
        (["data", "consumer=nobody", "workers=0"], "consumer=nobody: write none, step, or how many images"),
        (["data", "source=films", "workers=0"], "source=films: known are scenes"),
        (["data", "cache=maybe", "workers=0"], "cache=maybe: write off, on, or both"),
        (["data", "data.val=here"], "options of photos need a folder of them"),
        (["data", "data.root=no/such/folder"], "no/such/folder"),
        (["data", "loss.gram.weight=2"], "the mode data takes no loss.gram.weight"),
    ],
)
def test_a_mistake_in_an_option_is_told_in_one_sentence(
    arguments: list[str], told: str, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("onestroke: ") and error.count("\n") == 1


def test_help_names_every_mode_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"scripts/bench.py {mode}" in text for mode in bench.OPTIONS)
    assert all(field.name in text for options in bench.OPTIONS.values() for field in fields(options))
