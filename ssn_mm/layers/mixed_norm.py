"""The layer that a frozen SSN becomes where mean and variance selected different normalizers."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..ops.dispatch import get_backend, mixed_norm_kernel
from ..ops.moments import Moments, group_moments, layer_moments
from ..ops.normalizers import NORMALIZERS, check_groups, has_area, no_case, without_elements
from ..ops.tracing import is_traced, is_transformed
from .eps import EpsOfLayer
from .relu import rectified
from .state import PAIR_CODES, encode_pair, pair_mismatch
from .symbolic import as_one_call, is_symbolic, refuse_script

_BLOCK = 8 * 2**20  # bytes of samples that stay in a CPU's cache from pass to pass


class LastMap:
    """What the last map told of the next one like it; copies and pickles start without.

    Attributes:
        known: Shape, type and backend of the last map that a kernel took, and this kernel.
    """

    known: tuple[torch.Size, torch.dtype, str, Callable[..., Tensor]] | None = None

    def __reduce__(self) -> tuple[type['LastMap'], tuple[()]]:
        return LastMap, ()


class MixedNorm(nn.Module):
    """Eq. 1 with one normalizer for the mean and another for the variance, for inference.

    Only what these two need is measured; BN's statistics are constants.

    Args:
        num_features: C of the (N, C, *spatial) input.
        mean: Normalizer of the mean, one of 'IN', 'LN', 'BN', 'GN', 'FBN'; or several, which are
            averaged, as an SSN does where the one that it selected has one element per statistic.
            FBN is BN, which it equals in evaluation.
        var: Normalizer of the variance, or several, as for the mean.
        eps: ε, added to the variance.
        num_groups: GN's number of groups of channels; divides ``num_features``.
        inplace: Whether the input may be overwritten, which needs no fresh memory: ``fold`` sets
            it where nothing else reads the input. Ignored where gradients are recorded.
        correction: 1 for an unbiased variance of IN, from which LN's and GN's derive; else 0.
        device: Device of parameters and buffers.
        dtype: Type of parameters and running statistics.

    Attributes:
        selected_codes: Integer buffer (3, 5) that says what a state is for: how often the mean has
            each of IN, LN, BN, GN, FBN, and the variance, and GN's number of groups. A state may
            lack it; one of another pair is an error.
        relu_follows: Whether a ``ReLUOnce`` alone reads the output, so that a compiled kernel
            may rectify it in the same pass; ``fold`` sets it.

    Raises:
        ValueError: A name is unknown, or the groups do not divide the channels.
    """

    running_mean: Tensor
    running_var: Tensor
    selected_codes: Tensor
    _eps: float

    eps = EpsOfLayer()  # added to the variance
    relu_follows = False
    _abbr_ = 'bn'  # the name that OpenMMLab's networks, and so BN checkpoints, give the layer

    def __init__(
        self,
        num_features: int,
        mean: str | Sequence[str],
        var: str | Sequence[str],
        eps: float = 1e-5,
        num_groups: int = 32,
        inplace: bool = False,
        correction: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.mean, self.var = in_evaluation(mean), in_evaluation(var)
        for names in (self.mean, self.var):
            if not names or not set(names) <= set(NORMALIZERS):
                raise ValueError(f'unknown normalizer in {names}; choose from {NORMALIZERS}')
        if 'GN' in (*self.mean, *self.var):
            check_groups(num_features, num_groups)
        self.num_features, self.eps = num_features, eps
        self.num_groups, self.inplace = num_groups, inplace
        self._last = LastMap()
        self.correction = correction
        like: dict[str, Any] = dict(device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty(num_features, **like))
        self.bias = nn.Parameter(torch.empty(num_features, **like))
        self.register_buffer('running_mean', torch.empty(num_features, **like))
        self.register_buffer('running_var', torch.empty(num_features, **like))
        self.register_buffer(PAIR_CODES, self._codes(device))
        self.reset_parameters()

    def _codes(self, device: torch.device | str | int | None = None) -> Tensor:
        return encode_pair(self.mean, self.var, self.num_groups, device)

    def reset_running_stats(self) -> None:
        """Sets BN's running statistics to 0 and 1, as ``nn.BatchNorm2d`` does."""
        self.running_mean.zero_()
        self.running_var.fill_(1)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Sets parameters and buffers to what a new layer has; needed after ``to_empty``."""
        self.reset_running_stats()
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.selected_codes.copy_(self._codes())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault('_last', LastMap())
        if PAIR_CODES not in self._buffers:  # pickled as a whole before there were any
            self.register_buffer(PAIR_CODES, self._codes(self.weight.device))

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        state, key = dict(state_dict), f'{prefix}{PAIR_CODES}'
        like = next((t for k, t in state.items() if k.startswith(prefix)), self.running_mean)
        own = self._codes(like.device)
        if key in state and (refusal := pair_mismatch(state[key], own)):
            error_msgs.append(f'{prefix}weight and others are for {refusal}')
        state[key] = own
        rest = (metadata, strict, missing_keys, unexpected_keys, error_msgs)
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` (N, C, *spatial).

        Raises:
            ValueError: IN would measure maps of one element, which ``nn.InstanceNorm2d`` refuses,
                too; or the channels are not ``num_features``.
            TypeError: ``x`` is no floating-point tensor.
        """
        kernel = self._look(x) if is_traced(x) else self._repeat(x) or self._look(x)
        if kernel is None:
            return self._run_operators(x)
        has = self.__dict__  # attributes would take as long as the kernel on a small map
        params, buffers, relu = has['_parameters'], has['_buffers'], self.relu_follows
        channels = (
            *(params['weight'], params['bias']),
            *(buffers['running_mean'], buffers['running_var']),
        )
        options = (has['_eps'], has['num_groups'], has['correction'])
        y = kernel(x, channels, has['mean'], has['var'], options, relu, has['inplace'])
        return rectified(y) if relu else y

    def _repeat(self, x: Tensor) -> Callable[..., Tensor] | None:
        """The kernel for a map like the one before; None where that one does not tell."""
        known = self._last.known
        if known is None:
            return None
        shape, dtype, backend, kernel = known
        if x.shape != shape or x.dtype != dtype or not x.is_cpu or get_backend() != backend:
            return None
        return None if torch.is_grad_enabled() and self._is_recorded(x) else kernel

    def _look(self, x: Tensor) -> Callable[..., Tensor] | None:
        """The kernel for a map, after a look at all that it may be; None for operators."""
        if is_symbolic(x):
            return None
        if x.dim() < 2 or x.size(1) != self.num_features:
            raise ValueError(f'expected (N, {self.num_features}, *spatial), got {tuple(x.shape)}')
        if not x.is_floating_point():
            raise TypeError(f'the input must be a floating-point tensor, got {x.dtype}')
        if torch.compiler.is_compiling() or not x.numel():
            return None
        if not has_area(x) and 'IN' in self.mean + self.var:
            raise ValueError(f'IN has one element per statistic in {tuple(x.shape)}')
        kernel = None if self._is_recorded(x) else mixed_norm_kernel(x)
        self._last.known = None if kernel is None else (x.shape, x.dtype, get_backend(), kernel)
        return kernel

    def _is_recorded(self, x: Tensor) -> bool:
        """Whether gradients are recorded, or a transform of ``torch.func`` is at work.

        Its tensors cannot be overwritten with others.
        """
        return is_transformed() or (
            torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        )

    def _run_operators(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` by PyTorch's operators."""
        if is_symbolic(x):
            return as_one_call(self, x)
        compiling = torch.compiler.is_compiling()
        if not compiling and not x.numel():
            return without_elements(x, self.weight, self.bias)
        recorded = self._is_recorded(x)
        y = x.to(torch.promote_types(x.dtype, torch.float32))
        if recorded or not (self.inplace or y is not x):
            return self._normalize(y, False, recorded).to(x.dtype)
        if not compiling and x.is_cpu and y.nbytes > 2 * _BLOCK:
            for samples in y.split(max(1, _BLOCK // y[0].nbytes)):
                self._normalize(samples, True)
        else:
            y = self._normalize(y, True)
        return y.to(x.dtype)

    def _normalize(self, x: Tensor, free: bool, recorded: bool = False) -> Tensor:
        """Normalizes ``x`` (N, C, *spatial), float32 or wider.

        Args:
            x: The map.
            free: Whether it may be overwritten.
            recorded: Whether gradients are recorded, so that nothing may be overwritten.
        """
        spatial = tuple(range(2, x.dim()))
        measured = x.mean(spatial) if spatial else x.clone()
        if self.var == ('BN',):
            scale = self.weight * torch.rsqrt(self.running_var + self._eps)[None]
            shift = (
                self.bias - self._mix(self.mean, (measured, torch.zeros_like(measured)))[0] * scale
            )
        else:
            x = x.sub_(_on_map(measured, x)) if free else x - _on_map(measured, x)
            free = not recorded
            own = (measured, self._mean_square(x, spatial))
            scale = self.weight * torch.rsqrt(self._mix(self.var, own)[1] + self._eps)
            shift = self.bias + (measured - self._mix(self.mean, own)[0]) * scale
        scale, shift = _on_map(scale, x), _on_map(shift, x)
        return x.mul_(scale).add_(shift) if free else torch.addcmul(shift, x, scale)

    def _mean_square(self, x: Tensor, spatial: tuple[int, ...]) -> Tensor:
        """The variances (N, C) of a map whose means are 0, by torch's fastest kernel for it."""
        if not spatial:
            return x.square()
        area = x.numel() // (x.size(0) * x.size(1))
        square = torch.linalg.vector_norm(x, dim=spatial).square()
        return square / max(area - self.correction, 1)

    def _mix(self, names: tuple[str, ...], own: Moments) -> Moments:
        """Averages the moments of normalizers, (N or 1, C or 1), from instance moments (N, C)."""
        if len(names) == 1:
            return self._moments(names[0], own)
        means, variances = zip(*(self._moments(name, own) for name in names), strict=True)
        return sum(means[1:], means[0]) / len(names), sum(variances[1:], variances[0]) / len(names)

    def _moments(self, name: str, own: Moments) -> Moments:
        if name == 'BN':
            return self.running_mean[None], self.running_var[None]
        if name == 'LN':
            return layer_moments(*own)
        if name == 'GN':
            return group_moments(*own, self.num_groups)
        if name != 'IN':
            raise no_case(name, 'MixedNorm')
        return own

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_script(self)

    def extra_repr(self) -> str:
        mean, var = ('+'.join(names) for names in (self.mean, self.var))
        others = ', inplace=True' if self.inplace else ''
        others += f', correction={self.correction}' if self.correction else ''
        return f'{self.weight.numel()}, mean={mean}, var={var}, eps={self._eps}{others}'


def in_evaluation(names: str | Sequence[str]) -> tuple[str, ...]:
    """Averaged normalizers by what they are in evaluation, where FBN is BN."""
    names = (names,) if isinstance(names, str) else names
    same = tuple('BN' if name == 'FBN' else name for name in names)
    return same[:1] if len(set(same)) == 1 else same


def _on_map(t: Tensor, x: Tensor) -> Tensor:
    return t.view(*t.shape, *(1 for _ in x.shape[2:]))
