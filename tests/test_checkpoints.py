"""The style file: whole or not there, and whatever is in it, one sentence and no code."""

from __future__ import annotations

import errno
import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from onestroke import style_file, style_merge
from onestroke.cli import checkpoints
from onestroke.documents import KEY, checksum
from onestroke.errors import UserError
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import FORMAT, Metadata
from onestroke.style_file import load, read_document, save
from tests.test_controls import ARGS

DEFAULT = {"channels": [16, 32, 64]}
SMALL = {"channels": [4, 6, 8], "blocks": 1, "ends": 3}


def network(arguments: dict[str, Any], seed: int = 0) -> ResidualNetwork:
    """One that paints, as if it were trained."""
    torch.manual_seed(seed)
    built = ResidualNetwork(**arguments)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif name.startswith("paint"):
                parameter.mul_(50)
    return built


def metadata(arguments: dict[str, Any]) -> Metadata:
    return Metadata(
        {"name": "ResidualNetwork", "args": arguments},
        {"name": "waves", "facts": {"title": "Große Welle, “1”"}, "size": 256, "strength": 0.5},
        {"seed": 3, "steps": 10, "config": {"lr": 2e-3, "init": None}},
        {"content": 0.25},
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A whole style file of a small network."""
    path = tmp_path / "small.safetensors"
    save(path, network(SMALL), metadata(SMALL))
    return path


def refused(path: Path, pattern: str) -> str:
    """Assert that `path` is refused in one sentence that names it."""
    with pytest.raises(UserError, match=pattern) as raised:
        load(path)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def document(**changes: Any) -> dict[str, Any]:
    return {"version": FORMAT, **asdict(metadata(SMALL)), **changes}


def written(path: Path, tensors: dict[str, Tensor] | None = None, text: str | None = None, **changes: Any) -> Path:
    """A file as a foreign program may write it: by safetensors itself, with any document."""
    held = network(SMALL).half().state_dict() if tensors is None else tensors
    save_file(held, path, metadata={KEY: json.dumps(document(**changes)) if text is None else text})
    return path


# --- whole ----------------------------------------------------------------------------------------------


def test_paints_the_same_again_but_for_fp16(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "waves.safetensors"
    trained = network(DEFAULT).eval()
    save(path, trained, metadata(DEFAULT))
    loaded, read = load(path)
    assert read == metadata(DEFAULT)
    assert isinstance(loaded, ResidualNetwork)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.parameters())
    assert {p.device.type for p in loaded.parameters()} == {"cpu"}
    rounded = network(DEFAULT).half().float()
    image = torch.rand(1, 3, 40, 52)
    with torch.no_grad():
        exact, expected, found = trained(image), rounded(image), loaded(image)
    assert torch.equal(found, expected)
    assert float((exact - image).abs().mean()) > 0.05
    assert 0 < float((found - exact).abs().max()) < 2 / 255


def test_in_float32_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "waves.safetensors"
    trained = network(SMALL)
    save(path, trained, metadata(SMALL), torch.float32)
    loaded, _ = load(path)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_is_a_plain_safetensors_file_under_a_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "waves.safetensors"
    trained = network(DEFAULT)
    save(path, trained.to(memory_format=torch.channels_last), metadata(DEFAULT))
    assert path.stat().st_size < 2**20
    with safe_open(str(path), framework="np") as file:
        assert set(file.metadata()) == {"onestroke"}
        told = json.loads(file.metadata()["onestroke"])
        assert set(file.keys()) == set(trained.state_dict())
        for name, tensor in trained.state_dict().items():
            assert (file.get_tensor(name) == tensor.half().numpy()).all(), name
    assert told == {
        "version": 1,
        "network": {"name": "ResidualNetwork", "args": DEFAULT},
        "style": {"name": "waves", "facts": {"title": "Große Welle, “1”"}, "size": 256, "strength": 0.5},
        "training": {"seed": 3, "steps": 10, "config": {"lr": 2e-3, "init": None}},
        "metrics": {"content": 0.25},
        "checksum": checksum({name: tensor.half() for name, tensor in trained.state_dict().items()}),
    }


def test_a_file_by_safetensors_itself_is_as_good(tmp_path: Path) -> None:
    loaded, read = load(written(tmp_path / "foreign.safetensors"))
    assert read == metadata(SMALL)
    assert torch.equal(
        loaded.state_dict()["paint.convolution.bias"], network(SMALL).get_parameter("paint.convolution.bias").half()
    )


def test_the_document_alone_is_read_without_the_weights(small: Path, tmp_path: Path) -> None:
    assert read_document(small) == metadata(SMALL)
    # even where they are of no use
    assert read_document(written(tmp_path / "empty.safetensors", {"a": torch.zeros(1)})) == metadata(SMALL)


def test_show_prints_the_document(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checkpoints.show([str(small)]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == asdict(metadata(SMALL))
    assert "Große Welle" in out
    assert checkpoints.show([str(small.with_name("smal.safetensors"))]) == 2
    assert "did you mean 'small'?" in capsys.readouterr().err
    assert checkpoints.show([]) == 2
    assert capsys.readouterr().out.startswith("usage: ")


def test_show_of_a_document_that_would_fill_the_memory_when_indented_is_its_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep: Any = [0] * 1_000_000
    for _ in range(50):
        deep = [deep]
    path = written(tmp_path / "deep.safetensors", training={"config": deep})
    assert checkpoints.show([str(path)]) == 0
    said = capsys.readouterr().out
    assert "Große Welle" in said and len(said) < 250_000


def test_finite_keeps_what_json_can_hold() -> None:
    numbers = {"a": 1.5, "b": float("nan"), "c": float("inf"), "d": -0.0}
    assert style_file.finite(numbers) == {"a": 1.5, "d": -0.0}


# --- files that are none of ours ------------------------------------------------------------------------


def test_a_missing_file_is_told_with_names_that_are_near(small: Path, tmp_path: Path) -> None:
    assert "did you mean 'small'?" in refused(tmp_path / "smal.safetensors", "there is no style file")
    (tmp_path / "void").mkdir()
    assert "python train.py" in refused(tmp_path / "void" / "a.safetensors", "there is no style file")
    refused(tmp_path, "there is no style file")  # a folder


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 0.3, 0.9, -1])
def test_a_file_cut_short_is_told(keep: float, small: Path) -> None:
    whole = small.read_bytes()
    length = int(keep * len(whole)) if 0 < keep < 1 else int(keep)
    small.write_bytes(whole[:length])
    assert small.stat().st_size < len(whole)
    refused(small, "not a whole style file")


def test_a_file_with_something_behind_its_end_is_told(small: Path) -> None:
    small.write_bytes(small.read_bytes() + b"\0")
    refused(small, "not a whole style file")


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_are_told(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "random.safetensors"
    path.write_bytes(random.Random(seed).randbytes(2000))
    refused(path, "not a whole style file")


def test_a_damaged_header_gives_a_sentence_or_a_whole_network(small: Path) -> None:
    """Whatever bytes of the header are changed, nothing but a UserError comes out."""
    whole, chance = small.read_bytes(), random.Random(0)
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    outcomes = {"refused": 0, "loaded": 0}
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 10])):
            damaged[chance.randrange(header)] = chance.choice([chance.randrange(256), chance.randrange(97, 123)])
        small.write_bytes(damaged)
        try:
            loaded, _ = load(small)
            assert all(torch.isfinite(p).all() for p in loaded.parameters())
            outcomes["loaded"] += 1  # a letter of the title, for example
        except UserError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_by_another_name_is_refused_and_not_run(
    plant: Callable[..., Path], zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "evil.safetensors"
    marker = plant(path, zipped=zipped)
    refused(path, "not a whole style file")
    assert not marker.exists()


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(600 * 2**20)  # of holes
    refused(path, "has 600 MB, and one has at most 512")


@pytest.mark.parametrize("where", ["offsets", "length", "shape"])
def test_a_header_that_claims_ten_gigabytes_is_not_believed(where: str, tmp_path: Path) -> None:
    path = tmp_path / "claim.safetensors"
    size = 10 * 2**30
    tensor = {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}
    if where == "shape":
        tensor["data_offsets"] = [0, 16]
    header = json.dumps({"__metadata__": {KEY: json.dumps(document())}, "a": tensor}).encode()
    claimed = size if where == "length" else len(header)
    path.write_bytes(struct.pack("<Q", claimed) + header + bytes(16))
    refused(path, "not a whole style file")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "null",
        '"text"',
        "{}",
        "[" * 100_000,
        json.dumps({"version": FORMAT}),
        json.dumps(document(network={"name": "ResidualNetwork"})),
        json.dumps(document(network={"name": ["ResidualNetwork"], "args": SMALL})),
        json.dumps(document(network={"name": "ResidualNetwork", "args": [4, 6, 8]})),
        json.dumps(document(network="ResidualNetwork")),
        json.dumps(document(style=["waves"])),
        json.dumps(document(training=None)),
        json.dumps(document(metrics=1)),
    ],
)
def test_a_document_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    refused(written(tmp_path / "odd.safetensors", text=text), "not of a OneStroke style")


def test_weights_without_a_document_are_told(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, "holds weights, but not of a OneStroke style")


def test_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    refused(written(tmp_path / "new.safetensors", version=FORMAT + 1), f"format {FORMAT + 1}, .*update OneStroke")


# --- networks that are none of ours ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Linear", "os.system", "torch.nn.Linear", "Module", "Conv", "Residual", "residual", "__import__", ""],
)
def test_only_our_own_networks_are_built(name: str, tmp_path: Path) -> None:
    """And neither what torch has, nor the blocks of ours."""
    path = written(tmp_path / "a.safetensors", network={"name": name, "args": {}})
    refused(path, f"needs the network {name}, which this OneStroke doesn't have")


def test_every_network_of_ours_is_known_and_told_when_near(tmp_path: Path) -> None:
    assert style_file.network_classes() == {kind.__name__: kind for kind in ARGS}
    path = written(tmp_path / "a.safetensors", network={"name": "ResidualNetwrok", "args": SMALL})
    refused(path, r"did you mean 'ResidualNetwork'")


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": 10**9},
        {"blocks": -1},
        {"blocks": "1"},
        {"channels": [4, 6]},
        {"channels": 10**30},
        {"channels": [10**30, 6, 8]},
        {"channels": None},
        {"ends": 4},
        {"ends": {}},
        {"width": 2},
    ],
)
def test_arguments_that_make_no_network_are_told(changes: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", network={"name": "ResidualNetwork", "args": {**SMALL, **changes}})
    refused(path, "asks for a network ResidualNetwork that can't be built: ")


@pytest.mark.parametrize("blocks", [5, 128])
def test_a_network_larger_than_its_file_costs_no_memory(blocks: int, tmp_path: Path) -> None:
    """377 MB and 10 GB, had they been made."""
    arguments = {"channels": [1024, 1024, 1024], "blocks": blocks}
    path = written(tmp_path / "a.safetensors", network={"name": "ResidualNetwork", "args": arguments})
    made: list[int] = []

    class Watch(TorchDispatchMode):
        def __init__(self) -> None:
            TorchDispatchMode.__init__(self)  # which has no types

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.device.type != "meta":
                made.append(result.numel())
            return result

    with Watch():
        refused(path, "does not hold the weights of its network ResidualNetwork: .* should be ")
    assert sum(made) < 100_000


# --- weights that don't fit -----------------------------------------------------------------------------


def test_tensors_missing_extra_or_of_another_shape_are_told(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.safetensors", network(SMALL).half().state_dict()
    name = "paint.convolution.weight"
    missing = {k: t for k, t in whole.items() if k != name}
    refused(written(path, missing), rf"{name} is missing and should be \(3, 4, 3, 3\)")
    refused(written(path, {**whole, "extra": torch.ones(2)}), r"extra is \(2,\) and should be absent")
    turned = {**whole, name: whole[name].transpose(0, 1).contiguous()}
    refused(written(path, turned), rf"{name} is \(4, 3, 3, 3\) and should be \(3, 4, 3, 3\)")
    refused(written(path, {"a": torch.ones(2)}), "does not hold the weights of its network")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_told(value: float, tmp_path: Path) -> None:
    weights = network(SMALL).half().state_dict()
    weights["paint.convolution.bias"][1] = value
    refused(
        written(tmp_path / "a.safetensors", weights),
        "damaged: its weights paint.convolution.bias are not finite",
    )


# --- saving ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", ["nan", "overflow"])
def test_weights_that_are_no_numbers_are_not_saved(spoil: str, small: Path) -> None:
    before = small.read_bytes()
    broken = network(SMALL, seed=1)
    with torch.no_grad():
        broken.paint.convolution.weight[0, 0, 0, 0] = float("nan") if spoil == "nan" else 1e5  # fp16 ends at 65504
    with pytest.raises(UserError, match=r"was not written: the weights paint\.convolution\.weight are not finite"):
        save(small, broken, metadata(SMALL))
    assert small.read_bytes() == before
    assert list(small.parent.iterdir()) == [small]


def full_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_bytes(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def full_while_syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("trouble", [full_while_writing, full_while_syncing])
@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_leaves_what_was_there(
    trouble: Callable[[pytest.MonkeyPatch], None], before: bool, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small.read_bytes()
    target = small if before else small.with_name("new.safetensors")
    with monkeypatch.context() as patch:
        trouble(patch)
        with pytest.raises(UserError, match=r"cannot write .*free some space") as raised:
            save(target, network(SMALL, seed=1), metadata(SMALL))
    assert "\n" not in str(raised.value)
    assert list(small.parent.iterdir()) == [small]
    assert small.read_bytes() == whole
    load(small)


def test_a_kill_in_the_middle_leaves_what_was_there(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small.read_bytes()

    def interrupt(path: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(small, network(SMALL, seed=1), metadata(SMALL))
    assert list(small.parent.iterdir()) == [small]
    assert small.read_bytes() == whole


def test_saving_replaces_an_older_file_whole(small: Path) -> None:
    later = network(SMALL, seed=1)
    save(small, later, metadata(SMALL))
    assert torch.equal(load_file(str(small))["paint.convolution.weight"], later.paint.convolution.weight.half())
    assert list(small.parent.iterdir()) == [small]


def test_places_that_cannot_be_written_are_told(small: Path, tmp_path: Path) -> None:
    for path, pattern in [
        (tmp_path / "style.pth", r"ends in \.safetensors, unlike .*style\.pth"),
        (small / "below" / "a.safetensors", "can't make the folder .*below"),
    ]:
        with pytest.raises(UserError, match=pattern) as raised:
            save(path, network(SMALL), metadata(SMALL))
        assert "\n" not in str(raised.value)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        save(tmp_path / "folder.safetensors", network(SMALL), metadata(SMALL))


def test_weights_that_do_not_lie_in_one_piece_are_saved_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    built = network(SMALL)
    weight = built.paint.convolution.weight
    turned = nn.Parameter(weight.detach().transpose(2, 3))  # not contiguous
    built.paint.convolution.weight = turned
    save(path, built, metadata(SMALL), torch.float32)
    assert torch.equal(load(path)[0].state_dict()["paint.convolution.weight"], turned)


# --- damage to the weights ------------------------------------------------------------------------------


def flip(path: Path, bit: int) -> None:
    """Change one bit of the weights' bytes, counted from their start, or from their end where negative."""
    content = bytearray(path.read_bytes())
    first = 8 + struct.unpack("<Q", content[:8])[0]
    place = first + bit // 8 if bit >= 0 else len(content) + bit // 8
    content[place] ^= 1 << bit % 8
    path.write_bytes(content)


def holds(path: Path) -> bool:
    """Whether a file has a checksum, and that of its weights."""
    with safe_open(str(path), framework="pt") as file:
        written_one = json.loads(file.metadata()[KEY]).get("checksum")
    return bool(written_one == checksum(load_file(path)))


@pytest.mark.parametrize("bit", [0, 5, 1001, -1, -16])
def test_a_single_flipped_bit_in_the_weights_is_noticed(bit: int, small: Path) -> None:
    load(small)
    flip(small, bit)
    refused(small, "is damaged: its weights don't have the checksum that was stored|not finite")


def test_a_file_without_a_checksum_is_as_good(tmp_path: Path) -> None:
    path = written(tmp_path / "old.safetensors")
    assert not holds(path)
    before = load(path)[0].state_dict()
    style_file.annotate(path, {"content": 1.0})
    assert holds(path)  # from now on
    assert all(torch.equal(tensor, before[name]) for name, tensor in load(path)[0].state_dict().items())


def test_weights_under_the_checksum_of_others_are_noticed(tmp_path: Path) -> None:
    whole = network(SMALL).half().state_dict()
    other = {**whole, "paint.convolution.bias": whole["paint.convolution.bias"].flip(0)}
    refused(
        written(tmp_path / "a.safetensors", other, checksum=checksum(whole)), "don't have the checksum that was stored"
    )
    widened = {name: tensor.float() for name, tensor in whole.items()}
    refused(
        written(tmp_path / "b.safetensors", widened, checksum=checksum(whole)),
        "don't have the checksum that was stored",
    )
    load(written(tmp_path / "c.safetensors", whole, checksum=checksum(whole)))
    odd: list[Any] = [5, True, ["sha256:"], {}]
    for value in odd:
        refused(written(tmp_path / "d.safetensors", whole, checksum=value), r"missing or wrong \(checksum\)")
    refused(written(tmp_path / "e.safetensors", whole, checksum=""), "don't have the checksum that was stored")


def test_whatever_writes_a_style_file_writes_a_checksum_that_holds(small: Path, tmp_path: Path) -> None:
    assert holds(small)
    style_file.annotate(small, {"content": 2.0})
    assert holds(small)
    other = tmp_path / "other.safetensors"
    save(other, network(SMALL), Metadata({"name": "ResidualNetwork", "args": SMALL}, {"name": "second"}))
    style_merge.merge_files([small, other], tmp_path / "both.safetensors")
    assert holds(tmp_path / "both.safetensors")
    assert load(tmp_path / "both.safetensors")[1].styles == ["waves", "second"]
    # and nothing makes damage whole again
    flip(other, 40)
    for job in (
        lambda: style_file.annotate(other, {"content": 1.0}),
        lambda: style_merge.merge_files([small, other], tmp_path / "more.safetensors"),
    ):
        before = other.read_bytes()
        with pytest.raises(UserError, match=r"checksum that was stored|not finite"):
            job()
        assert other.read_bytes() == before and not (tmp_path / "more.safetensors").exists()
