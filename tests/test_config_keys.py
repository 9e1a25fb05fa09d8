"""Each key of the config reaches what it is there for: each is changed, and seen where it has its effect."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.attention import AttentionNetwork
from onestroke.networks.base import TransformNetwork
from onestroke.networks.dense import DenseNetwork
from onestroke.networks.mobile import MobileNetwork
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.networks.resnext import GroupedNetwork
from onestroke.networks.unet import UNetwork
from onestroke.perception.vgg import VGG
from onestroke.style_document import Metadata
from onestroke.style_file import load, read_document, save
from tests.running import BLOCKS, CONFIGS, Blocks, Seen, alike, changed, composed, judged, run, shallow
from tests.test_controls import ARGS

RESIDUAL: dict[str, Any] = {"channels": [4, 8, 8], "blocks": 1, "ends": 3}
REALTIME: dict[str, Any] = {"channels": [4, 8], "blocks": 1}
SMALL = {"style.size": 64, "network.controls": []}  # or it is measured at three sizes
PAINTING_TERMS = ("wasserstein", "histogram", "nnfm", "moments", "contrast", "adversarial")
KINDS = {kind.__name__: kind for kind in ARGS if kind not in (ResidualNetwork, RealtimeNetwork)}
COMMON = {"upsampling": "nearest", "adds_photo": False, "low_pass": 16, "controls": ["strength"], "blocks": 2}
OF_ONE = (
    (DenseNetwork, "layers", 3), (DenseNetwork, "growth", 5), (GroupedNetwork, "width", 12),
    (GroupedNetwork, "groups", 4), (MobileNetwork, "expansion", 3), (AttentionNetwork, "keys", 4),
)  # fmt: skip
OTHERS: list[tuple[type[TransformNetwork], str, Any]] = [
    *OF_ONE,
    *((kind, "channels", [2 * n for n in ARGS[kind]["channels"]]) for kind in KINDS.values()),
    *(
        (kind, name, "bilinear" if kind is UNetwork and name == "upsampling" else value)
        for kind in KINDS.values()
        for name, value in COMMON.items()
    ),
]
OWN = {"style.image": "painting.png", "style.name": "mine", **SMALL}


@dataclass(frozen=True)
class Case:
    """A key's other value, and where it is seen: `look` gives `expected` with it, and anything else without.

    also: what has to be changed beside it, in both runs. steps: whether training has to begin for that.
    """

    value: Any
    look: Callable[[Seen], Any]
    expected: Any = True
    also: Mapping[str, Any] = field(default_factory=dict)
    steps: bool = False


def document(seen: Seen) -> Metadata:
    return read_document(seen.path)


def factors(seen: Seen) -> list[dict[str, float]]:
    """What each term counts in training, and where held-out pictures are judged."""
    return [objective.factors for objective in (seen.module.objective, seen.module.validation)]


def term(name: str, what: str) -> Callable[[Seen], list[Any]]:
    """Something of a term in both objectives."""

    def look(seen: Seen) -> list[Any]:
        return [getattr(objective.terms[name], what) for objective in (seen.module.objective, seen.module.validation)]

    return look


def counted(name: str) -> Callable[[Seen], list[float]]:
    return lambda seen: [each[name] for each in factors(seen)]


def vggs(what: Callable[[VGG], Any]) -> Callable[[Seen], list[Any]]:
    return lambda seen: [what(objective.vgg) for objective in (seen.module.objective, seen.module.validation)]


def first_bias(vgg: VGG) -> float:
    return float(vgg.convolutions["relu1_1"].bias[0])  # type: ignore[index]


def names(seen: Seen) -> list[str]:
    """Of the styles that are trained, each at three sizes, and judged."""
    return [str(style.name) for style in (*seen.module.objective.styles, *seen.module.validation.styles)]


def painted_as(kind: type[nn.Module], **arguments: Any) -> Callable[[Seen], bool]:
    """Whether a network of these arguments, made by hand, has the same weights by name and paints the same."""

    def look(seen: Seen) -> bool:
        by_hand, image = kind(**arguments), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        try:
            by_hand.load_state_dict(seen.module.network.state_dict())
        except RuntimeError:
            return False
        with torch.no_grad():
            return torch.allclose(by_hand(image), seen.module.network(image), atol=1e-5, rtol=1e-4)

    return look


def residual(name: str, value: Any, **also: Any) -> Case:
    own = {**RESIDUAL, "controls": ["strength", "stroke"], "low_pass": 16, **also, name: value}
    return Case(value, painted_as(ResidualNetwork, **own), also={f"network.{key}": each for key, each in also.items()})


def realtime(name: str, value: Any) -> Case:
    return Case(value, painted_as(RealtimeNetwork, **{**REALTIME, name: value}))


def other_network(kind: type[TransformNetwork], name: str, value: Any) -> Case:
    return Case(value, painted_as(kind, **{**ARGS[kind], name: value}))


def started_as_seed_1_starts(seen: Seen) -> bool:
    torch.manual_seed(1)
    return alike(seen.module.network, ResidualNetwork(**RESIDUAL, controls=["strength", "stroke"]))


def drawn(seen: Seen) -> tuple[list[int], int, bool]:
    """What depends on the seed: the first picture, where the controls are set, and the network's start."""
    return seen.batch()[0, 0, 0].tolist(), seen.module.draw.seed, started_as_seed_1_starts(seen)


