"""Gram matrices: the products of all pairs of channels, in bf16 at twice the rate where that is precise enough."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gram_matrix(features: Tensor, mixed: bool = False) -> Tensor:
    """`F F^T / (C H W)` in fp32, where fp16 would overflow: (N, C, H, W) -> (N, C, C) (Gatys et al., 2016).

    Args:
        features: in any dtype; the answer is in fp32, or in fp64 for fp64.
        mixed: bf16 may be multiplied as it is, at twice the rate and without a copy in fp32. The matrix of a picture
            of 256 x 256 is then within 0.0001 (relu1_2) to 0.0004 (relu3_3) of fp32's, relative to its norm. Nothing
            changes for features in fp32.
    """
    c, h, w = features.shape[1:]
    with torch.autocast(features.device.type, enabled=False):
        wide = features.dtype == torch.float16 or (features.dtype == torch.bfloat16 and not mixed)
        products: Tensor = _Products.apply(features.float() if wide else features)
        return products / (c * h * w)


class _Products(torch.autograd.Function):
    """`F F^T` of each picture, (N, C, H, W) -> (N, C, C), in fp32, or in fp64 for fp64; F is (C, H W).

    The gradient is one product, `(D + D^T) F`, where autograd would make two and add them up.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        rows = _rows(features)
        if rows.dtype != torch.bfloat16:
            return rows.transpose(1, 2) @ rows
        n, pixels, c = rows.shape
        part = _part(pixels)
        if part < c:  # as many sums as products, or too few of them: fp32 takes no longer
            rows = rows.float()
            return rows.transpose(1, 2) @ rows
        # a product in bf16 is summed up in fp32 but rounded to bf16 at its end, which the sum over parts evens out
        parts = rows.reshape(-1, part, c)
        return (parts.transpose(1, 2) @ parts).view(n, -1, c, c).sum(1, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        # no view, or autograd couldn't add the other gradients of these features to it in place
        result = torch.empty_like(features, memory_format=torch.channels_last)
        with torch.autocast(features.device.type, enabled=False):
            both = (gradient + gradient.transpose(1, 2)).to(features.dtype)
            torch.bmm(_rows(features), both, out=_rows(result))
        return result


def _rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H W, C), of channels_last a view and no copy."""
    n, c, h, w = features.shape
    return features.permute(0, 2, 3, 1).reshape(n, h * w, c)


def _part(pixels: int) -> int:
    """How many pixels a product in bf16 may take: 64 to 256 that leave no rest, in eight parts or more; 0: none."""
    return next((part for part in range(min(256, pixels // 8), 63, -1) if pixels % part == 0), 0)
