"""The network that sees its last painting: what the past changes, where it changes nothing, and who hands it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke import Stylizer
from onestroke.errors import UserError
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import load, save
from onestroke.training.warm_start import warm_start
from tests.test_training import objective

ARGS: dict[str, Any] = {"channels": [4, 8], "blocks": 1}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def recurrent(**more: Any) -> RecurrentNetwork:
    """A network whose every weight counts."""
    torch.manual_seed(0)
    network = RecurrentNetwork(**{**ARGS, **more})
    for parameter in network.parameters():
        nn.init.normal_(parameter, float(parameter.detach().mean()), 0.1)
    return network.requires_grad_(False).eval()


def saved(path: Path, network: RealtimeNetwork, args: dict[str, Any] | None = None) -> Path:
    made = {"name": type(network).__name__, "args": args or ARGS}
    save(path, network, Metadata(made, {"name": "s", "styles": [{"name": "s"}]}), torch.float32)
    return path


def test_without_a_past_it_paints_as_a_realtime_network_of_its_weights() -> None:
    network, plain = recurrent(), RealtimeNetwork(**ARGS).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith(("enter_past", "keep"))})
    photo = noise(2, 3, 37, 50)
    with torch.no_grad():
        assert torch.equal(network(photo), plain(photo))
    hidden = torch.cat([noise(2, 3, 37, 50, seed=1), torch.zeros(2, 1, 37, 50)], dim=1)
    assert torch.equal(network(photo, past=hidden), network(photo)), "what is not known changes nothing"


def test_the_past_goes_into_the_first_convolution_and_into_each_pixel() -> None:
    """Against a plain computation from the weights."""
    network, photo, past = recurrent(), noise(1, 3, 32, 48), noise(1, 4, 32, 48, seed=1)
    picture = torch.cat([2 * photo - 1, (2 * past[:, :3] - 1) * past[:, 3:], past[:, 3:]], dim=1)
    weight = torch.cat([network.enter.weight, network.enter_past.weight], dim=1)
    x = F.conv2d(F.pad(picture, [4 // 2] * 4, mode="reflect"), weight, network.enter.bias, stride=4)
    features = network.decoder(network.middle(F.relu(network.enter_norm(x))))
    colour = network.colour
    assert colour is not None
    plain = 0.5 + network.paint(features) + colour(photo - 0.5)
    share = torch.sigmoid(network.keep(features)) * past[:, 3:]
    expected = (1 - share) * plain + share * past[:, :3]
    torch.testing.assert_close(network(photo, past=past), expected, rtol=0, atol=1e-5)
    assert float((network(photo, past=past) - network(photo)).abs().mean()) > 0.01


def test_a_size_that_needs_padding_sees_the_past_at_its_place() -> None:
    network, photo, past = recurrent(), noise(1, 3, 30, 45), noise(1, 4, 30, 45, seed=1)
    sides = [0, 3, 0, 2]
    padded = network(F.pad(photo, sides, mode="replicate"), past=F.pad(past, sides, mode="replicate"))
    torch.testing.assert_close(network(photo, past=past), padded[:, :, :30, :45], rtol=0, atol=1e-6)


@pytest.mark.parametrize("low_pass", [0, 8])
@pytest.mark.parametrize("strength", [0.0, 0.1, 0.7])
def test_fixed_controls_paint_the_same_with_a_past_and_strength_0_is_the_photo(strength: float, low_pass: int) -> None:
    network = recurrent(styles=2, controls=["strength"], low_pass=low_pass)
    photo, past, mix = noise(1, 3, 32, 32), noise(1, 4, 32, 32, seed=1), torch.tensor([[0.3, 0.7]])
    live = network(photo, mix, strength, past=past)
    settled = network.fixed(0.9)
    fixed = network.fixed(strength, into=settled)
    one = fixed.blended(mix[0], into=fixed.blended(torch.tensor([1.0, 0.0])))
    torch.testing.assert_close(one(photo, past=past), live, rtol=0, atol=2e-6)
    torch.testing.assert_close(fixed(photo, mix, past=past), live, rtol=0, atol=2e-6)
    assert (strength > 0) == (float((live - photo).abs().max()) > 1e-5)


def test_it_starts_from_a_realtime_style_and_keeps_an_eighth_at_first(tmp_path: Path) -> None:
    torch.manual_seed(3)
    plain = RealtimeNetwork(**ARGS)
    nn.init.normal_(plain.paint.convolution.weight, 0, 0.1)
    path = saved(tmp_path / "realtime.safetensors", plain)
    network, photo = RecurrentNetwork(**ARGS).eval(), noise(1, 3, 32, 32)
    warm_start(network, path, objective(), [photo])
    past = torch.cat([noise(1, 3, 32, 32, seed=1), torch.ones(1, 1, 32, 32)], dim=1)
    with torch.no_grad():
        painted = plain.eval()(photo)
        assert torch.equal(network(photo), painted)
        share = 1 / (1 + np.exp(2))
        expected = (1 - share) * painted + share * past[:, :3]
        torch.testing.assert_close(network(photo, past=past), expected, rtol=0, atol=1e-6)
    trained = recurrent()
    warm_start(network, saved(tmp_path / "recurrent.safetensors", trained), objective(), [photo])
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), trained.parameters(), strict=True))
    with pytest.raises(UserError, match="holds another network"):
        warm_start(RealtimeNetwork(**ARGS), tmp_path / "recurrent.safetensors", objective(), [photo])


def test_a_style_file_gives_it_back(tmp_path: Path) -> None:
    network, photo, past = recurrent(), noise(1, 3, 32, 32), noise(1, 4, 32, 32, seed=1)
    again, _ = load(saved(tmp_path / "s.safetensors", network))
    assert type(again) is RecurrentNetwork
    assert torch.equal(again(photo, past=past), network(photo, past=past))


def frame(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_frames_are_painted_with_what_is_known_of_the_past(tmp_path: Path) -> None:
    network = recurrent()
    frames = Stylizer(saved(tmp_path / "s.safetensors", network), device="cpu").frames(34, 45)
    picture, moved, known = frame(0, 34, 45, 3), frame(1, 34, 45, 3), np.float32(frame(2, 34, 45) / 255)
    assert frames.recurrent
    image, before = (torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (picture, moved))
    past = torch.cat([before, torch.from_numpy(known)[None, None]], dim=1)
    expected = (network(image, past=past).clamp(0, 1) * 255)[0].permute(1, 2, 0).numpy()
    assert float(np.abs(frames(picture, past=(moved, known)) - expected).max()) < 0.501
    assert np.array_equal(frames(picture, past=(moved, 0 * known)), frames(picture))
    assert not np.array_equal(frames(picture, past=(moved, known)), frames(picture))
    for wrong in ((moved[:-1], known), (moved, known[:-1]), (moved / np.float32(255), known), (moved, moved[..., 0])):
        with pytest.raises(UserError, match="the past of these frames is uint8"):
            frames(picture, past=wrong)


def test_a_past_changes_nothing_for_other_styles(tmp_path: Path) -> None:
    torch.manual_seed(0)
    frames = Stylizer(saved(tmp_path / "s.safetensors", RealtimeNetwork(**ARGS)), device="cpu").frames(32, 32)
    picture = frame(0, 32, 32, 3)
    assert not frames.recurrent
    past = (frame(1, 32, 32, 3), np.ones((32, 32), np.float32))
    assert np.array_equal(frames(picture, past=past), frames(picture))
