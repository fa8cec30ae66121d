"""The building blocks of all networks: convolutions with weight norm, a channel norm, masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Module = TypeVar("Module", bound=nn.Module)

LEAKY_SLOPE = 0.1
"""Slope of every leaky ReLU but the generator's last (published models)."""


def normal(*shape: int, spread: float = 1.0) -> Tensor:
    """Draw from the normal of that spread; leave a tensor without memory as it is.

    There the draw would only load torch's compiler, 1 s of CPU at the start of every conversion.
    """
    made = torch.empty(*shape)
    return made if made.is_meta else made.normal_(0, spread)


def embedding(rows: int, width: int) -> nn.Embedding:
    """Make a table drawn from the unit normal, as torch's own."""
    return nn.Embedding(rows, width, _weight=normal(rows, width))


class Conv1d(nn.Conv1d):
    """A plain convolution over time that also takes [B, C, 1, N] when in channels-last form."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve [B, C, N] (or [B, C, 1, N] in channels-last form)."""
        return _convolve(self, input, self.weight)


class NormedConv1d(nn.Conv1d):
    """A convolution whose kernel is a direction `weight_v` times a length `weight_g` per channel.

    The names are those of the published files. Weight normalisation: Salimans & Kingma 2016.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _split_kernel(self)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve [B, C, N] (or [B, C, 1, N] in channels-last form)."""
        return _convolve(self, input, kernel_of(self))


class NormedConv2d(nn.Conv2d):
    """`NormedConv1d` for [B, C, rows, columns]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _split_kernel(self)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve [B, C, rows, columns]."""
        return self._conv_forward(input, kernel_of(self), self.bias)


class NormedUpsample(nn.ConvTranspose1d):
    """A transposed convolution with weight norm that multiplies the length by exactly `rate`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, rate: int) -> None:
        # (N - 1) * rate - 2 * padding + kernel + output_padding = N * rate; for the published even
        # differences this is the published padding (kernel - rate) / 2.
        padding, odd = -((rate - kernel) // 2), (kernel - rate) % 2
        super().__init__(in_channels, out_channels, kernel, rate, padding, odd)
        _split_kernel(self)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Upsample [B, C, N] to [B, C', N * rate] (or with a row axis in channels-last form)."""
        kernel, bias = kernel_of(self), self.bias
        rate, padding, extra = self.stride[0], int(self.padding[0]), self.output_padding[0]
        if input.dim() == 3:
            return F.conv_transpose1d(input, kernel, bias, rate, padding, extra)
        kernel = _with_row(kernel)
        return F.conv_transpose2d(input, kernel, bias, (1, rate), (0, padding), (0, extra))


def recompute(function: Callable[..., Any], *values: Any) -> Any:
    """Call a function that draws nothing; what it keeps for its gradient is computed again then."""
    return checkpoint(function, *values, use_reentrant=False, preserve_rng_state=False)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, T]; its parameters are published as gamma and beta."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each frame of [B, C, T] over its channels."""
        shape = (x.shape[1],)
        return F.layer_norm(x.transpose(1, 2), shape, self.gamma, self.beta, self.eps).transpose(
            1, 2
        )


def kernel_of(conv: nn.Module) -> Tensor:
    """Return the kernel of a weight-normed layer, computed or already folded."""
    parameters: Any = conv._parameters
    if "weight" in parameters:
        return parameters["weight"]
    return torch._weight_norm(parameters["weight_v"], parameters["weight_g"], 0)


def sequence_mask(lengths: Tensor, frames: int, dtype: torch.dtype) -> Tensor:
    """Return [B, 1, T]: 1 inside each item's length, 0 after it."""
    positions = torch.arange(frames, device=lengths.device)
    return (positions[None, :] < lengths[:, None]).to(dtype).unsqueeze(1)


def fold_weight_norm(model: Module) -> Module:
    """Replace each length and direction by their product, in place, for inference. Bit-identical.

    A folded model has no `weight_g`/`weight_v` any more: save before folding.
    """
    for layer in model.modules():
        if (
            isinstance(layer, (NormedConv1d, NormedConv2d, NormedUpsample))
            and "weight_v" in layer._parameters
        ):
            kernel = kernel_of(layer).detach()
            del layer.weight_g, layer.weight_v
            layer.register_parameter("weight", nn.Parameter(kernel, requires_grad=False))
    return model


def use_channels_last(model: Module) -> Module:
    """Turn every 1-d convolution of `model` into its (1, K) channels-last form, in place.

    Activations are then [B, C, 1, N] with channels innermost: on CPU 1.4 times as fast, and the
    form that tensor cores want in 16 bit. Inference only. Same numbers within 1e-6.
    """
    fold_weight_norm(model)
    for layer in model.modules():
        if isinstance(layer, (Conv1d, NormedConv1d, NormedUpsample)) and layer.weight.dim() == 3:
            kernel = (
                layer.weight.detach().unsqueeze(2).contiguous(memory_format=torch.channels_last)
            )
            layer.weight = nn.Parameter(kernel, requires_grad=False)
    return model


def _split_kernel(conv: nn.Module) -> None:
    weight, bias = conv._parameters.pop("weight"), conv._parameters.pop("bias")
    assert weight is not None
    conv.register_parameter("bias", bias)
    length = weight.new_empty(len(weight), *[1] * (weight.dim() - 1))
    if not weight.is_meta:
        length = torch.norm_except_dim(weight.detach(), 2, 0)
    conv.register_parameter("weight_g", nn.Parameter(length))
    conv.register_parameter("weight_v", nn.Parameter(weight.detach().clone()))


def _convolve(conv: nn.Conv1d, x: Tensor, kernel: Tensor) -> Tensor:
    if x.dim() == 3:
        return F.conv1d(x, kernel, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    stride, padding, dilation = (1, *conv.stride), (0, *conv.padding), (1, *conv.dilation)
    return F.conv2d(x, _with_row(kernel), conv.bias, stride, padding, dilation, conv.groups)


def _with_row(kernel: Tensor) -> Tensor:
    """Give a kernel [O, I, K] its row axis: kernels keep their shape while a model is trained."""
    return kernel if kernel.dim() == 4 else kernel.unsqueeze(2)
