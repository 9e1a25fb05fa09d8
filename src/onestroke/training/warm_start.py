"""Initialize a training from another style file."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onestroke
from onestroke import style_file
from onestroke.errors import UserError, printable
from onestroke.losses.objective import Objective
from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import conditioning_of
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.table_rows import rows_from
from onestroke.networks.tables import tables_of
from onestroke.training.output import DEFAULT_FOLDER
from onestroke.training.settings import Settings

log = logging.getLogger(__name__)

AUTO = "auto"
GALLERY = "gallery.safetensors"


def choose(init: str | None, network: Mapping[str, Any], name: str = "") -> Path | None:
    """The style file to start from, None for nothing.

    Args:
        init: a path, None, or AUTO: for a recurrent network, the realtime style of this name; else the gallery that
            ships; where its network is the same but for the styles.
        network: this run's, as a style file names it.
        name: of the style.
    """
    if init != AUTO:
        return None if init is None else Path(init)
    package = Path(onestroke.__file__).parent
    folders = [package / "assets", package.parents[1] / "checkpoints"]  # in a wheel; beside src/
    wanted = GALLERY
    if network["name"] == RecurrentNetwork.__name__:
        folders, wanted = [DEFAULT_FOLDER, *folders], f"{name}_realtime.safetensors"
    for folder in folders:
        if (folder / wanted).is_file():
            theirs = style_file.read_document(folder / wanted).network
            return folder / wanted if _alike(theirs, network) else None
    return None


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two networks are the same but for styles and controls, what was left to its default included.

    The second may also be of a kind that is made from the first.
    """
    made, ours = (style_file.network_classes().get(network["name"]) for network in (one, other))
    if made is None or ours is None or not issubclass(ours, made):
        return False
    full = []
    for network in (one, other):
        bound = inspect.signature(made).bind(**network["args"])
        bound.apply_defaults()
        given = {name: v for name, v in bound.arguments.items() if name not in ("styles", "controls")}
        full.append({name: list(v) if isinstance(v, tuple) else v for name, v in given.items()})
    return bool(full[0] == full[1])


def warm_start(network: nn.Module, init: Path, validation: Objective, photos: Sequence[Tensor]) -> None:
    """Load the weights of a style file into a network.

    The norm parameters of each style come from the style of the same name in the file, or else from the style whose
    paintings have the smallest loss.

    Args:
        network: the network to be trained, with the styles of `validation` in the same order.
        init: a style file of the same network, with one style or several.
        validation: the objective, in evaluation mode.
        photos: to compute that loss on, each (1, 3, H, W) in [0, 1].

    Raises:
        UserError: where the file can't be read or holds another network.
    """
    other, metadata = style_file.load(init)
    known = metadata.styles
    added = network.added if isinstance(network, TransformNetwork) else ()
    state = {name: own for name, own in network.state_dict().items() if name.startswith(added)} | other.state_dict()
    if isinstance(network, TransformNetwork) and isinstance(other, TransformNetwork):
        rows = [
            _nearest(str(style.name), i, known, other, validation, photos) for i, style in enumerate(validation.styles)
        ]
        shares = rows_from(network.conditioning, other.conditioning, rows)
        names = {module: name for name, module in other.named_modules()}
        for layer in tables_of(other):
            tables = zip(layer.named_parameters(recurse=False), layer.mixed(shares), strict=True)
            state.update({f"{names[layer]}.{part}": mixed for (part, _), mixed in tables})
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"init={init} holds another network ({metadata.network['name']} {printable(metadata.network['args'])}) "
            "than this run's; choose the same with network=..., or leave init out"
        ) from error


def controls_come_along(network: nn.Module, init: Path) -> bool:
    """Whether a network has controls, and a style file has all of them."""
    theirs, mine = style_file.read_document(init).network["args"].get("controls", ()), conditioning_of(network).controls
    return bool(mine) and all(control in theirs for control in mine)


def moving_share(settings: Settings, network: nn.Module, init: Path | None) -> float:
    """The share of the training pictures whose controls are drawn at random."""
    if settings.adapt == "controls":
        return 1.0
    if not isinstance(settings.vary, str):
        return settings.vary
    return 0.0 if init is not None and controls_come_along(network, init) else 0.5


def _nearest(
    name: str, number: int, known: list[str], other: nn.Module, validation: Objective, photos: Sequence[Tensor]
) -> int:
    """Which of the file's styles this one starts from."""
    if len(known) < 2:
        return 0
    if name in known:
        return known.index(name)
    losses = [
        _loss(other, F.one_hot(torch.tensor([i]), len(known)), number, validation, photos) for i in range(len(known))
    ]
    best = losses.index(min(losses))
    log.info("%s starts from %s, the nearest of %d styles", name, known[best], len(known))
    return best


@torch.no_grad()
def _loss(other: nn.Module, mix: Tensor, number: int, validation: Objective, photos: Sequence[Tensor]) -> float:
    total = 0.0
    for photo in photos:
        painting = other(photo, mix.float()).clamp(0, 1)
        total += sum(float(loss) for loss in validation(painting, photo, torch.tensor([number])).values())
    return total


def adapt_norms_only(network: nn.Module, adapt: str) -> None:
    """Train only the norms and the colour transform, and freeze everything else (Dumoulin et al., 2017).

    Args:
        network: what is to be trained.
        adapt: `norms`, or `controls`, which also keeps the paintings at the controls' defaults.

    Raises:
        UserError: for a network that has none, or no controls.
    """
    if adapt == "controls" and not conditioning_of(network).controls:
        raise UserError(
            "adapt=controls: this network has no controls; choose them with network.controls=[strength,stroke]"
        )
    network.requires_grad_(False)
    norms = [layer.requires_grad_(True) for layer in tables_of(network)]
    if not norms:
        raise UserError(f"adapt={adapt}: this network has no instance norms of OneStroke's; take adapt=all")
