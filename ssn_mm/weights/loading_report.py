"""What became of a checkpoint's tensors and of a network's, in words."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log

_SHOWN = 3  # names of a kind that a log line has
_CLASSIFIERS = ('fc', 'fc_cls', 'conv_seg', 'classifier')


@dataclass
class LoadingReport:
    """What became of a checkpoint's tensors and of a network's.

    Attributes:
        loaded: Names of the network's tensors that the checkpoint filled.
        initial: Names of the network's tensors that keep their initial value.
        ignored: Names of the checkpoint's tensors that the network does not have.
        mismatched: Names of the network's tensors whose shape is another, each with the reason.
        unlike: Names of the network's plain norms in whose place the checkpoint has an SSN or SN
            that is another norm, or has not selected.
    """

    loaded: list[str] = field(default_factory=list)
    initial: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{len(self.loaded)} tensors loaded']
        for count, names in (
            ('left at their initial value', self.initial),
            ('of the checkpoint ignored', self.ignored),
        ):
            if names:
                lines.append(f'{len(names)} {count}: {_by_kind(names)}')
        lines += [f'{name} does not fit: {why}' for name, why in self.mismatched.items()]
        if self.unlike:
            lines.append(
                f'{len(self.unlike)} plain norms are not what the SSN or SN in their place learned '
                f'to be ({", ".join(self.unlike[:_SHOWN])}, ...), so outputs differ'
            )
        corrected = [name for name in self.loaded if name.endswith('correction')]
        if corrected:
            lines.append(
                f"{len(corrected)} layers have the unbiased variance of the authors' layers "
                '(correction=1), with which training is several times slower'
            )
        return '; '.join(lines)

    def log(self, logger: Any = 'current') -> None:
        """Writes it as a line of the log, as a warning where shapes do not fit."""
        level = logging.WARNING if self.mismatched or self.unlike else logging.INFO
        print_log(f'Checkpoint: {self}', logger, level)


def explain_mismatch(name: str, theirs: torch.Size, own: torch.Size) -> str:
    """Both shapes of a tensor that does not fit, and the likely cause.

    Args:
        name: The tensor's name in the network.
        theirs: Its shape in the checkpoint.
        own: Its shape in the network.
    """
    shapes = f'{tuple(theirs)} in the checkpoint, {tuple(own)} in the network'
    *_, layer, kind = ('', *name.split('.'))
    if kind == 'ratio_logits':
        cause = 'other normalizers, see norm_cfg'
    elif layer in _CLASSIFIERS and theirs[1:] == own[1:]:
        cause = 'another number of classes'
    elif len(theirs) != len(own):
        cause = f'a network of {len(theirs) - 2}D maps' if len(theirs) > 3 else 'another layer'
    elif len(own) > 3 and theirs[2:] != own[2:]:
        cause = 'another kernel size'
    elif len(own) > 1 and theirs[0] == own[0]:
        cause = 'another number of input channels, or a block of another width or depth'
    else:
        cause = 'another width or depth'
    return f'{shapes}: {cause}'


def _by_kind(names: list[str]) -> str:
    """Names gathered by their last part: '53 ratio_logits (bn1, layer1.0.bn1, ...), fc.bias'."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.rpartition('.')[2], []).append(name)
    shown = []
    for kind, own in kinds.items():
        if len(own) <= _SHOWN:
            shown += own
        else:
            layers = ', '.join(name.rpartition('.')[0] for name in own[:_SHOWN])
            shown.append(f'{len(own)} {kind} ({layers}, ...)')
    return ', '.join(shown)
