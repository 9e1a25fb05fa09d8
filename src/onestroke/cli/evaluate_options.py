"""The options of `onestroke evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from onestroke.cli.options import CommandOptions, option
from onestroke.errors import UserError, near
from onestroke.packages import require
from onestroke.video.steady import DEFAULT


@dataclass
class Options(CommandOptions):
    """The options of `onestroke evaluate`."""

    ckpt: list[str] = option("a style file; as often as you like", [], placeholder="FILE", path=True)
    outputs: list[str] = option(
        "finished pictures of any other tool, named as their photos (photo.jpg: photo.png, photo_anything.png)",
        [], placeholder="FOLDER", path=True,
    )  # fmt: skip
    against: list[str] = option(
        "finished pictures of another tool, named as for outputs: compares each style file with them at equal content "
        "error, over strengths and strokes, and measures nothing else; as often as you like",
        [], placeholder="FOLDER", path=True,
    )  # fmt: skip
    motion: str | None = option(
        "exact: measures how much paintings flicker, beside their style and content error, and nothing else, on clips "
        "made of the photos, in which it is known where each pixel was",
        None, placeholder="exact",
    )  # fmt: skip
    video: str | None = option(
        "a clip, in the same way, by an optical flow that painting doesn't use", None, placeholder="FILE", path=True
    )
    steady: str | None = option(
        f"with motion and video: how much strokes are kept, one or several; default: {DEFAULT:g}",
        None, placeholder="0,0.5",
    )  # fmt: skip
    frames: int = option("how many frames of video are painted, the first ones", 48, low=6, high=100_000)
    photos: str | None = option(
        "photos that no painter was trained on; default: held-out rendered scenes",
        None, placeholder="FOLDER", path=True,
    )  # fmt: skip
    style: str | None = option(
        "the style that is imitated: one that ships, or a picture; default: as the style file says",
        None, placeholder="NAME", path=True,
    )  # fmt: skip
    count: int | None = option(
        "how many photos, the first ones of the folder; default: 4, and with against all that have a picture",
        None, placeholder="4", low=1,
    )  # fmt: skip
    size: int = option(
        "shorter side in pixels at which photos are painted and measured; artefacts of finished pictures are "
        "measured at the pictures' full size",
        256, low=64, high=4096,
    )  # fmt: skip
    strength: float = option("the control of the objective, and of the painters that have one", 0.5, above=0, high=1)
    iterations: int = option("maximum of direct optimisation, which paintings are compared with; 0 leaves it out", 150)
    stability: bool = option(
        "measure stability too, on moving pictures and rendered fields (about a minute more)", True
    )
    explain: bool = option(
        "explain the first photo's painting: what each layer asks for, where each term pulls, what each control "
        "changes, which features the style uses most (about a minute more for each style)",
        False,
    )
    lpips: bool = option("LPIPS too, with the extra 'lpips' installed: downloads AlexNet (233 MB) once", False)
    out: str | None = option(
        "where report.json and report.html go; default: reports/<time>", None, placeholder="FOLDER", path=True
    )
    cache: str | None = option(
        "where the direct optimisations are stored for later runs", None, placeholder="FOLDER", path=True
    )
    keep: bool = option("write the mean numbers into the style files, too", False)
    device: str = option("auto, cpu, cuda or mps", "auto")

    @property
    def amounts(self) -> list[float]:
        """The amounts of `steady`.

        Raises:
            UserError: one is no number from 0 to 1.
        """
        if self.steady is None:
            return [DEFAULT]
        try:
            amounts = [float(part) for part in self.steady.split(",")]
        except ValueError:
            amounts = [-1.0]
        if not all(0 <= amount <= 1 for amount in amounts):
            raise UserError(f"steady={self.steady}: one or several numbers from 0 to 1, such as steady=0,0.5")
        return amounts

    @property
    def photo_count(self) -> int:
        """How many photos are painted and measured, except with `against`."""
        return 4 if self.count is None else self.count

    def check(self) -> None:
        """Raise a UserError for options that can't be combined."""
        if self.against:
            self._check_against()
        if self.motion or self.video:
            self._check_moving()
        elif self.steady is not None:
            raise UserError("steady belongs to motion=exact or video=clip.mp4")
        if not self.ckpt and not self.outputs:
            raise UserError("ckpt or outputs is needed: ckpt=checkpoints/starry_night.safetensors")
        if self.explain and not self.ckpt:
            raise UserError("explain needs ckpt=, a style file to explain: ckpt=checkpoints/udnie.safetensors")
        if self.lpips:
            require("torchvision", "lpips")  # for the weights of AlexNet
        if self.outputs and self.style is None:
            raise UserError("outputs needs style=, the style that its pictures imitate: style=starry_night")
        if self.outputs and self.photos is None:
            raise UserError("outputs needs photos=, the folder of the photos that its pictures were made from")

    def _check_moving(self) -> None:
        """Raise a UserError for options that don't belong to measuring clips, or are missing for it."""
        if self.motion not in (None, "exact"):
            raise UserError(f"motion={self.motion}: {near(self.motion, ['exact'])}")
        if self.motion and self.video:
            raise UserError("motion=exact measures clips of its own: leave out video")
        if not self.ckpt:
            raise UserError("motion and video need ckpt=, a style file: ckpt=checkpoints/udnie_realtime.safetensors")
        for name in ("outputs", "against", "lpips", "explain", "keep"):
            if getattr(self, name):
                raise UserError(f"motion and video measure flicker, style and content only: leave out {name}")
        _ = self.amounts
        require("cv2", "video")

    def _check_against(self) -> None:
        """Raise a UserError for options that don't belong to a comparison, or are missing for one."""
        if not self.ckpt:
            raise UserError("against needs ckpt=, the style file to compare: ckpt=checkpoints/udnie.safetensors")
        if self.photos is None:
            raise UserError("against needs photos=, the folder of the photos that its pictures were made from")
        unused = {
            "outputs": bool(self.outputs),
            "strength": self.strength != 0.5,
            "iterations": self.iterations not in (0, 150),
            "lpips": self.lpips,
            "explain": self.explain,
            "cache": self.cache is not None,
            "keep": self.keep,
        }
        for name, given in unused.items():
            if given:
                raise UserError(f"against compares over all strengths and measures nothing else: leave out {name}")
