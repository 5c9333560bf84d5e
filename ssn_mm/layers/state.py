"""Which normalizers a layer's state is for; brings states of other orders and norms into it."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..ops.normalizers import NORMALIZERS
from ..ops.sparsestmax import sparsestmax
from .selection import selected_names
from .selectors import one_hot
from .sharded import whole

CODES = 'normalizer_codes'
PAIR_CODES = 'selected_codes'
_FIRST_NAMES = 4  # how many NORMALIZERS the earliest states knew
RATIO_KEYS = ('ratio_logits', 'radius', CODES)  # what only SSN and SN have

_warned: list | None = None  # the last load that was warned of another norm's state


class OtherNormWarning(UserWarning):
    """The state of another norm, without ratios, is loaded into SSN or SN."""


def encode(
    normalizers: Sequence[str],
    num_groups: int,
    kind: int,
    device: torch.device | str | int | None = None,
) -> Tensor:
    """The codes (3, K) that say what logits are for.

    Row 0 has the normalizers' places in NORMALIZERS, which is why new names are appended to it;
    row 1 GN's number of groups, 0 for the other normalizers; row 2 throughout what makes ratios of
    the logits: 0 softmax (SN), 1 SparsestMax (SSN), and further selectors by their ``kind``.
    """
    groups = [num_groups if name == 'GN' else 0 for name in normalizers]
    places = [NORMALIZERS.index(name) for name in normalizers]
    return torch.tensor([places, groups, [kind] * len(places)], device=device)


def decode(codes: Tensor) -> tuple[tuple[str, ...], int, int]:
    """Reads codes of :func:`encode`.

    Returns:
        Names of the normalizers; GN's number of groups, 0 without GN; what makes ratios of the
        logits, 0 for SN's, 1 for SSN's.

    Raises:
        ValueError: The tensor holds no such codes.
    """
    if codes.dim() != 2 or len(codes) != 3:
        raise ValueError(f'{CODES} must be (3, K), got {tuple(codes.shape)}')
    places, groups, kinds = codes.tolist()
    # they may be floats, since states are cast as a whole, and averaged
    if not all(place in range(len(NORMALIZERS)) for place in places):
        raise ValueError(
            f'{CODES} must be places in {NORMALIZERS}, got {places}; a state averaged of layers '
            'whose normalizers differ, or have another order, is none'
        )
    places, groups = [int(place) for place in places], [int(group) for group in groups]
    names = tuple(NORMALIZERS[place] for place in places)
    return names, max(groups, default=0), int(max(kinds, default=0))


def take_order(
    state: dict[str, Tensor],
    prefix: str,
    normalizers: Sequence[str],
    num_groups: int,
    buffers: Mapping[str, Tensor | None],
    kind: int,
) -> str | None:
    """Brings the logits of a state into a layer's order, and puts the layer's codes in it.

    A state without codes comes from a version that did not write them: its order is taken to be the
    layer's. With codes, the state has a radius afterwards if, and only if, the logits are SSN's;
    before, states may have been merged or filtered by name.

    Args:
        state: Tensors by name, of the layer and perhaps of others; changed in place.
        prefix: Start of the layer's names in it.
        normalizers: The layer's normalizers.
        num_groups: The layer's number of GN's groups.
        buffers: The layer's, of which ``radius`` is SSN's, ``temperature`` that of others.
        kind: What makes ratios of the layer's logits, see :func:`encode`.

    Returns:
        Why the logits are not for this layer; None if they are, or if there are none.
    """
    own_radius = buffers.get('radius')
    if 'temperature' not in buffers:
        _cool(state, prefix)
    key = f'{prefix}ratio_logits'
    logits, codes = state.get(key), state.get(f'{prefix}{CODES}')
    like = next((t for k, t in state.items() if k.startswith(prefix)), None)
    if like is not None:
        state[f'{prefix}{CODES}'] = encode(normalizers, num_groups, kind, like.device)
    if logits is None or logits.dim() != 2:
        return None
    if codes is None or codes.is_meta:
        if logits.size(1) == len(normalizers):
            return None
        return _refusal(prefix, f'{logits.size(1)} normalizers', normalizers)
    try:
        names, groups, theirs = decode(codes)
    except ValueError as error:
        return f'{prefix}{error}'
    if set(names) != set(normalizers) or len(names) != logits.size(1):
        return _refusal(prefix, f'the normalizers {", ".join(names)}', normalizers)
    if theirs != kind and max(theirs, kind) > 1:
        return f"{prefix}ratio_logits are another selector's than the layer's; leave {_WAYS}"
    if theirs != 1:
        state.pop(f'{prefix}radius', None)
    elif f'{prefix}radius' not in state:
        if own_radius is None and selected_names(whole(logits).tolist(), names) is None:
            return f"{prefix}ratio_logits are SSN's, and the state lacks the radius they belong to"
        has_own = own_radius is not None and not own_radius.is_meta
        radius = own_radius.detach().clone() if has_own else torch.zeros(())  # type: ignore[union-attr]
        state[f'{prefix}radius'] = radius.to(logits.device)
    if 'GN' in names and groups != num_groups and _uses_gn(state, prefix, names):
        return (
            f'{prefix}ratio_logits are for GN of {groups} groups, and the layer has '
            f'num_groups={num_groups}; set num_groups={groups}, or leave {_WAYS}'
        )
    if names != tuple(normalizers):
        # by columns, which sharded logits have, too; torch 2.6 knows slices of these alone
        columns = dict(zip(names, logits.split(1, dim=-1), strict=True))
        state[key] = torch.cat([columns[name] for name in normalizers], -1)
    return None


def _cool(state: dict[str, Tensor], prefix: str) -> None:
    """Takes a temperature out of a state, and gives its logits the same ratios without one."""
    heat = state.pop(f'{prefix}temperature', None)
    key = f'{prefix}ratio_logits'
    if heat is None or key not in state or heat.is_meta:
        return
    logits = state[key]
    # 40 apart, softmax is one-hot to 1e-17
    state[key] = logits / heat if heat > 0 else 40 * one_hot(logits).to(logits)


def _uses_gn(state: Mapping[str, Tensor], prefix: str, names: Sequence[str]) -> bool:
    """Whether GN, one of the normalizers that a state's logits are for, has a ratio above 0."""
    radius = state.get(f'{prefix}radius')
    if radius is None:  # softmax leaves no ratio at 0
        return True
    ratios = sparsestmax(whole(state[f'{prefix}ratio_logits']).float(), radius)
    return bool(ratios[:, names.index('GN')].any())