def moved(seen: Seen) -> tuple[set[bool], float]:
    """Whether convolutions are trained, and how many pictures are painted with the controls at random."""
    return {p.requires_grad for n, p in seen.module.network.named_parameters() if "conv" in n}, seen.module.draw.moving


def averaged(seen: Seen) -> bool:
    """Whether what is exported is an average, and not the last weights."""
    exported = load(seen.path)[0]
    return alike(exported, seen.module.ema, 1e-3) and not alike(exported, seen.module.network, 1e-2)


def measured(seen: Seen) -> tuple[list[str], bool]:
    """The styles that all numbers of evaluate.py are taken in, and whether the style file has them."""
    measures = seen.callbacks["HeldOut"].measures
    names = [] if measures is None else [str(measure.style.name) for measure in measures()]
    return names, "measured/e_statistic" in document(seen).metrics


def betas(seen: Seen) -> set[tuple[float, float]]:
    return {tuple(group["betas"]) for group in seen.trainer.optimizers[0].param_groups}


def log_folders(seen: Seen) -> list[str]:
    """Where each logger writes."""
    return [Path(logger.log_dir).relative_to(Path.cwd()).as_posix() for logger in seen.arguments["logger"]]


def hue(picture: Tensor) -> int:
    """Which channel of a picture (3, H, W) is the brightest."""
    return int(picture.float().mean(dim=(1, 2)).argmax())


def shown(seen: Seen) -> list[int]:
    """The hue of each held-out picture that is looked at."""
    return [hue(photo[0]) for photo in seen.data.held_out]


