"""A small network with two layers that select, and a hook that ends its training."""

from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.checkpoint import checkpoint

from ssn_mm import SSN


class Net(BaseModel):
    """A convolution, two SSN layers and a classifier of two classes.

    Args:
        normalizers: Of both layers.
        second: The second norm, if it is not an SSN.
        dropout: Probability, which makes a training depend on its random generators.
        with_cp: Whether both layers are recomputed: 'reentrant', 'not' or None.
    """

    def __init__(self, normalizers=('IN', 'LN', 'BN'), second=None, dropout=0.0, with_cp=None):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), SSN(4, normalizers, num_groups=2)
        self.second = second or SSN(4, normalizers, num_groups=2)
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(4, 2)
        self.with_cp = with_cp

    def body(self, x):
        return self.second(self.norm(x).relu())

    def forward(self, inputs, labels, mode='tensor'):
        x = self.conv(inputs)
        if self.with_cp and self.training:
            x = checkpoint(self.body, x, use_reentrant=self.with_cp == 'reentrant')
        else:
            x = self.body(x)
        x = self.fc(self.dropout(x.relu().mean((2, 3))))
        loss = nn.functional.cross_entropy(x, labels)
        return dict(loss=loss) if mode == 'loss' else [loss]


class StopAfter(Hook):
    """As if the machine died after so many iterations, just when all was saved."""

    priority = 'LOWEST'

    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, *_, **__):
        if runner.iter + 1 == self.iterations:
            raise KeyboardInterrupt
