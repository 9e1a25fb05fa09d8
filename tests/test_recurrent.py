"""The network that sees its last painting: what the past changes, where it changes nothing, and who hands it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from onestroke import Stylizer
from onestroke.data.chains import LONGEST, Chains, Link
from onestroke.errors import UserError
from onestroke.losses.motions import Motions, inside, pixels_of, sampled
from onestroke.networks.assignment import Draw
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import load, save
from onestroke.training.pasts import Pasts, _blobs
from onestroke.training.warm_start import choose, warm_start
from tests.running import composed, run
from tests.test_resume import Kill, Killed, go_on, same, small
from tests.test_training import objective

ARGS: dict[str, Any] = {"channels": [4, 8], "blocks": 1}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(side: int, seed: int = 0) -> Tensor:
    return F.interpolate(noise(1, 3, 6, 6, seed=seed), (side, side), mode="bicubic").clamp(0, 1)


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
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith(network.added)})
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
    blocks = F.pad(F.pixel_unshuffle(picture[:, 3:], 2), [1] * 4, mode="reflect")
    late = features + F.conv2d(blocks, network.late_past.weight)
    last = network.mix_past(late)
    share = torch.sigmoid(4 * last[:, :1])
    mixed = (1 - share) * plain + share * past[:, :3] + last[:, 1:]
    expected = (1 - past[:, 3:]) * plain + past[:, 3:] * mixed
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


def test_it_starts_from_a_realtime_style_and_keeps_half_at_first(tmp_path: Path) -> None:
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
        expected = (painted + past[:, :3]) / 2
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


# --- chains and pasts ---------------------------------------------------------------------------------------


def test_chains_go_on_from_their_first_picture_and_begin_anew_after_24_frames_at_most() -> None:
    chains = Chains.of(batch_size=4, styles=3, seed=5)
    assert chains.slots == 36
    lengths: list[int] = []
    for slot in range(chains.slots):
        before: Link | None = None
        for n in range(slot, 36 * 100, 36):
            link = chains.link(n)
            if before is not None and link.age:
                assert (link.first, link.age) == (before.first, before.age + 1)
            else:
                lengths += [before.age + 1] if before is not None else []
                assert (link.first, link.age) == (n, 0)
            before = link
    assert 20 < max(lengths) <= LONGEST == 24 and min(lengths) == 1
    long = sum(length for length in lengths if length > 6) / sum(lengths)
    assert 0.12 < len(lengths) / sum(lengths) < 0.25 and long > 0.4
    assert any(Chains.of(4, 3, 6).link(n) != chains.link(n) for n in range(36 * 24)), "another seed"
    assert [Chains.of(batch, 1, 0).slots for batch in (1, 2, 24, 48)] == [32, 32, 48, 48]


def pool(side: int = 48) -> tuple[Pasts, Draw]:
    return Pasts(Chains(4, seed=1), side), Draw(Conditioning(), 1, 1, 0.5, 0, 0.5)


def in_chain(pasts: Pasts, age: int) -> int:
    """The number of a frame of this age."""
    return next(n for n in range(1000) if pasts.chains.link(n).age == age)


def test_a_frame_gets_the_last_painting_moved_and_is_compared_with_that_and_the_first_one() -> None:
    pasts, draw = pool()
    n = in_chain(pasts, 9)
    first, photo = pasts.chains.link(n).first, smooth(48)
    paintings = {age: smooth(48, seed=age) for age in range(9)}
    for age, painting in paintings.items():
        pasts.keep(painting, painting, [first + age * 4])
    frame, chosen = pasts.frames(photo, [n], draw)
    motions, pixels = Motions.draw([(1, first)]), pixels_of(photo)
    assert float((frame - sampled(photo, motions.places(pixels, torch.tensor([9.0])))).abs().mean()) < 0.05
    assert chosen.repeated is not None and not bool(chosen.repeated)
    for earlier, age in zip(chosen.before, (8, 0), strict=True):
        there = motions.before(pixels, torch.tensor([9.0]), torch.tensor([float(age)]))
        expected = sampled(paintings[age], there)
        assert float((earlier.painting - expected).abs().max()) < 0.008, "but for levels"
        assert 0.3 < float(earlier.known.mean()) <= float(inside(there).mean())
        assert float((earlier.known * (1 - inside(there))).max()) == 0
    given = chosen.past
    assert given is not None
    right = chosen.before[0].known
    error = ((given[:, :3] - chosen.before[0].painting).abs() * right).sum() / right.sum() / 3
    assert 0 < float(error) < 0.02, "a flow that is slightly wrong"
    assert bool((given[:, 3:] >= right).all()), "what is compared was given"


def test_nothing_is_known_in_first_frames_after_other_paintings_and_at_another_size() -> None:
    pasts, draw = pool()
    n, photo = in_chain(pasts, 3), smooth(48)
    first = pasts.chains.link(n).first

    def known(number: int, side: int = 48) -> list[float]:
        _, chosen = pasts.frames(smooth(side), [number], draw)
        assert chosen.past is not None
        return [float(each.max()) for each in (chosen.past[:, 3:], *(e.known for e in chosen.before))]

    assert known(n) == [0, 0, 0]
    pasts.keep(photo, photo, [n - 4])
    assert known(n) == [1, 1, 0], "the first one was not painted"
    pasts.keep(photo, photo, [first])
    assert known(n) == [0, 0, 1], "the last one is not of the frame before"
    pasts.keep(photo, photo, [n - 4])
    assert known(n) == [1, 1, 1]
    assert known(n, 40) == [0, 0, 0]
    assert known(first) == [0, 0, 0]
    seen, chosen = pasts.frames(photo, [first], draw)
    assert float((seen - photo).abs().mean()) < 0.05 and chosen.repeated is not None
    assert bool(chosen.repeated) == (first % 2 == 0)


def test_what_is_hidden_covers_the_share_that_is_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    found = {share: _blobs(share, 128, generator) for share in (0.0, 0.05, 0.15)}
    assert [float(each.mean()) for each in found.values()] == pytest.approx(list(found), abs=0.01)
    edges = (found[0.15][..., 1:] != found[0.15][..., :-1]).float().mean()
    assert float(edges) < 0.05, "in a few large pieces"


def test_frames_are_the_same_in_one_process_and_in_several() -> None:
    chains = Chains(4, seed=1)
    pasts, draw = Pasts(chains, 48), Draw(Conditioning(), 1, 1, 0.5, 0, 0.5)
    numbers = next([n, n + 1] for n in range(0, 400, 4) if chains.link(n).age and chains.link(n + 1).age)
    photos = torch.cat([smooth(48), smooth(48, seed=1)])
    pasts.keep(photos, photos, [n - 4 for n in numbers])
    together, chosen = pasts.frames(photos, numbers, draw)
    for i, n in enumerate(numbers):
        alone, own = pasts.frames(photos[i : i + 1], [n], draw)
        assert chosen.past is not None and own.past is not None
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-6)
        torch.testing.assert_close(own.past, chosen.past[i : i + 1], rtol=0, atol=1e-6)
        for one, other in zip(own.before, chosen.before, strict=True):
            torch.testing.assert_close(
                one.painting * one.known, (other.painting * other.known)[i : i + 1], rtol=0, atol=1e-6
            )


def recurrent_run(**more: Any) -> dict[str, Any]:
    config = small(**{"steps": 40, "save_every": 30, "batch_size": 2, **more})
    own = {**composed("network=recurrent")["network"], **ARGS}
    return {**config, "network": own, "loss": {**config["loss"], **composed("loss=[temporal]")["loss"]}}


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken_to_the_bit(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photo_folder)
    whole = run(recurrent_run(out="whole.safetensors"), tmp_path / "whole")
    assert whole.terms[-1] == {"content", "gram", "temporal"}
    with pytest.raises(Killed):
        run(recurrent_run(out="broken.safetensors"), tmp_path / "broken", more=[Kill(33)])
    path = go_on(tmp_path / "broken", "out=broken.safetensors")
    assert same(tmp_path / "whole", tmp_path / "broken")
    first, second = load_file(whole.path), load_file(path)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert float(first["enter_past.weight"].abs().max()) > 0, "it has learned from its pasts"
    pasts = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)["state_dict"]["pasts.numbers"]
    assert sorted(pasts[0].tolist()) == list(range(80 - 32, 80))


def test_a_resume_file_with_other_pasts_is_refused(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photo_folder)
    run(recurrent_run(steps=1), tmp_path / "run")
    path = tmp_path / "run" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    stored["state_dict"]["pasts.paintings"] = torch.zeros(2, 32, 3, 16, 16, dtype=torch.uint8)
    torch.save(stored, path)
    with pytest.raises(UserError, match=r"pasts\.paintings is torch\.uint8"):
        go_on(tmp_path / "run", "steps=3")


def test_auto_starts_from_the_realtime_style_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = {"name": "RecurrentNetwork", "args": {**ARGS, "low_pass": 0}}
    assert choose("auto", network, "mine") is None
    (tmp_path / "checkpoints").mkdir()
    path = saved(Path("checkpoints/mine_realtime.safetensors"), RealtimeNetwork(**ARGS))
    assert choose("auto", network, "mine") == path
    assert choose("auto", {**network, "args": {**ARGS, "blocks": 2}}, "mine") is None
    assert choose("auto", {**network, "name": "RealtimeNetwork"}, "mine") is None
    assert choose("other.safetensors", network, "mine") == Path("other.safetensors")


# --- frames -------------------------------------------------------------------------------------------------


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