def encode_pair(
    mean: Sequence[str],
    var: Sequence[str],
    num_groups: int,
    device: torch.device | str | int | None = None,
) -> Tensor:
    """The codes (3, K) that say what the state of a :class:`MixedNorm` is for.

    They have a column for each of NORMALIZERS. Rows 0 and 1 count how often the mean has each, and
    the variance; row 2 has GN's number of groups in GN's column, 0 where GN is not used.
    """
    groups = num_groups if 'GN' in (*mean, *var) else 0
    rows = [[list(names).count(name) for name in NORMALIZERS] for names in (mean, var)]
    rows.append([groups if name == 'GN' else 0 for name in NORMALIZERS])
    return torch.tensor(rows, device=device)


def pair_mismatch(codes: Tensor, own: Tensor) -> str:
    """Describes two results of :func:`encode_pair` that differ; '' if they do not."""
    if codes.dim() == 2 and _FIRST_NAMES <= codes.size(1) < own.size(1):
        # of a version that did not have the last names
        codes = torch.nn.functional.pad(codes, (0, own.size(1) - codes.size(1)))
    if codes.is_meta or own.is_meta or codes.tolist() == own.tolist():
        return ''
    return f'{_describe_pair(codes)}, and the layer has {_describe_pair(own)}'


def _describe_pair(codes: Tensor) -> str:
    if tuple(codes.shape) != (3, len(NORMALIZERS)):
        return f'unknown normalizers of shape {tuple(codes.shape)}'
    *rows, groups = codes.tolist()
    names = [f'GN({g})' if n == 'GN' else n for n, g in zip(NORMALIZERS, groups, strict=True)]
    mean, var = (
        '+'.join(n for n, count in zip(names, row, strict=True) for _ in range(int(count)))
        for row in rows
    )
    return f'mean {mean}, var {var}'


_WAYS = (
    'ratio_logits, radius and normalizer_codes out of the state, so that its ratios start over '
    "(of a checkpoint with init_cfg=dict(type='Pretrained', selection='relearn', ...))"
)


def _refusal(prefix: str, theirs: str, own: Sequence[str]) -> str:
    return (
        f'{prefix}ratio_logits are for {theirs}, and the layer has {", ".join(own)}; give the '
        f'layer these normalizers, or leave {_WAYS}'
    )


def add_once(refusal: str, messages: list[str]) -> None:
    """Adds the reason why a layer cannot load, unless another layer has the same one."""
    what = refusal.partition(' ')[2]
    if not any(message.partition(' ')[2] == what for message in messages):
        messages.append(refusal)


def warn_of_other_norm(prefix: str, load: list) -> None:
    """Warns once a call of ``load_state_dict`` that ratios keep their values.

    Args:
        prefix: Start of the layer's names in the state.
        load: The list of missing keys, which all layers of a call share.
    """
    global _warned
    if load is not _warned:
        _warned = load
        warnings.warn(
            f'the state has no ratio_logits for {prefix.rstrip(".") or "the layer"}, nor perhaps '
            'for others: it is of another norm, of which weight, bias and running statistics are '
            'taken, while ratios and radius keep their values',
            OtherNormWarning,
            stacklevel=2,
        )
