"""The training step of one style (Johnson et al., 2016): photo in, painting out, judged by the objective."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from onestroke.data.datamodule import Batch, to_image
from onestroke.errors import UserError
from onestroke.losses.objective import Objective
from onestroke.losses.term import Again
from onestroke.networks.assignment import Assignment, Draw
from onestroke.networks.conditioning import conditioning_of
from onestroke.training.compiling import compile_parts
from onestroke.training.distillation import Teacher
from onestroke.training.muon import Muon, move_towards, split

log = logging.getLogger(__name__)

LOOKS_EVERY = 10  # steps between two looks at whether they were finite, on a device that runs ahead of the host
PATIENCE = 3  # steps without a finite gradient in a row before the weights are rolled back
TAUGHT = 0.4  # of the run is learned from the teacher, where there is one
ROLLBACKS = 3  # before giving up
RECOVERED = 100  # finite steps in a row after which rollbacks before them count no more


def learning_rate(progress: float, step: int, peak: float, warmup: int = 20) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to a hundredth of `peak` at progress 1."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * cosine)


def ema_decay(step: int, share: float | None) -> float:
    """Decay of the weights' moving average that spans about the last `share` of all steps so far; None: no average.

    A power function of the step (Karras et al., 2024), so that short and long runs need no other number.
    """
    return 1 - min(1.0, 1 / (share * (step + 1))) if share else 0.0


@dataclass(frozen=True)
class Recipe:
    """How the weights are moved.

    lr: the schedule's peak, of Adam; Muon's is ten times that. optimizer: `muon` or `adam`. schedule: `cosine` down to
    a hundredth of the peak, or `constant`. betas: of Adam; the second moment forgets within a hundred steps, as runs
    are short. ema: share of the steps over which the exported weights are averaged, None for the last weights. clip:
    norm of the gradient at most, None for any; single photos now and then give a hundred times the usual one.
    """

    lr: float = 2e-3
    optimizer: Literal["muon", "adam"] = "muon"
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.99)
    ema: float | None = 0.05
    clip: float | None = 1.0


class StyleTransfer(LightningModule):
    """A network, the moving average of its weights (which is what gets exported), and one step of training.

    Where the judge has several styles, each photo of a batch is painted in one of them, all in turn. Where the network
    has controls, they are at their defaults for some of the photos, and for the others all are set at random.

    Args:
        network: image in, image out.
        objective: judges the training's batches, in the training's precision. For a control of strokes it has each
            style at evenly spaced sizes, one after the other.
        judge: the same terms in fp32, for held-out pictures, with each style once.
        recipe: how the weights are moved.
        steps: how many at most.
        minutes: how long at most; the schedule ends with whichever comes first.
        strength: where the control of that name stands by default.
        seed: of the controls.
        teacher: what the network learns from in the first TAUGHT of the run.
        compiles: whether torch.compile makes code for the network and the VGG before the first step.
        moving: share of the photos that are painted with the controls set at random. With 0, what is learned at the
            defaults is taken over by the norms at all other anchors of the controls: a start whose controls work keeps
            them, and all photos are there for what is painted most. With 1, what is painted at the defaults stays.
        clock: seconds since some moment, never going back. All that a run does by time goes by this one: its budget of
            minutes, the pace it tells, and when held-out photos are looked at.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        judge: Objective,
        recipe: Recipe = Recipe(),
        steps: int = 2000,
        minutes: float | None = None,
        strength: float = 0.5,
        seed: int = 0,
        teacher: Teacher | None = None,
        compiles: bool = False,
        moving: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strength, self.seed = strength, seed
        self.conditioning = conditioning_of(network)
        self.network = network.to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(network).requires_grad_(False).eval()
        # out of the module's sight: frozen, large, and no part of a resume file
        self._frozen = (objective, judge)
        self._teacher = (teacher,)
        self.compiles = compiles
        self.moving = moving
        self.recipe, self.steps, self.minutes = recipe, steps, minutes
        self.config_json = "{}"  # what a resumed run is rebuilt from
        self.owner = ""  # by which a resumed run tells that a style file is its own; kept in resume files alone
        self.step = 0  # batches seen, those that were skipped among them
        self.elapsed = 0.0  # seconds of training, over all resumes
        # how much was done when the run was found to end early, and in how much more it does; shares of all
        self.ending: tuple[float, float] | None = None
        self.losses: dict[str, Tensor] = {}
        self.skipped_steps = 0
        self.looks_every = 1
        self._unseen: list[tuple[int, Tensor, dict[str, Tensor]]] = []
        self._bad = self._good = self._rollbacks = 0  # steps of either kind in a row, and what came of them
        self._lr_factor = 1.0
        self._snapshot: dict[str, Any] | None = None
        self.clock, self._seen = clock, 0.0

    @property
    def objective(self) -> Objective:
        """What the training's batches are judged by."""
        return self._frozen[0]

    @property
    def judge(self) -> Objective:
        """The same in fp32, for held-out pictures."""
        return self._frozen[1]

    @property
    def done(self) -> float:
        """How much of what was asked for is done, 0 to 1: by steps or by time, whichever is further."""
        by_time = self.elapsed / (60 * self.minutes) if self.minutes else 0.0
        return max(self.step / self.steps, by_time)

    @property
    def end(self) -> float:
        """How much of what was asked for will be done when the run ends: 1, or less where it ends early."""
        return 1.0 if self.ending is None else min(1.0, sum(self.ending))

    @property
    def progress(self) -> float:
        """Where the schedule is, 0 to 1: as much as is done, but that it runs faster where the run ends early."""
        if self.ending is None:
            return self.done
        since, _ = self.ending
        return since + (1 - since) * (self.done - since) / max(self.end - since, 1e-9)

    @property
    def taught(self) -> bool:
        """Whether the network learns from the painting itself: always where it has no teacher."""
        return self._teacher[0] is None or self.progress >= TAUGHT

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Muon or Adam, on what is to be trained."""
        lr, betas = self.recipe.lr, self.recipe.betas
        matrices, others = split(self.network)
        if self.recipe.optimizer == "muon":
            return Muon(matrices, others, lr, betas)
        return torch.optim.Adam([*matrices, *others], lr=lr, betas=betas, fused=True)

    def on_fit_start(self) -> None:
        # a CPU has nothing to wait for
        self.looks_every = 1 if self.device.type == "cpu" else LOOKS_EVERY
        for part in (*self._frozen, *self._teacher):
            if part is not None:
                part.to(self.device)

    def prepare(self, batch_size: int, crop: int, dtype: torch.dtype) -> float:
        """Make code for the step where that is wanted, and see how long one takes; nothing is learned.

        Returns:
            Seconds.
        """
        if self.compiles:
            parts = [self.network, self.objective.vgg]
            self.compiles = compile_parts(parts, lambda: self._rehearse(batch_size, crop, dtype))
        else:
            self._rehearse(batch_size, crop, dtype)  # the first one warms up
        return self._rehearse(batch_size, crop, dtype)

    def _rehearse(self, batch_size: int, crop: int, dtype: torch.dtype) -> float:
        photos = torch.rand(batch_size, 3, crop, crop, generator=torch.Generator().manual_seed(0))
        photos = photos.to(self.device, memory_format=torch.channels_last)
        started = self.clock()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            losses = self._judged(photos, self.draw.of(range(batch_size)))
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        took = self.clock() - started
        self.network.zero_grad(set_to_none=True)
        return took

    def on_train_start(self) -> None:
        self._seen = self.clock()
        self._snapshot = self._state()
        if self.progress >= 1:  # a finished run was resumed: there is nothing left but to export
            self.trainer.should_stop = True

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Paint, judge, and improve; a step without a finite gradient changes nothing."""
        optimizer: Any = self.optimizers()  # Lightning's wrapper, which counts the steps
        rate = self.recipe.lr * self._lr_factor
        if self.recipe.schedule == "cosine":
            rate = learning_rate(self.progress, self.step, rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        photos = to_image(batch["photos"])
        losses = self._judged(photos, self.draw.of(batch["numbers"]))
        optimizer.zero_grad()
        self.manual_backward(torch.stack(list(losses.values())).sum())
        if self.conditioning.controls and self.moving == 0:
            self.conditioning.tie(self.network)
        if self.conditioning.controls and self.moving == 1:
            self.conditioning.hold(self.network, self.strength)
        clip = math.inf if self.recipe.clip is None else self.recipe.clip
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip, foreach=True)
        self.losses = {name: loss.detach() for name, loss in losses.items()}
        broken = (~torch.isfinite(norm)).float()
        # the host doesn't wait for it: the device alone decides whether the step counts
        inner: Any = self.optimizers(use_pl_optimizer=False)
        inner.found_inf = broken
        optimizer.step()
        self._average(1 - broken)
        self._unseen.append((self.step, broken, self.losses))
        if len(self._unseen) >= self.looks_every:
            self.look()
        self.step += 1
        self._tick()
        if self.progress >= 1:
            self.look()
            self.trainer.should_stop = True

    def look(self) -> None:
        """See which of the latest steps were not finite, and act on it; only here does the host wait for the device."""
        unseen, self._unseen = self._unseen, []
        flags = torch.stack([broken for _, broken, _ in unseen]).tolist() if unseen else []
        for (step, _, losses), broken in zip(unseen, flags, strict=True):
            if not broken:
                self._bad = 0
                self._good += 1
                if self._good == RECOVERED:
                    self._rollbacks = 0
            elif self._skip(step, losses):
                return  # those after it were made from weights that are gone

    @torch.no_grad()
    def evaluate(self, photos: Sequence[Tensor]) -> tuple[dict[str, float], list[list[Tensor]]]:
        """Judge the averaged weights on held-out photos, one at a time in each style, in fp32.

        Args:
            photos: each (1, 3, H, W) in [0, 1], on the CPU.

        Returns:
            The mean of each weighted term and `total`, and for several styles also `total_<name>` of each; and for
            each photo its painting in each style, clamped to [0, 1], on the CPU.
        """
        found: dict[str, list[float]] = {}
        names = [str(style.name) for style in self.judge.styles]
        paintings: list[list[Tensor]] = [[] for _ in photos]
        with torch.autocast(self.device.type, enabled=False):
            for row, photo in zip(paintings, photos, strict=True):
                photo = photo.to(self.device, memory_format=torch.channels_last)
                for i, name in enumerate(names):
                    chosen = self.draw.defaults(torch.tensor([i]))
                    painting = self._paint(self.ema, photo, chosen).clamp(0, 1)
                    terms = {term: float(loss) for term, loss in self.judge(painting, photo, chosen.style).items()}
                    terms["total"] = sum(terms.values())
                    if len(names) > 1:
                        terms[f"total_{name}"] = terms["total"]
                    for term, value in terms.items():
                        found.setdefault(term, []).append(value)
                    row.append(painting.cpu())
        return {term: sum(values) / len(values) for term, values in found.items()}, paintings

    @property
    def draw(self) -> Draw:
        """Draws what each training picture is painted in."""
        styles = len(self.judge.styles)
        sizes = len(self.objective.styles) // styles
        return Draw(self.conditioning, styles, sizes, self.strength, self.seed, self.moving)

    def _judged(self, photos: Tensor, chosen: Assignment) -> dict[str, Tensor]:
        output = self._paint(self.network, photos, chosen).float()
        (teacher,) = self._teacher
        if teacher is not None and not self.taught:
            return teacher.judge(output, teacher.paint(photos, chosen))
        losses: dict[str, Tensor] = self.objective(
            output, photos, chosen.target, chosen.strength, self._again(photos, chosen)
        )
        return losses

    def _again(self, photos: Tensor, chosen: Assignment) -> Again:
        assert chosen.repeated is not None
        return Again(
            chosen.repeated,
            lambda pictures, some: self._paint(self.network, pictures, chosen.of(some)).float(),
        )

    def _paint(self, network: nn.Module, photos: Tensor, chosen: Assignment) -> Tensor:
        return cast(Tensor, network(photos, **chosen.arguments(len(self.judge.styles), photos.device)))

    def remember(self) -> bool:
        """Keep the present state to roll back to, if all of it is finite; whether it was."""
        if not all(torch.isfinite(p).all() for p in (*self.network.parameters(), *self.ema.parameters())):
            return False
        self._snapshot = self._state()
        return True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.look()
        checkpoint["onestroke"] = {
            "config": self.config_json,
            "owner": self.owner,
            "step": self.step,
            "elapsed": self.elapsed,
            "skipped_steps": self.skipped_steps,
            "good_steps": self._good,
            "rollbacks": self._rollbacks,
            "lr_factor": self._lr_factor,
            "moving": self.moving,
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        state = checkpoint["onestroke"]
        self.step, self.elapsed = state["step"], state["elapsed"]
        self.owner = state.get("owner", self.owner)
        # older runs said only whether it was 0, and the oldest not even that
        self.moving = state.get("moving", 0.0 if state.get("tied") else 0.5)
        self._good = state.get("good_steps", 0)  # older runs did not count them
        self.skipped_steps, self._rollbacks, self._lr_factor = (
            state["skipped_steps"],
            state["rollbacks"],
            state["lr_factor"],
        )

    @torch.no_grad()
    def _average(self, counts: Tensor) -> None:
        share = (1 - ema_decay(self.step, self.recipe.ema)) * counts
        move_towards(list(self.ema.parameters()), list(self.network.parameters()), share)

    def _tick(self) -> None:
        now = self.clock()
        self.elapsed += now - self._seen
        self._seen = now
        if self.minutes and self.trainer.world_size > 1:
            # the schedule follows the clock, and all processes must follow the same one
            elapsed = torch.tensor(self.elapsed, device=self.device)
            torch.distributed.broadcast(elapsed, 0)
            self.elapsed = float(elapsed)

    def _state(self) -> dict[str, Any]:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return copy.deepcopy({"module": self.state_dict(), "optimizer": optimizer.state_dict()})

    def _skip(self, step: int, losses: Mapping[str, Tensor]) -> bool:
        """Tell of a step that changed nothing; after several, go back to good weights and go slower; whether it did."""
        self.skipped_steps += 1
        self._bad += 1
        self._good = 0
        broken = [name for name, loss in losses.items() if not torch.isfinite(loss)]
        what = f"the term '{broken[0]}'" if broken else "the gradient"
        log.warning("step %d: %s is not finite; the step was skipped", step, what)
        if self._bad < PATIENCE:
            return False
        self._rollbacks += 1
        if self._rollbacks > ROLLBACKS or self._snapshot is None:
            wider = "" if self.trainer.precision == "32-true" else ", or trainer.precision=32-true"
            raise UserError(
                f"training stopped at step {step}: {what} stays not finite after {ROLLBACKS} fresh starts from "
                f"good weights; try a smaller lr{wider}"
            )
        self._bad = 0
        self._lr_factor *= 0.5
        state = copy.deepcopy(self._snapshot)
        self.load_state_dict(state["module"])
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.load_state_dict(state["optimizer"])
        log.warning("step %d: back to the last good weights, at half the learning rate", step)
        return True
