"""The hook that trains a network from its first weights with the selection of a trained one."""

import logging

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

LOGITS = 'ratio_logits'


class RetrainHook(Hook):
    """Takes the selection of the checkpoint in ``load_from``, and none of its weights.

    Beside it belongs ``dict(type='SSNRadiusHook', schedule='constant', selection='fix')``, which
    keeps what was selected. All else starts as in a training without ``load_from``.

    Args:
        shuffled: Whether to deal the layers' selections out to the layers anew, by chance, with the
            seed of the training: each is there as often, elsewhere.

    Raises:
        ValueError: The checkpoint has no SSN layers, or some have not selected.
    """

    def __init__(self, shuffled: bool = False) -> None:
        self.shuffled = shuffled

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leaves what makes a selection in what is about to be loaded; all if it is resumed."""
        if runner._resume:
            return
        state = checkpoint.get('state_dict', checkpoint)
        logits = {name: own for name, own in state.items() if name.split('.')[-1] == LOGITS}
        if not logits:
            raise ValueError('load_from has no SSN layers, whose selection RetrainHook takes')
        if open_ := [n for n, own in logits.items() if not ((own == 1).sum(-1) == 1).all()]:
            raise ValueError(
                f'{len(open_)} layers of load_from have not selected, {", ".join(open_[:3])}...: '
                'load a training that has ended'
            )
        names = list(logits)
        if self.shuffled:
            order = torch.randperm(len(names), generator=torch.Generator().manual_seed(runner.seed))
            logits = {name: logits[names[i]] for name, i in zip(names, order.tolist(), strict=True)}
        radii = {name: own for name, own in state.items() if name.split('.')[-1] == 'radius'}
        checkpoint['state_dict'] = logits | radii
        told = 'shuffled over the layers' if self.shuffled else 'layer by layer'
        print_log(
            f'Takes the selection of {len(names)} layers, {told}, and no weights',
            'current',
            logging.INFO,
        )
