"""Parameter groups for networks with SSN and SN layers."""

from collections.abc import Sequence

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn

from ..layers import SwitchNorm


class SSNOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, with the paper's rules for ratio logits (Sec. 4.1).

    Ratio logits learn at a tenth of the rate that their layer has, without weight decay, and
    their gradients are clipped on their own: ``clip_grad`` neither counts nor touches them. SSN
    and SN count as norms for ``norm_decay_mult`` and the bias rules. Parameters with equal
    options share a group, which keeps the optimizer fast.

    Args:
        optim_wrapper_cfg: As for the default constructor.
        paramwise_cfg: As for the default constructor (``custom_keys``, ``norm_decay_mult``, ...),
            and ``ratio_lr_mult`` (0.1), multiplied with what ``custom_keys`` say of the layer;
            ``ratio_max_norm`` (1.0), the largest norm of all ratio logits' gradients together,
            None for no clipping.

    Raises:
        ValueError: One of the two options is not a positive number.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        self.ratio_lr_mult = options.pop('ratio_lr_mult', 0.1)
        self.ratio_max_norm = options.pop('ratio_max_norm', 1.0)
        if not self.ratio_lr_mult > 0:
            raise ValueError(f'ratio_lr_mult must be a number > 0, got {self.ratio_lr_mult}')
        if self.ratio_max_norm is not None and not self.ratio_max_norm > 0:
            raise ValueError(f'ratio_max_norm must be > 0 or None, got {self.ratio_max_norm}')
        # the default constructor looks at single parameters only where there are options
        options.setdefault('bypass_duplicate', False)
        super().__init__(optim_wrapper_cfg, options)

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module=None
    ) -> None:
        if isinstance(module, SwitchNorm):
            self._add_switch_norm(params, module, prefix)
        else:
            super().add_params(params, module, prefix, is_dcn_module)
        if not prefix:  # the recursion has come back to the model
            params[:] = _merge(params)

    def _add_switch_norm(self, params: list[dict], module: SwitchNorm, prefix: str) -> None:
        norm = nn.GroupNorm(1, 1, affine=False)  # a type whose rules the default constructor has
        for name, param in module.named_parameters(recurse=False):
            norm.register_parameter(name, param)
        added: list[dict] = []
        super().add_params(added, norm, prefix)
        for group in added:
            if group['params'][0] is module.ratio_logits:
                group['lr'] = group.get('lr', self.base_lr) * self.ratio_lr_mult
                group['weight_decay'] = 0.0
        params.extend(added)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        optim_wrapper = super().__call__(model)
        ratio_logits = [m.ratio_logits for m in model.modules() if isinstance(m, SwitchNorm)]
        if ratio_logits and self.ratio_max_norm is not None:
            _clip_apart(optim_wrapper, ratio_logits, self.ratio_max_norm)
        return optim_wrapper


def _merge(params: list[dict]) -> list[dict]:
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
