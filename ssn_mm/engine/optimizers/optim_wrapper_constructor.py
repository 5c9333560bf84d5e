"""Parameter groups for networks with SSN and SN layers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn

from ...layers import SSN, SwitchNorm, switch_norms

# Sec. 4.1 and the authors' code, which clips the norm of these gradients to 1
SPARSESTMAX_RULES = dict(ratio_lr_mult=0.1, ratio_decay_mult=0.0, ratio_max_norm=1.0)
# SN's authors have no rule for them, nor have those of other selectors
OTHER_RULES = dict(ratio_lr_mult=1.0, ratio_decay_mult=1.0, ratio_max_norm=None)


class SSNOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, or another, with the authors' rules for ratio logits.

    Ratio logits of SSN learn at a tenth of the rate that their layer has, without weight decay
    (Sec. 4.1), and their gradients are clipped on their own: ``clip_grad`` neither counts nor
    touches them. Those of SN, and of SSN with another selector than SparsestMax, learn as any
    other parameter of their layer does, as in SN's authors' code. A rule that is given holds for
    all. To the other constructor SSN and SN are norms, for ``norm_decay_mult`` and the bias rules
    too. Parameters with equal options are one group, which keeps the optimizer fast.

    Args:
        optim_wrapper_cfg: The optimizer wrapper, as mmengine's default constructor takes it.
        paramwise_cfg: Options of the other constructor (``custom_keys``, ``norm_decay_mult``, ...)
            and four of this one: ``base``, the name of the other constructor, such as
            'TSMOptimWrapperConstructor'; ``ratio_lr_mult``, the learning rate of ratio logits
            relative to that of their layer (SSN 0.1, others 1); ``ratio_decay_mult``, the same for
            the weight decay (SSN 0, others 1); ``ratio_max_norm``, the largest norm of all ratio
            logits' gradients together, None for no clipping of their own (SSN 1.0, others None).

    Raises:
        ValueError: ``ratio_lr_mult`` or ``ratio_max_norm`` is not positive, ``ratio_decay_mult``
            is negative; or ``fc_lr5``, which TSM's constructor alone reads, is given to the
            default one.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        base = options.pop('base', 'DefaultOptimWrapperConstructor')
        self.given = {name: options.pop(name) for name in OTHER_RULES if name in options}
        _check_rules(SPARSESTMAX_RULES | self.given)
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
        rules = {id(layer.ratio_logits): self._rules(layer) for layer in layers}
        params.extend(_merge(self._one_by_one(found, rules)))

    def _rules(self, layer: SwitchNorm) -> dict:
        return (SPARSESTMAX_RULES if isinstance(layer, SSN) else OTHER_RULES) | self.given

    def _one_by_one(self, groups: list[dict], rules: dict[int, dict]) -> Iterator[dict]:
        """Each parameter with the options of its group, and the rules for ratio logits."""
        for group in groups:
            for param in group['params']:
                own, rule = group | dict(params=[param]), rules.get(id(param), OTHER_RULES)
                if rule['ratio_lr_mult'] != 1:
                    own['lr'] = group.get('lr', self.base_lr) * rule['ratio_lr_mult']
                if rule['ratio_decay_mult'] != 1:
                    decay = group.get('weight_decay', self.base_wd) or 0.0
                    own['weight_decay'] = decay * rule['ratio_decay_mult']
                yield own

    def __call__(self, model: nn.Module) -> OptimWrapper:
        optim_wrapper = super().__call__(model)
        optim_wrapper.has_ratio_rules = True  # the hooks warn of wrappers without
        limits = {
            layer.ratio_logits: self._rules(layer)['ratio_max_norm']
            for _, layer in switch_norms(model)
        }
        apart = [logits for logits, limit in limits.items() if limit is not None]
        if apart:  # which have one limit: SparsestMax's, or the one that is given
            _clip_apart(optim_wrapper, apart, limits[apart[0]])
        return optim_wrapper


def _check_rules(rules: dict) -> None:
    if not rules['ratio_lr_mult'] > 0:
        raise ValueError(f'ratio_lr_mult must be a number > 0, got {rules["ratio_lr_mult"]}')
    if not rules['ratio_decay_mult'] >= 0:
        raise ValueError(f'ratio_decay_mult must be a number >= 0, got {rules["ratio_decay_mult"]}')
    if rules['ratio_max_norm'] is not None and not rules['ratio_max_norm'] > 0:
        raise ValueError(f'ratio_max_norm must be > 0 or None, got {rules["ratio_max_norm"]}')


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