def rounded(values: list[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def in_shares(shares: list[float]) -> list[float]:
    """Those of the rate's peak, while it is warmed up in 20 steps."""
    return rounded([2e-3 * share * (step + 1) / 20 for step, share in enumerate(shares)])


RED, BLUE = 0, 2
COSINE = [0.01 + 0.99 * share for share in (1, 0.75, 0.25)]  # of three steps
CASES: dict[str, Case] = {
    "style.name": Case("mine", lambda s: (s.path.name, document(s).style["name"]), ("mine.safetensors", "mine")),
    "style.cards": Case({"udnie": None}, names, ["udnie"] * 4),
    "style.image": Case("painting.png", lambda s: s.module.validation.style.facts.source, "painting.png",
                        also={"style.name": "mine", **SMALL}),
    "style.size": Case(384, lambda s: ([x.size for x in (*s.module.objective.styles, s.module.validation.style)],
                                       document(s).style["size"]), ([384, 384], 384)),
    "style.strength": Case(0.75, lambda s: ([(f["content"], f["gram"], f["checkerboard"]) for f in factors(s)],
                                            s.module.draw.strength, document(s).style["strength"]),
                           ([(0.25, 5, 1)] * 2, 0.75, 0.75)),
    "steps": Case(5, lambda s: (s.module.schedule.steps, s.module.step, document(s).training["steps"],
                                document(s).training["images"]), (5, 5, 5, 10), steps=True),
    "minutes": Case(7.0, lambda s: s.module.schedule.minutes, 7.0),
    "batch_size": Case(3, lambda s: (len(s.batch()), s.callbacks["Meter"].batch_size), (3, 3)),
    "crop": Case(36, lambda s: list(s.batch().shape[1:]), [36, 36, 3]),
    "lr": Case(4e-3, lambda s: rounded(s.rates), [2 * x for x in in_shares(COSINE)], steps=True),
    "optimizer": Case("adam", lambda s: (type(s.trainer.optimizers[0]), betas(s)), (torch.optim.Adam, {(0.9, 0.99)}),
                      steps=True),
    "schedule": Case("constant", lambda s: rounded(s.rates), [2e-3] * 3, steps=True),
    "betas": Case([0.5, 0.6], betas, {(0.5, 0.6)}, steps=True),
    "ema": Case(0.9, averaged, also={"lr": 0.1}, steps=True),
    "clip": Case(1e-2, lambda s: [norm < 1.01e-2 for norm in s.norms], [True] * 3, steps=True),
    "plateau": Case(0.07, lambda s: s.callbacks["Plateau"].least, 0.07),
    "seed": Case(1, drawn, (Blocks().sample(0, 1, 32)[0][0, 0].tolist(), 1, True)),
    "init": Case("start.safetensors", lambda s: (alike(s.module.network, load(Path("start.safetensors"))[0]),
                                                 s.module.draw.moving), (True, 0.0)),
    "adapt": Case("controls", moved, ({False}, 1.0), also={"init": "start.safetensors"}),
    "vary": Case(0.3, lambda s: s.module.draw.moving, 0.3),
    "teacher": Case("start.safetensors", lambda s: s.terms[0], {"teacher_image", "teacher_relu2_2"}, steps=True),
    "out": Case("new/there.safetensors", lambda s: s.path, Path("new/there.safetensors")),
    "overwrite": Case(True, lambda s: document(s).style["name"], "starry_night", also={"out": "taken.safetensors"}),
    "resume": Case("last.ckpt", lambda s: s.resumed_from, "last.ckpt"),
    "save_every": Case(2, lambda s: s.kept, [False, False, True], steps=True),
    "measure": Case(True, measured, (["starry_night"], True), steps=True),
    "trainer.accelerator": Case("mps", lambda s: s.arguments["accelerator"], "mps"),
    "trainer.devices": Case(2, lambda s: s.arguments["devices"], 2),
    "trainer.strategy": Case("ddp", lambda s: s.arguments["strategy"], "ddp"),
    "trainer.precision": Case("bf16-mixed", lambda s: (s.arguments["precision"], vggs(lambda v: v.compute_dtype)(s)),
                              ("bf16-mixed", [torch.bfloat16, torch.float32])),
    "trainer.workers": Case(1, lambda s: s.data.workers, 1),
    "trainer.compile": Case(True, lambda s: s.callbacks["WarmUp"].compiles),
    "logger.tensorboard.name": Case("mine", log_folders, ["run/mine"]),
    "logger.tensorboard.version": Case("one", log_folders, ["run/one"]),
    "logger.csv.name": Case("mine", log_folders, ["run/mine/version_0"]),
    "vgg.arch": Case("vgg16_torchvision", vggs(lambda v: v.arch), ["vgg16_torchvision"] * 2,
                     also={**OWN, "vgg.weights": "vgg.safetensors"}),
    "vgg.weights": Case("vgg.safetensors", vggs(first_bias), [0.5] * 2, also=OWN),
    "network[ResidualNetwork].channels": residual("channels", [4, 6, 10]),
    "network[ResidualNetwork].blocks": residual("blocks", 2),
    "network[ResidualNetwork].ends": residual("ends", 5),
    "network[ResidualNetwork].upsampling": residual("upsampling", "nearest"),
    "network[ResidualNetwork].adds_photo": residual("adds_photo", False, low_pass=0),
    "network[ResidualNetwork].low_pass": residual("low_pass", 8),
    "network[ResidualNetwork].controls": residual("controls", ["stroke"]),
    "network[RealtimeNetwork].channels": realtime("channels", [6, 8]),
    "network[RealtimeNetwork].blocks": realtime("blocks", 2),
    "network[RealtimeNetwork].adds_photo": realtime("adds_photo", False),
    "network[RealtimeNetwork].low_pass": realtime("low_pass", 16),
    "network[RealtimeNetwork].upsampling": realtime("upsampling", "nearest"),
    "network[RealtimeNetwork].controls": realtime("controls", ["strength"]),
    **{f"network[{kind.__name__}].{name}": other_network(kind, name, value) for kind, name, value in OTHERS},
    "data[Scenes].val": Case("blue", shown, [BLUE]),
    "data[Scenes].validation": Case(2, lambda s: len(shown(s)), 2),
    "data[Photos].root": Case("blue", lambda s: hue(s.batch()[0].permute(2, 0, 1)), BLUE),
    "data[Photos].val": Case("blue", shown, [BLUE]),
    "data[Photos].validation": Case(2, lambda s: len(shown(s)), 2),
    "data[Photos].cache": Case("decoded", lambda s: (len(s.batch()), any(Path("decoded").rglob("*"))), (2, True)),
    "data[Shards].urls": Case(["blue.tar"], lambda s: hue(s.batch()[0].permute(2, 0, 1)), BLUE),
    "data[Shards].val": Case("blue", shown, [BLUE]),
    "data[Shards].validation": Case(2, lambda s: len(shown(s)), 2),
    "data[Videos].root": Case("blue_clips", lambda s: hue(s.batch()[0].permute(2, 0, 1)), BLUE),
    "data[Videos].val": Case("blue", shown, [BLUE]),
    "data[Videos].validation": Case(2, lambda s: len(shown(s)), 2),
    "loss.content.layers": Case(["relu2_1"], term("content", "layers"), [("relu2_1",)] * 2),
    "loss.content.weight": Case(3.0, counted("content"), [3.0] * 2),
    "loss.gram.layers": Case(["relu1_1", "relu2_1"], term("gram", "layers"), [("relu1_1", "relu2_1")] * 2),
    "loss.gram.weight": Case(3.0, counted("gram"), [15.0] * 2),
    "loss.gram.centred": Case(True, term("gram", "centred"), [True] * 2),
    "loss.checkerboard.weight": Case(3.0, counted("checkerboard"), [3.0] * 2),
    "loss.shift_consistency.weight": Case(3.0, counted("shift_consistency"), [3.0] * 2),
    "loss.raw_content.layers": Case(["relu2_1"], term("raw_content", "layers"), [("relu2_1",)] * 2),
    "loss.raw_content.weight": Case(3.0, counted("raw_content"), [3.0] * 2),
    "loss.raw_gram.layers": Case(["relu2_1"], term("raw_gram", "layers"), [("relu2_1",)] * 2),
    "loss.raw_gram.weight": Case(3.0, counted("raw_gram"), [3.0] * 2),
    "loss.tv.weight": Case(3.0, counted("tv"), [3.0] * 2),
    "loss.wasserstein.layers": Case(["relu2_1"], term("wasserstein", "layers"), [("relu2_1",)] * 2),
    "loss.wasserstein.weight": Case(3.0, counted("wasserstein"), [15.0] * 2),
    "loss.wasserstein.directions": Case(9, term("wasserstein", "directions"), [9] * 2),
    "loss.wasserstein.places": Case(99, term("wasserstein", "places"), [99] * 2),
    "loss.histogram.layers": Case(["relu2_1"], term("histogram", "layers"), [("relu2_1",)] * 2),
    "loss.histogram.weight": Case(3.0, counted("histogram"), [15.0] * 2),
    "loss.histogram.places": Case(99, term("histogram", "places"), [99] * 2),
    "loss.nnfm.layers": Case(["relu2_1"], term("nnfm", "layers"), [("relu2_1",)] * 2),
    "loss.nnfm.weight": Case(3.0, counted("nnfm"), [15.0] * 2),
    "loss.nnfm.places": Case(99, term("nnfm", "places"), [99] * 2),
    "loss.moments.layers": Case(["relu2_1"], term("moments", "layers"), [("relu2_1",)] * 2),
    "loss.moments.weight": Case(3.0, counted("moments"), [15.0] * 2),
    "loss.contrast.weight": Case(3.0, counted("contrast"), [15.0] * 2),
    "loss.activation_peaks.weight": Case(3.0, counted("activation_peaks"), [3.0] * 2),
    "loss.temporal.weight": Case(3.0, counted("temporal"), [3.0] * 2),
    "loss.activation_peaks.limit": Case(9.0, term("activation_peaks", "limit"), [9.0] * 2),
    "loss.adversarial.weight": Case(3.0, counted("adversarial"), [15.0] * 2),
    "loss.adversarial.channels": Case(
        9, lambda s: s.module.term_steps.terms["adversarial"].state_dict()["scores.0.bias"].shape[0], 9),
    "loss.adversarial.lr": Case(3e-4, lambda s: s.trainer.optimizers[1].param_groups[0]["lr"], 3e-4, steps=True),
}  # fmt: skip


def base(key: str) -> dict[str, Any]:
    """What a key is changed in: three tiny steps, with what the key belongs to chosen."""
    config = shallow(steps=3, data=BLOCKS)
    if key.startswith("loss.") and key.split(".")[1] in PAINTING_TERMS:
        config = changed(config, OWN)
        config["loss"] |= composed(f"loss=[{','.join(PAINTING_TERMS)}]", "style.name=mine")["loss"]
        for other in PAINTING_TERMS:
            if "layers" in config["loss"][other]:
                config["loss"][other]["layers"] = ["relu1_2"]
    for name in ("activation_peaks", "temporal"):
        if key.startswith(f"loss.{name}."):
            config["loss"] |= composed(f"loss=[{name}]")["loss"]
    if key.startswith("network[RealtimeNetwork]"):
        config["network"] = {**composed("network=realtime")["network"], **REALTIME}
    if (kind := key.removeprefix("network[").partition("]")[0]) in KINDS:
        names = {
            "UNetwork": "unet", "DenseNetwork": "dense", "GroupedNetwork": "resnext", "MobileNetwork": "mobile",
            "RecurrentNetwork": "recurrent",
        }  # fmt: skip
        config["network"] = {**composed(f"network={names.get(kind, 'attention')}")["network"], **ARGS[KINDS[kind]]}
    if key.startswith("logger.csv"):
        config["logger"] = composed("logger=[csv]")["logger"]
    if key.startswith("data[Scenes]"):
        config["data"] = {**composed("data=scenes")["data"], "validation": 1}
    if key.startswith("data[Videos]"):
        config["data"] = {**composed("data=videos", "data.root=red_clips")["data"], "validation": 1}
    if key.startswith("data[Shards]"):
        config["data"] = {**composed("data=webdataset", "data.urls=red.tar")["data"], "validation": 1}
    if key.startswith("data[Photos]"):
        config["data"] = {**composed("data=photos", "data.root=red")["data"], "validation": 1, "cache": None}
    return config


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, painting: Path) -> Path:
    """A folder with what the cases name."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "painting.png").write_bytes(painting.read_bytes())
    torch.manual_seed(7)
    network = ResidualNetwork(**RESIDUAL, controls=["strength", "stroke"]).half().float()
    made = {"name": "ResidualNetwork", "args": {**RESIDUAL, "controls": ["strength", "stroke"]}}
    for name in ("start", "taken"):
        save(folder / f"{name}.safetensors", network, Metadata(made, {"name": name, "styles": [{"name": name}]}))
    seen = VGG(["relu2_2"], random=True)
    weights: dict[str, Tensor] = {}
    for number, convolution in zip((0, 2, 5, 7), seen.convolutions.values(), strict=True):
        weights |= {f"features.{number}.{name}": p.detach().contiguous() for name, p in convolution.named_parameters()}
    save_file(
        {name: t + 0.5 if name.endswith("bias") else t for name, t in weights.items()}, folder / "vgg.safetensors"
    )
    for name, channel in (("red", RED), ("blue", BLUE)):
        (folder / name).mkdir()
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 100, (80, 90, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
        with tarfile.open(folder / f"{name}.tar", "w") as shard:
            shard.add(folder / name, name)
        (folder / f"{name}_clips").mkdir()
        frames = [Image.open(path) for path in sorted((folder / name).iterdir())]
        frames[0].save(folder / f"{name}_clips" / "clip.gif", save_all=True, append_images=frames[1:])
    return folder


def entered(folder: Path, material: Path) -> Path:
    """A folder that has all of the material, as the working directory."""
    for item in material.iterdir():
        (shutil.copytree if item.is_dir() else shutil.copy)(item, folder / item.name)
    os.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def unchanged(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Seen | None, Path]]:
    """The run without the change, and the folder it is in; None where there can't be one. Each is made once."""
    made: dict[str, tuple[Seen | None, Path]] = {}

    def make(config: Mapping[str, Any], steps: bool) -> tuple[Seen | None, Path]:
        name = json.dumps([config, steps])
        if name not in made:
            folder = entered(tmp_path_factory.mktemp("unchanged"), material)
            try:
                made[name] = run(config, folder / "run", steps), folder
            except UserError:
                made[name] = None, folder
        return made[name]

    return make


def keys() -> set[str]:
    """All keys of configs/, those of a class under its name."""
    found: set[str] = set()

    def walk(node: Mapping[str, Any], prefix: str) -> None:
        for name, value in node.items():
            if isinstance(value, Mapping) and f"{prefix}{name}" != "style.cards":
                walk(value, f"{prefix}{name}.")
            elif name not in ("_target_", "defaults"):
                found.add(f"{prefix}{name}")

    def content(path: Path) -> dict[str, Any]:
        plain = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items() if key != "hydra"}

    walk(content(CONFIGS / "train.yaml"), "")
    for path in CONFIGS.glob("*/*.yaml"):
        node, group = content(path), path.parent.name
        several = "_target_" in node and group != "trainer"  # of which there is one class alone
        of_class = f"[{str(node['_target_']).rsplit('.', 1)[-1]}]" if several else ""
        if group != "experiment":
            walk({f"{group}{of_class}": node}, "")
    return found


