"""The training step of a style (Johnson et al., 2016): photos in, paintings out, compared by the objective."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from onestroke.data.datamodule import Batch, reduced, to_image
from onestroke.losses.objective import Objective
from onestroke.losses.term import SecondPainting, Views
from onestroke.networks.assignment import Assignment, Draw
from onestroke.networks.conditioning import conditioning_of
from onestroke.training.averaging import average, ema_decay
from onestroke.training.distillation import Teacher
from onestroke.training.finite_guard import CHECKS_EVERY, FiniteGuard
from onestroke.training.muon import Muon, split
from onestroke.training.norm_peaks import norm_peaks
from onestroke.training.pasts import Pasts
from onestroke.training.recipe import Recipe
from onestroke.training.schedule import Schedule
from onestroke.training.term_steps import TermSteps, learners


class ValidationResult(TypedDict):
    """Losses and paintings of one held-out photo, in each style.

    terms: the weighted terms and `total`; with several styles, `total_<name>` too. paintings: each (1, 3, H, W) in
    [0, 1], on the CPU.
    """

    terms: list[dict[str, float]]
    paintings: list[Tensor]


class StyleTransfer(LightningModule):
    """A network, the moving average of its weights (which is what gets exported), and one step of training.

    Args:
        network: image in, image out.
        objective: what training pictures are compared by, in the training's precision. Its styles are
            `Draw.targets`: for a control of strokes, each style at several sizes.
        validation: the same terms in fp32, for held-out photos, with each style once; in evaluation mode.
        recipe: how the weights are moved.
        schedule: how long, and where the learning rate is.
        draw: which style, strength and stroke each training picture is painted in; None: as a run that starts from
            nothing draws them, with seed 0.
        teacher: a network whose paintings are learned from in the first part of the run.
        pasts: of a recurrent network, what it paints chains of frames with.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        validation: Objective,
        recipe: Recipe = Recipe(),
        schedule: Schedule | None = None,
        draw: Draw | None = None,
        teacher: Teacher | None = None,
        pasts: Pasts | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization, self.pasts = False, pasts
        self.network = network.to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(network).requires_grad_(False).eval()
        # in a tuple, so that they are no submodules: they are frozen, large, and not part of a resume file
        self._frozen = (objective, validation, teacher)
        self.peaks = norm_peaks(self.network, objective)
        self.term_steps = TermSteps(learners(objective))
        self.terms = nn.ModuleDict(self.term_steps.terms)  # for weights and resume file; usually none
        self.recipe, self.schedule, self.guard = recipe, schedule or Schedule(), FiniteGuard()
        styles = len(validation.styles)
        sizes = len(objective.styles) // styles
        self.draw = draw or Draw(conditioning_of(network), styles, sizes, strength=0.5, seed=0, moving=0.5)
        self.config_json = "{}"  # for the resume file, from which the run is rebuilt
        self.owner = ""  # a secret by which a resumed run recognizes its own style file; only in resume files
        self.losses: dict[str, Tensor] = {}  # of the latest step
        self.begun = False  # whether a resume file has been loaded completely
        # DDP would wait for gradients of the terms' parameters in the network's step
        self._ddp_params_and_buffers_to_ignore = [n for n in self.state_dict() if n.startswith(("terms.", "pasts."))]

    @property
    def objective(self) -> Objective:
        """What training pictures are compared by."""
        return self._frozen[0]

    @property
    def validation(self) -> Objective:
        """The same in fp32, for held-out photos."""
        return self._frozen[1]

    @property
    def teacher(self) -> Teacher | None:
        """The teacher, as long as the network learns from it; else None."""
        teacher = self._frozen[2]
        return teacher if teacher is not None and teacher.teaches(self.schedule.progress) else None

    @property
    def step(self) -> int:
        """Steps so far, those that were skipped among them."""
        return self.schedule.step

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon or Adam for the network's trainable parameters, then the optimizers of terms that own parameters."""
        recipe = self.recipe
        matrices, others = split(self.network)
        if recipe.optimizer == "muon":
            return [Muon(matrices, others, recipe.lr, recipe.betas), *self.term_steps.optimizers()]
        adam = torch.optim.Adam([*matrices, *others], lr=recipe.lr, betas=recipe.betas, fused=True)
        return [adam, *self.term_steps.optimizers()]

    def on_fit_start(self) -> None:
        self.guard.every = 1 if self.device.type == "cpu" else CHECKS_EVERY
        for part in self._frozen:
            if part is not None:
                part.to(self.device)

    def on_train_start(self) -> None:
        self.begun = True
        self.schedule.start()
        self.guard.remember(self)
        if self.schedule.finished:  # a finished run was resumed: it is only exported
            self.trainer.should_stop = True

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One update of the network; a step whose gradient is not finite is skipped."""
        main, *own = self.trainer.optimizers
        for group in main.param_groups:
            constant = self.recipe.schedule == "constant"
            group["lr"] = self.schedule.rate(self.recipe.lr * self.guard.lr_factor, constant)
        photos, chosen = self._photos(batch), self.draw.of(batch["numbers"])
        if self.pasts is not None and self.teacher is None:
            photos, chosen = self.pasts.frames(photos, batch["numbers"], self.draw)
        losses, views = self.compare(photos, chosen)
        if self.pasts is not None and views is not None:
            self.pasts.keep(views.output["image"], photos, batch["numbers"])
        main.zero_grad()
        self.manual_backward(torch.stack(list(losses.values())).sum())
        self.draw.restrict_gradients(self.network)
        clip = math.inf if self.recipe.clip is None else self.recipe.clip
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip, foreach=True)
        self.losses = {name: loss.detach() for name, loss in losses.items()}
        broken = (~torch.isfinite(norm)).float()
        # the optimizer skips the step on the device, so that the host need not wait for the result
        main.found_inf = broken  # type: ignore[attr-defined]
        stepping: Any = self.optimizers()  # Lightning's, which count the steps
        (stepping[0] if own else stepping).step()
        average(self.ema, self.network, ema_decay(self.step, self.recipe.ema), 1 - broken)
        if own and views is not None:
            self.losses |= self.term_steps.step(views, own, self.trainer.world_size)
        self.guard.note(self, self.step, broken, losses={name: self.losses[name] for name in losses})
        self.schedule.advance(self.device, self.trainer.world_size)
        if self.schedule.finished:
            self.guard.check(self)
            self.trainer.should_stop = True

    def compare(self, photos: Tensor, chosen: Assignment) -> tuple[dict[str, Tensor], Views | None]:
        """Paint a batch and compute its losses.

        Args:
            photos: (N, 3, H, W) in [0, 1].
            chosen: style and controls of each.

        Returns:
            The weighted terms, scalars whose sum is the loss; and the features they were computed from, None while the
            network learns from a teacher.
        """
        output = self._paint(self.network, photos, chosen).float()
        if (teacher := self.teacher) is not None:
            return teacher.losses(output, photos, chosen), None
        views = self.objective.views(output, photos, chosen.target, self._second_painting(chosen), self.step)
        views = replace(views, before=chosen.before, peaks=None if self.peaks is None else self.peaks.found())
        return self.objective.weighted(views, chosen.strength), views

    @torch.no_grad()
    def validation_step(self, photo: Tensor, batch_idx: int = 0) -> ValidationResult:
        """Paint a held-out photo with the averaged weights, in each style, and compare it, in fp32.

        Args:
            photo: (1, 3, H, W) in [0, 1].
            batch_idx: its number.
        """
        photo = photo.to(self.device, memory_format=torch.channels_last)
        found: ValidationResult = {"terms": [], "paintings": []}
        names = [str(style.name) for style in self.validation.styles]
        with torch.autocast(self.device.type, enabled=False):
            for i, name in enumerate(names):
                chosen = self.draw.defaults(torch.tensor([i]))
                painting = self._paint(self.ema, photo, chosen).clamp(0, 1)
                terms = {term: float(loss) for term, loss in self.validation(painting, photo, chosen.style).items()}
                terms["total"] = sum(terms.values())
                found["terms"].append(terms | ({f"total_{name}": terms["total"]} if len(names) > 1 else {}))
                found["paintings"].append(painting.cpu())
        return found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.guard.check(self)
        checkpoint["onestroke"] = {
            "config": self.config_json,
            "owner": self.owner,
            "step": self.schedule.step,
            "elapsed": self.schedule.elapsed,
            "moving": self.draw.moving,
            **self.guard.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        state = checkpoint["onestroke"]
        self.schedule.step, self.schedule.elapsed = state["step"], state["elapsed"]
        self.owner = state.get("owner", self.owner)
        # older runs said only whether it was 0, and the oldest not even that
        self.draw = replace(self.draw, moving=state.get("moving", 0.0 if state.get("tied") else 0.5))
        self.guard.load_state_dict(state)

    def _photos(self, batch: Batch) -> Tensor:
        """The pictures of a batch, at the size that is trained at now: (N, 3, H, W) in [0, 1]."""
        photos, crops = to_image(batch["photos"]), self.recipe.crops
        return reduced(photos, crops[self.schedule.stage(len(crops))]) if crops else photos

    def _second_painting(self, chosen: Assignment) -> SecondPainting:
        assert chosen.repeated is not None and chosen.moved is not None
        paint = lambda x, i: self._paint(self.network, x, chosen.of(i)).float()  # noqa: E731
        return SecondPainting(chosen.repeated, paint, chosen.moved)

    def _paint(self, network: nn.Module, photos: Tensor, chosen: Assignment) -> Tensor:
        return cast(Tensor, network(photos, **chosen.arguments(len(self.validation.styles), photos.device)))
