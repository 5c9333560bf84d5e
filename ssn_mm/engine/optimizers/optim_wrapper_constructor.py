"""Parameter groups for networks with SSN and SN layers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn

from ...layers import SwitchNorm, switch_norms


class SSNOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, or another, with the paper's rules for ratio logits.

    Ratio logits learn at a tenth of the rate that their layer has, without weight decay
    (Sec. 4.1), and their gradients are clipped on their own: ``clip_grad`` neither counts nor
    touches them. To the other constructor SSN and SN are norms, for ``norm_decay_mult`` and the
    bias rules too. Parameters with equal options are one group, which keeps the optimizer fast.

    Args:
        optim_wrapper_cfg: The optimizer wrapper, as mmengine's default constructor takes it.
        paramwise_cfg: Options of the other constructor (``custom_keys``, ``norm_decay_mult``, ...)
            and three of this one: ``base``, the name of the other constructor, such as
            'TSMOptimWrapperConstructor'; ``ratio_lr_mult`` (0.1), the learning rate of ratio
            logits relative to that of their layer; ``ratio_max_norm`` (1.0), the largest norm of
            all ratio logits' gradients together, None for no clipping.

    Raises:
        ValueError: One of the two numbers is not positive; or ``fc_lr5``, which TSM's constructor
            alone reads, is given to the default one.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        base = options.pop('base', 'DefaultOptimWrapperConstructor')
        self.ratio_lr_mult = options.pop('ratio_lr_mult', 0.1)
        self.ratio_max_norm = options.pop('ratio_max_norm', 1.0)
        if not self.ratio_lr_mult > 0:
            raise ValueError(f'ratio_lr_mult must be a number > 0, got {self.ratio_lr_mult}')
        if self.ratio_max_norm is not None and not self.ratio_max_norm > 0:
            raise ValueError(f'ratio_max_norm must be > 0 or None, got {self.ratio_max_norm}')
        if 'fc_lr5' in options and base == 'DefaultOptimWrapperConstructor':
            raise ValueError(
                f'paramwise_cfg has fc_lr5={options["fc_lr5"]}, which has no effect: add '
                "base='TSMOptimWrapperConstructor' to it"
            )
        self.is_plain = base == 'DefaultOptimWrapperConstructor' and not options
        # the default constructor looks at single parameters only where there are options
        options.setdefault('bypass_duplicate', False)
        super().__init__(optim_wrapper_cfg, options)
        self.base = OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(type=base, optim_wrapper_cfg=optim_wrapper_cfg, paramwise_cfg=options)
        )

    def add_params(self, params: list[dict], module: nn.Module, *args, **kwargs) -> None:
        layers = [layer for _, layer in switch_norms(module)]
        found: list[dict] = []
        if self.is_plain:  # mmengine without options takes all; frozen ones may learn later
            found.append(dict(params=list(module.parameters())))
        else:
            with _counted_as_group_norms(layers):
                self.base.add_params(found, module, *args, **kwargs)
        params.extend(_merge(self._ratios_apart(found, {id(m.ratio_logits) for m in layers})))

    def _ratios_apart(self, groups: list[dict], logits: set[int]) -> Iterator[dict]:
        for group in groups:
            given = group['params']
            ours = [p for p in given if id(p) in logits]
            others = [p for p in given if id(p) not in logits]
            if others:
                yield group | dict(params=others)
            if ours:
                lr = group.get('lr', self.base_lr) * self.ratio_lr_mult
                yield group | dict(params=ours, lr=lr, weight_decay=0.0)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        optim_wrapper = super().__call__(model)
        ratio_logits = [layer.ratio_logits for _, layer in switch_norms(model)]
        if ratio_logits and self.ratio_max_norm is not None:
            _clip_apart(optim_wrapper, ratio_logits, self.ratio_max_norm)
        return optim_wrapper


@contextmanager
def _counted_as_group_norms(layers: list[SwitchNorm]) -> Iterator[None]:
    """Lets every constructor take SSN and SN for a norm that it knows, with three parameters."""
    kinds = [type(layer) for layer in layers]
    for layer in layers:
        layer.__class__ = nn.GroupNorm  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, kind in zip(layers, kinds, strict=True):
            layer.__class__ = kind


def _merge(params: Iterable[dict]) -> list[dict]:
    """Joins groups that differ in nothing but their parameters, in order of appearance."""
    merged: dict[tuple, dict] = {}
    for group in params:
        options = tuple(sorted((k, repr(v)) for k, v in group.items() if k != 'params'))
        if options in merged:
            merged[options]['params'].extend(group['params'])
        else:
            merged[options] = group
    return list(merged.values())


def _clip_apart(optim_wrapper: OptimWrapper, logits: Sequence[Tensor], max_norm: float) -> None:
    """Clips the logits' gradients just before each step, where AMP has unscaled them."""

    def clip(optimizer: torch.optim.Optimizer, *args) -> None:
        scale = getattr(optimizer, 'grad_scale', None)  # a fused optimizer unscales by itself
        limit = max_norm if scale is None else max_norm * float(scale)
        torch.nn.utils.clip_grad_norm_(logits, limit)

    optim_wrapper.optimizer.register_step_pre_hook(clip)
    if optim_wrapper.clip_grad_kwargs:
        clip_grad, apart = optim_wrapper.clip_func, {id(z) for z in logits}

        def clip_others(params: list[Tensor], **kwargs):
            return clip_grad([p for p in params if id(p) not in apart], **kwargs)

        optim_wrapper.clip_func = clip_others