def test_no_key_is_left_out() -> None:
    assert set(CASES) == keys()


@pytest.mark.parametrize("key", CASES)
def test_each_key_reaches_what_it_is_there_for(
    key: str,
    material: Path,
    unchanged: Callable[..., tuple[Seen | None, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # and so back, at the end
    case, without = CASES[key], changed(base(key), CASES[key].also)
    config = changed(without, {re.sub(r"\[.*?\]", "", key): case.value})
    entered(tmp_path, material)
    if key == "resume":  # its file is one that a run has written
        run(without, tmp_path / "before")
        (tmp_path / "before" / "last.ckpt").rename(tmp_path / "last.ckpt")
    assert case.look(run(config, tmp_path / "run", case.steps)) == case.expected
    plain, folder = unchanged(without, case.steps)
    os.chdir(folder)
    assert plain is None or case.look(plain) != case.expected, "this case tells nothing"


def test_null_turns_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = shallow(steps=1, data=BLOCKS)
    terms = {name: term for name, term in config["loss"].items() if name != "shift_consistency"}
    off = run({**config, "clip": None, "plateau": None, "loss": terms}, tmp_path / "off")
    assert off.norms[0] > 1.1
    assert "Plateau" not in off.callbacks
    assert off.terms == [set(terms)]


def test_held_out_photos_are_painted_and_judged_by_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = run(shallow("network.controls=[]", steps=3, data=BLOCKS), tmp_path / "run", steps=False).module
    photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weights in module.network.parameters():
            weights.add_(0.3)
        wanted = module.ema(photo).clamp(0, 1)
        losses = {name: float(loss) for name, loss in module.validation(wanted, photo).items()}
    found, ((painting,),) = judged(module, [photo])
    assert torch.allclose(painting, wanted, atol=1e-5)
    assert found == pytest.approx({**losses, "total": sum(losses.values())}, rel=1e-4)
    assert not torch.allclose(module.network(photo), wanted, atol=0.05)


class Torn(Blocks):
    """Skips three files for each picture, some of them again and again."""

    def sample(self, n: int, seed: int, crop: int) -> tuple[NDArray[np.uint8], list[str]]:
        return super().sample(n, seed, crop)[0], [f"{n}-a.jpg: torn", f"{n}-b.jpg: torn", "again.jpg: torn"]


def test_skipped_files_are_told_once_each_at_the_end_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="onestroke")
    run(shallow("loss=[tv]", steps=3, data={"_target_": f"{__name__}.Torn"}), tmp_path / "run")
    assert "13 files were skipped" in caplog.text
    told = [record.message.strip() for record in caplog.records if record.message.endswith("torn")]
    assert told[:4] == ["0-a.jpg: torn", "0-b.jpg: torn", "again.jpg: torn", "1-a.jpg: torn"]
    assert len(told) == len(set(told)) == 10
    assert "and 3 more" in caplog.text
