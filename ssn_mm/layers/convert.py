"""Gives any network SSN, SN or another norm in the place of its normalization layers."""

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .base import SwitchNorm
from .conversion import Conversion, Options, check_options
from .converted_norm import build_norm, convert_switch
from .driving import switch_norms
from .found_norm import FoundNorm, find_norm
from .replacing import replace_modules

Choice = str | Collection[str] | Callable[[str, nn.Module], bool]
UNEQUAL = ('refuse', 'leave', 'even')
_SHOWN = 5  # names that a message has


@dataclass(frozen=True)
class ConversionPlan:
    """What :func:`convert_norms` is about to do to a network; ``print`` shows it as a table.

    Attributes:
        rows: A row for every norm: its names in the network, and what becomes of it.
        layers: The layers to put in the place of others, by the module that they replace.
    """

    rows: Sequence[tuple[Sequence[str], Conversion]]
    layers: Mapping[nn.Module, nn.Module]

    def __str__(self) -> str:
        lines = [['layer', 'from', 'to', 'kept', 'not kept, and why']]
        for names, row in self.rows:
            more = f' (and {len(names) - 1} more)' if len(names) > 1 else ''
            cells = [f'{names[0] or "the network"}{more}', row.kind, row.to, row.kept, row.lost]
            lines.append(cells)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return '\n'.join(
            '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def apply(self, model: nn.Module) -> nn.Module:
        """Puts the layers into the network that was planned for; returns it, or its replacement."""
        return replace_modules(model, self.layers)


def convert_norms(
    model: nn.Module,
    to: str | Callable[[int], nn.Module] = 'SSN',
    *,
    normalizers: Sequence[str] | None = None,
    start: str | float | Mapping[str, float] = 'kept',
    include: Choice | None = None,
    exclude: Choice = (),
    unequal: str = 'refuse',
    copy_model: bool = False,
    verbose: bool = False,
    **options: Any,
) -> nn.Module:
    """Replaces normalization layers of a network by SSN, or by another norm, in place.

    Converted are batch norms (synchronized and frozen ones, too), group, instance and channel-wise
    layer norms of torch, torchvision, timm and OpenMMLab. Dropout and activation inside timm's
    norms go on behind the new layer. γ, β and running statistics stay the same tensors, so an
    optimizer knows them already; it does not know ``ratio_logits``, so it is better built
    afterwards. Convert before wrapping in DDP, ``fully_shard``, quantizing or scripting.

    ``start='kept'`` begins each layer at the vertex of the normalizer that it had: in evaluation
    the network computes what it did. A vertex has no gradient; :func:`ssn_mm.let_go`, or
    ``SSNRadiusHook(let_go=...)``, moves the ratios inside the simplex later, so that they learn.

    Args:
        model: Any network, or a norm itself.
        to: 'SSN', 'SyncSSN', 'SN'; 'BN', 'SyncBN', 'IN', 'LN', 'GN', which layers of SSN become
            where they selected just that normalizer; or a function that makes a layer of any kind
            from the number of channels.
        normalizers: Ω and its order, names out of 'IN', 'LN', 'BN', 'GN', 'FBN'. By default IN, LN
            and BN, and FBN where the network has measured running statistics. A layer gets the
            normalizer that it had in addition, where it is not among them.
        start: 'kept'; 'even', where all ratios are equal; the ratio inside (0, 1) of the normalizer
            that a layer had, the others sharing the rest; or ratios by name, the others likewise,
            where a layer that has none of these names starts as if 'kept'.
        include: Which norms are meant: a pattern of names such as 'layer1.*', several, or a
            function of name and module. None means all.
        exclude: Which norms are not, in the same form.
        unequal: What becomes of a norm that no normalizer equals, such as channel-wise layer norm:
            'refuse' raises, 'leave' leaves it in its place, 'even' converts it with its γ and β
            where its layout allows, with equal ratios; outputs then change.
        copy_model: Whether a copy is converted, and the network stays as it is.
        verbose: Whether to print the table of :func:`plan_conversion`.
        **options: ``num_groups`` of GN where the network has none, and other arguments of
            :class:`SSN`; ``unmeasured=True`` allows FBN for layers whose statistics a checkpoint
            brings afterwards.

    Returns:
        ``model``, or its copy; the new layer where it is a norm itself.

    Raises:
        TypeError: An option is unknown, or an argument is of the wrong type.
        ValueError: There is nothing to convert, a pattern matches no norm, a layer is refused (by
            name, with the reason), or an option does not fit. The network is left as it was.
    """
    if copy_model:
        model = copy.deepcopy(model)
    plan = plan_conversion(
        model, to, normalizers=normalizers, start=start, include=include, exclude=exclude,
        unequal=unequal, **options,
    )  # fmt: skip
    if verbose:
        print(plan)
    return plan.apply(model)


def plan_conversion(
    model: nn.Module,
    to: str | Callable[[int], nn.Module] = 'SSN',
    *,
    normalizers: Sequence[str] | None = None,
    start: str | float | Mapping[str, float] = 'kept',
    include: Choice | None = None,
    exclude: Choice = (),
    unequal: str = 'refuse',
    **options: Any,
) -> ConversionPlan:
    """Says what :func:`convert_norms` with these arguments would do, and changes nothing.

    It raises what :func:`convert_norms` raises.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be a network (nn.Module), got {model!r}')
    if unequal not in UNEQUAL:
        raise ValueError(f'unequal must be one of {UNEQUAL}, got {unequal!r}')
    asked = Options.of(to, normalizers, start, options)
    check_options(asked)
    norms = _find(model)
    meant = _meant(norms, include, exclude)
    rank, tensors = _rank_of_convolutions(model), _tensors_near(model)
    rows = []
    for names, norm in norms.items():
        if norm not in meant:
            row = Conversion.left(norm, 'not asked for')
        elif isinstance(norm, SwitchNorm):
            row = convert_switch(norm, asked, rank)
        else:
            row = build_norm(norm, asked, rank, tensors[norm.module], unequal)
        rows.append((names, row))
    _check(rows, asked)
    layers = {row.module: row.layer for _, row in rows if row.layer is not None}
    _check_named(layers.values(), asked)
    return ConversionPlan(rows, layers)


def _find(model: nn.Module) -> dict[tuple[str, ...], FoundNorm | SwitchNorm]:
    """The norms of a network, by all names that each has in it."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, DistributedDataParallel) or 'FullyShardedDataParallel' in kind:
            raise ValueError(
                f'{name or "the network"} is a {kind}, which has taken stock of the parameters; '
                'convert the network before it is wrapped'
            )
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    found: dict[tuple[str, ...], FoundNorm | SwitchNorm] = {}
    inside: set[nn.Module] = set()  # of norms, and of parts that are refused as a whole
    for module, places in names.items():
        norm = module if isinstance(module, SwitchNorm) else find_norm(module)
        if module in inside or norm is None:
            continue
        found[tuple(places)] = norm
        inside.update(module.modules())
    if not found:
        kinds = Counter(type(m).__name__ for m in model.modules() if not any(m.children()))
        what = ', '.join(f'{count} {kind}' for kind, count in kinds.most_common(_SHOWN))
        late = isinstance(model, torch.jit.ScriptModule | torch.fx.GraphModule)
        raise ValueError(
            f'{type(model).__name__} has no normalization layer; it has {what or "no layer"}'
            + ('. Convert before scripting, exporting, fusing or quantizing' if late else '')
        )
    return found


def _meant(
    norms: Mapping[tuple[str, ...], FoundNorm | SwitchNorm], include: Choice | None, exclude: Choice
) -> set:
    """The norms that are asked for: one in several places where one of its names is."""
    wanted = set(norms.values()) if include is None else _matching(norms, include, 'include')
    return wanted - (_matching(norms, exclude, 'exclude') if exclude else set())


def _matching(
    norms: Mapping[tuple[str, ...], FoundNorm | SwitchNorm], choice: Choice, what: str
) -> set:
    patterns = choice if isinstance(choice, list | tuple | set | frozenset) else [choice]
    matching = set()
    for pattern in patterns:
        if not (isinstance(pattern, str) or callable(pattern)):
            raise TypeError(
                f'{what} must be a pattern of names, several in a list, or a function of name and '
                f'module, got {pattern!r}'
            )
        own = {
            norm
            for names, norm in norms.items()
            for name in names
            if (pattern(name, _module(norm)) if callable(pattern) else fnmatchcase(name, pattern))
        }
        if not own:
            every = [name for names in norms for name in names]
            raise ValueError(
                f'{what}={pattern!r} matches none of the {len(every)} norms; they are called '
                f'{", ".join(every[:_SHOWN])}{", ..." if len(every) > _SHOWN else ""}'
            )
        matching |= own
    return matching


def _module(norm: FoundNorm | SwitchNorm) -> nn.Module:
    return norm if isinstance(norm, SwitchNorm) else norm.module


def _rank_of_convolutions(model: nn.Module) -> int | None:
    """The spatial rank of most convolutions, which that of a group norm's maps is taken to be."""
    kinds = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
    ranks = Counter(
        rank for m in model.modules() for kind, rank in kinds.items() if isinstance(m, kind)
    )
    return ranks.most_common(1)[0][0] if ranks else None


def _tensors_near(model: nn.Module) -> dict[nn.Module, Tensor | None]:
    """The last floating-point tensor up to each module, where its maps are taken to come from."""
    tensors = chain(model.parameters(), model.buffers())
    last = next((t for t in tensors if t.is_floating_point()), None)
    near = {}
    for module in model.modules():
        own = chain(module.parameters(False), module.buffers(False))
        last = near[module] = next((t for t in own if t.is_floating_point()), last)
    return near


def _check_named(layers: Iterable[nn.Module], asked: Options) -> None:
    """Raises if ratios are stated for a normalizer that no layer has."""
    if not isinstance(asked.start, Mapping):
        return
    own = {n for layer in layers for _, norm in switch_norms(layer) for n in norm.normalizers}
    if lacking := sorted(asked.start.keys() - own):
        raise ValueError(
            f'start has ratios of {", ".join(lacking)}, and no layer has that among its '
            f'normalizers {", ".join(sorted(own))}: name it in normalizers; FBN needs running '
            'statistics that were measured or loaded, so load the weights first'
        )


def _check(rows: Sequence[tuple[Sequence[str], Conversion]], asked: Options) -> None:
    """Raises unless some layer is converted and none is refused."""
    refused = [(names[0] or 'the network', row) for names, row in rows if row.refusal]
    if refused:
        lines = []
        for kind, reason in dict.fromkeys((row.kind, row.refusal) for _, row in refused):
            own = [name for name, row in refused if (row.kind, row.refusal) == (kind, reason)]
            more = f' and {len(own) - _SHOWN} more' if len(own) > _SHOWN else ''
            lines.append(f'{", ".join(own[:_SHOWN])}{more} ({kind}): {reason}')
        raise ValueError(
            f'{len(refused)} of {len(rows)} norms cannot become {asked.name}, and nothing was '
            'converted:\n  ' + '\n  '.join(lines) + '\nLeave them with '
            "unequal='leave', or name them in exclude"
        )
    if all(row.layer is None for _, row in rows):
        reasons = dict.fromkeys(row.lost for _, row in rows)
        raise ValueError(
            f'none of the {len(rows)} norms is converted to {asked.name}: {"; ".join(reasons)}'
        )
