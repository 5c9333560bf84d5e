"""The layers that compete in the benchmarks, for a layer and for every layer of a network.

Their names mean:

- BN, SyncBN, GN, IN, LN, SN and other contestants: what docs/contestants.md says of them. SyncBN is
  without a process group, which is its local path. GN+WS has GN's layer, and its cost is in the
  convolutions of networks.
- SN, SSN competing: three normalizers, all ratios positive. SSN's radius is 0.3, below the
  inscribed one.
- SSN selected BN: both rows one-hot at BN, at radius 0.9.
- SSN selected FBN: both rows one-hot at FBN, which competed beside the three.
- SSN figure 5: both rows of every layer one-hot, each for itself. The paper's figure 5 shows which
  normalizers the 53 layers of ResNet-50 selected as bars without numbers, and its text says that
  BN leads at 32 images a GPU. So the proportions are an assumption: half of the layers have
  selected BN, a quarter IN and a quarter LN, for means and for variances independently. A single
  layer has mean BN and variance LN.
- authors' formula: Eq. 1 as plain autograd (tests/references.py), with SparsestMax ratios at radius
  0.3.

A backend in brackets behind the name of an SN or SSN was set; without one, the best was taken.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.contestants import contestants, find_contestant, load_contestants
from ssn_mm.layers import ssn_layers
from ssn_mm.ops import sparsestmax
from ssn_mm.timing.rounds import Competitor

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests'))  # references.py
try:
    from references import switch_norm as authors_formula
except ModuleNotFoundError:
    sys.exit('the benchmarks compare with tests/references.py: run them from a checkout')

NORMALIZERS = ('IN', 'LN', 'BN')
WITH_FBN = (*NORMALIZERS, 'FBN')  # of 'SSN selected FBN'
THEIRS = ('BN', 'SyncBN', 'GN', 'IN', 'LN')  # which networks are timed with by default
OURS = ('SN', 'SSN competing', 'SSN selected BN', 'SSN selected FBN', 'SSN figure 5')
AUTHORS = "authors' formula"
BASELINES = ('BN', 'GN', AUTHORS)
# what layers of 'SSN figure 5' have selected in turn: every pair once in 16 layers
MEANS = ('BN', 'IN', 'BN', 'LN')
VARIANCES = ('LN', 'BN', 'IN', 'BN')
COMPETING_RADIUS, SELECTED_RADIUS = 0.3, 0.9
COMPETING_LOGITS = ((1.02, 1.0, 0.98), (0.98, 1.0, 1.02))  # apart, or SSN could not move


class AuthorsFormula(nn.Module):
    """A layer of Eq. 1 in which each normalizer measures the map by itself."""

    _abbr_ = 'bn'  # mmaction2 asks for it

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.ratio_logits = nn.Parameter(torch.tensor(COMPETING_LOGITS))

    def forward(self, x):
        ratios = sparsestmax(self.ratio_logits, COMPETING_RADIUS)
        y = authors_formula(x, ratios, NORMALIZERS, self.weight, self.bias, eps=self.eps)
        return y.to(x.dtype)


@torch.no_grad()
def arrange(model: nn.Module, name: str) -> None:
    """Gives every SSN of ``model`` the logits and the radius that a competitor's name means."""
    for index, (_, layer) in enumerate(ssn_layers(model)):
        if name == 'SSN competing':
            logits = torch.tensor(COMPETING_LOGITS)
        else:
            pair = ('BN', 'BN')
            if name == 'SSN figure 5':
                pair = MEANS[index % 4], VARIANCES[index // 4 % 4]
            elif name == 'SSN selected FBN':
                pair = ('FBN', 'FBN')
                layer.num_batches_tracked.fill_(1)  # its statistics, 0 and 1, are meant
            logits = torch.tensor(
                [[float(n == selected) for n in layer.normalizers] for selected in pair]
            )
        layer.ratio_logits.copy_(logits)
    set_radius(model, COMPETING_RADIUS if name == 'SSN competing' else SELECTED_RADIUS)


def build_layer(name: str, num_features: int, rank: int) -> nn.Module:
    """A layer by its competitor's name, for maps of 2 or 3 spatial dimensions.

    Raises:
        ValueError: The layer cannot have so many channels, or there is none of this name.
    """
    if name == AUTHORS:
        return AuthorsFormula(num_features)
    if not name.startswith('SSN '):
        return find_contestant(name).build(num_features, rank)
    layer = SSN(num_features, WITH_FBN if name == 'SSN selected FBN' else NORMALIZERS)
    arrange(layer, name)
    return layer


def named_competitors(
    args: argparse.Namespace, build: Callable[[str, str | None], Competitor | str]
) -> dict[str, Competitor | str]:
    """The competitors that the arguments ask for, by name.

    Args:
        args: The arguments, with ``competitors`` and ``backends``.
        build: Makes the competitor of a name and a backend; None for the best that is available.
    """
    found: dict[str, Competitor | str] = {}
    for name in args.competitors:
        for backend in args.backends if name in OURS else ['auto']:
            forced = None if backend == 'auto' else backend
            found[f'{name} [{forced}]' if forced else name] = build(name, forced)
    return found


def add_layer_arguments(parser: argparse.ArgumentParser, every: bool) -> None:
    """Adds the arguments that say which layers compete.

    Args:
        parser: The tool's parser.
        every: Whether by default all contestants compete, not only the paper's and SyncBN.
    """
    default = 'all' if every else ', '.join(map(repr, (*THEIRS, *OURS, AUTHORS)))
    parser.add_argument(
        '--competitors',
        nargs='+',
        metavar='NAME',
        help=f'which layers compete: contestants, or {", ".join(map(repr, (*OURS[1:], AUTHORS)))} '
        f'(default: {default})',
    )
    parser.add_argument(
        '--contestants',
        nargs='+',
        type=Path,
        default=[],
        metavar='PATH',
        help='files, or folders of files, that register norms of yours, see docs/contestants.md; '
        'they compete, too, where --competitors says nothing',
    )
    parser.add_argument(
        '--backends',
        nargs='+',
        default=['auto'],
        metavar='NAME',
        help='backends that SN and SSN run on; auto: the best that is available (default: auto)',
    )


def read_competitors(args: argparse.Namespace, every: bool) -> list[str]:
    """The names of the layers that compete, in the order of tables.

    Raises:
        FileNotFoundError: A file of contestants is not there.
        ValueError: A file is no contestant, or a name is unknown.
    """
    own = [contestant.name for path in args.contestants for contestant in load_contestants(path)]
    others = [name for name in contestants() if name not in (*THEIRS, 'SN', 'SSN')]
    everyone = [*THEIRS, *OURS, AUTHORS, *others]
    if args.competitors is None:
        return everyone if every else [*THEIRS, *OURS, AUTHORS, *own]
    for name in set(args.competitors) - set(everyone):
        if name == 'SSN':
            raise ValueError(f'SSN competes as one of {", ".join(map(repr, OURS[1:]))}')
        find_contestant(name)
    return [name for name in everyone if name in args.competitors]
