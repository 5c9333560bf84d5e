"""``init_cfg=dict(type='Pretrained', ...)`` with the options of SSN and SN."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import PretrainedInit, update_init_info
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

from ..layers import (
    SN,
    SwitchNorm,
    check_selected,
    check_selection,
    set_selection,
    switch_norms,
)
from ..layers.state import RATIO_KEYS
from ..renamed import selection_of
from .authors import from_authors
from .content import state_and_meta
from .loading import load_weights


class Pretrained(PretrainedInit):
    """Takes the place of mmengine's initializer; fills networks with SSN or SN by ``load_weights``.

    Checkpoints of BN, SN and SSN need no conversion, be they torchvision's, the libraries' or the
    authors'. Networks without SSN and SN are left to mmengine.

    Args:
        checkpoint: A file, or an address that mmengine's loaders know.
        prefix: Start of the names of the part of the checkpoint to take; not needed for a backbone.
        map_location: Device to read to, as for ``torch.load``.
        selection: What becomes of rows that the checkpoint has selected: 'keep', 'relearn' or 'fix'
            (which asks that all rows are selected), as in ``SSNRadiusHook``.
        bn_ratio: Ratio of BN, or of BN and FBN together, in (0, 1), that layers start with where
            the checkpoint has no logits for them, such as one of batch norm; the two share it
            equally, as the other normalizers do the rest. None: logits stay at 1.
        choices: The name of ``selection`` in configs of 0.1, which had 'freeze' for 'fix'; warns.

    Raises:
        ValueError: ``selection`` or ``bn_ratio`` has another value; nothing in the checkpoint fits,
            or lies under the prefix; layers to fix have not selected, or are SN; ``bn_ratio`` is
            given for layers without BN and FBN; or one of the two for a network without SSN and SN.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        map_location: Any = 'cpu',
        selection: str = 'keep',
        bn_ratio: float | None = None,
        choices: str | None = None,
    ) -> None:
        super().__init__(checkpoint, prefix, map_location)
        if bn_ratio is not None and not 0 < bn_ratio < 1:
            raise ValueError(f'bn_ratio must be in (0, 1) or None, got {bn_ratio}')
        self.selection = check_selection(selection_of(choices) or selection)
        self.bn_ratio = bn_ratio

    def __call__(self, module: nn.Module) -> None:
        """Fills ``module``."""
        layers = dict(switch_norms(module))
        if not layers:
            if self.selection != 'keep' or self.bn_ratio is not None:
                raise ValueError(
                    f'selection={self.selection!r}, bn_ratio={self.bn_ratio}, but '
                    f'{type(module).__name__} has no SSN or SN; set its norm_cfg'
                )
            super().__call__(module)
            return
        checkpoint = _load_checkpoint(self.checkpoint, self.map_location, 'current')
        state = self._part(state_and_meta(checkpoint, self.checkpoint)[0])
        if self.selection == 'relearn':  # whatever normalizers they are for
            state = from_authors(state)
            state = {k: v for k, v in state.items() if not k.endswith(RATIO_KEYS)}
        report = load_weights(module, state)
        report.log()
        if self.bn_ratio is not None:
            initial = {n for n in report.initial if n.endswith('ratio_logits')}
            for name, layer in layers.items():
                if f'{name}.ratio_logits' in initial:
                    start_at_bn(layer, self.bn_ratio)
        self._apply_selection(module, [m for m in layers.values() if isinstance(m, SN)])
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())

    def _part(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The tensors under the prefix; all of them where the checkpoint is of a backbone alone."""
        prefix = f'{(self.prefix or "").rstrip(".")}.'
        if prefix == '.':
            return state
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not part and prefix != 'backbone.':
            raise ValueError(
                f'{self.checkpoint} has nothing under prefix={self.prefix!r}; it has '
                f'{sorted({k.partition(".")[0] for k in state})[:5]}'
            )
        return part or state

    def _apply_selection(self, module: nn.Module, never: list[SN]) -> None:
        if self.selection == 'fix' and never:
            raise ValueError(f"selection='fix', but {len(never)} layers are SN: it never selects")
        if self.selection == 'fix':
            check_selected(module)  # each step restores what is selected, so this is all
        else:
            set_selection(module, self.selection)
        if self.selection == 'relearn':
            for layer in never:
                nn.init.ones_(layer.ratio_logits)


@torch.no_grad()
def start_at_bn(layer: SwitchNorm, ratio: float) -> None:
    """Sets a layer's logits so that BN, and FBN, have ``ratio`` in both rows, the others the rest.

    Raises:
        ValueError: The layer has neither.
    """
    names = layer.normalizers
    own = {'BN', 'FBN'}.intersection(names)
    if not own:
        raise ValueError(f'bn_ratio={ratio}, but the normalizers are {names}')
    each, rest = ratio / len(own), (1 - ratio) / max(len(names) - len(own), 1)
    ratios = torch.tensor([each if name in own else rest for name in names])
    layer.ratio_logits.copy_(ratios.log() if isinstance(layer, SN) else ratios)
