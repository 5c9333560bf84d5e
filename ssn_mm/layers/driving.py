"""What drives the selection of SSN layers: the radius, and keeping what was selected."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..ops.normalizers import world_size
from ..ops.sparsestmax import sparsestmax
from ..ops.tracing import is_readable, is_traced
from .keeping import fill_all, keep_after_step
from .selection import Selection, restore_vertices
from .selector_norm import SelectorNorm
from .sharded import copy_whole, is_sharded, spread_like, stack_whole
from .switch_norm import SSN, SwitchNorm

SELECTIONS = ('keep', 'relearn', 'fix')  # what may become of a loaded selection


def ssn_layers(model: nn.Module) -> Iterator[tuple[str, SSN]]:
    """Yields the name and the module of every SSN in ``model``, itself included."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, SSN))


def switch_norms(model: nn.Module) -> Iterator[tuple[str, SwitchNorm]]:
    """Yields the name and the module of every SSN and SN in ``model``, itself included."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, SwitchNorm))


def selecting_norms(model: nn.Module) -> Iterator[tuple[str, SSN | SelectorNorm]]:
    """Yields the name and the module of every layer whose ratios are to end one-hot."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, SSN | SelectorNorm))


def set_radius(model: nn.Module | Iterable[SSN], radius: float) -> None:
    """Sets the radius of every SSN in ``model``.

    Args:
        model: Any module, an SSN itself included; or SSN layers, which saves looking for them.
        radius: Euclidean distance on the simplex plane, at least 0; from
            ``circumscribed_radius(K)`` on every row is one-hot.

    Raises:
        ValueError: ``radius`` is negative, NaN or infinite.
    """
    if not 0 <= radius < float('inf'):
        raise ValueError(f'radius must be a finite number >= 0, got {radius}')
    wide = []
    for layer in _all_ssn(model):
        own = layer.own_tensor('radius')
        layer.selection.has_radius = True
        if own.dtype.itemsize > 2:
            wide.append(own)
        else:
            own.fill_(_not_below(radius, own.dtype))
    fill_all(wide, radius)


def _all_ssn(model: nn.Module | Iterable[SSN]) -> Iterator[SSN]:
    """Yields every SSN in ``model`` once, in no promised order, without the names of modules.

    ``named_modules`` takes three times as long, in every step of a training.
    """
    if not isinstance(model, nn.Module):
        yield from model
        return
    if isinstance(model, SSN):
        yield model
    found: set[nn.Module] = set()
    waiting = [model]
    while waiting:
        for child in waiting.pop()._modules.values():
            if child is None or child in found:
                continue
            found.add(child)
            if isinstance(child, SSN):
                yield child
            elif child._modules:
                waiting.append(child)


def _not_below(radius: float, dtype: torch.dtype) -> float:
    """The radius in half precision, rounded up, since a row is one-hot from r_c on alone."""
    rounded = torch.tensor(radius, dtype=dtype)
    above = torch.tensor(torch.inf, dtype=dtype)
    return (torch.nextafter(rounded, above) if rounded < radius else rounded).item()


@torch.no_grad()
def keep_selected(model: nn.Module | Iterable[SSN]) -> None:
    """Puts every selected row of ratios back on its vertex; call it after each optimizer step.

    Momentum and weight decay move logits whose gradient is 0. A row that was one-hot in the last
    training step, or is now, gets its one-hot ratios as logits: SparsestMax maps these to
    themselves at every radius. No GPU is waited for. Where ``fully_shard`` has
    spread the parameters, every process has to call it, as with the optimizer's step.

    To set logits by hand, write to them after ``keep_selected`` and before the next forward pass,
    in place and under ``torch.no_grad()``: ``layer.ratio_logits.copy_(...)``. What is written
    between a forward pass and ``keep_selected`` is taken for the optimizer's work. A write through
    ``.data`` leaves no trace in the tensor: on a CPU it is seen all the same; elsewhere a layer
    that had selected goes on with its selection until it is loaded, copied, or written to in the
    way above.

    Layers on the meta device are passed over.

    Args:
        model: Any module, an SSN itself included; or SSN layers, which saves looking for them.

    Raises:
        ValueError: FSDP1 has flattened the logits.
    """
    by_size = defaultdict(list)
    for layer in keep_after_step(_all_ssn(model)):
        z = layer.own_tensor('ratio_logits')
        if not z.is_meta:
            by_size[(type(z), z.shape, z.dtype, z.device)].append((layer, z))
    for pairs in by_size.values():
        layers, own = [layer for layer, _ in pairs], [z for _, z in pairs]
        logits = stack_whole(own)  # (L, 2, K)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        now = sparsestmax(logits, torch.stack([m.own_tensor('radius') for m in layers])[:, None])
        then = [_ratios_of_step(m, z, logits, now, i) for i, (m, z) in enumerate(pairs)]
        replaced = [m for m, z in pairs if m.selection.is_replaced(z)]
        kept, vertices = restore_vertices(logits, torch.stack(then), now)
        if not (is_readable(kept) and torch.equal(kept, logits)):
            copy_whole(own, kept)
        _note_names(layers, own, vertices, replaced)


@torch.no_grad()
def put_ratios(layer: SwitchNorm, ratios: Tensor) -> None:
    """Gives a layer logits with certain ratios, see :meth:`SwitchNorm.logits_of`.

    Args:
        layer: SSN or another.
        ratios: (2, K), rows summing to 1. A softmax makes 1e-17 of a 0.
    """
    own, logits = layer.ratio_logits, layer.logits_of(ratios)
    own.copy_(spread_like(own, logits.to(own.device, own.dtype)))
    if isinstance(layer, SSN):
        layer.selection.forget()


def check_selected(model: nn.Module) -> None:
    """Checks that every SSN in ``model`` has selected its normalizers.

    Raises:
        ValueError: Some have not; names them.
    """
    competing = [name for name, layer in ssn_layers(model) if None in layer.selected]
    if competing:
        raise ValueError(
            f"selection='fix', but {len(competing)} SSN layers have not selected, "
            f"{', '.join(competing[:3])}...: load a trained checkpoint, or use 'keep'"
        )


def check_selection(selection: str) -> str:
    """Returns what is to become of a selection if it is one of :data:`SELECTIONS`.

    Raises:
        ValueError: It is not.
    """
    if selection not in SELECTIONS:
        raise ValueError(f'selection must be one of {SELECTIONS}, got {selection!r}')
    return selection


@torch.no_grad()
def set_selection(model: nn.Module, selection: str) -> None:
    """Says what becomes of the selection of a loaded network in the training that goes on.

    Call it before the optimizer is built and before DDP wraps the model.

    Args:
        model: Any module, an SSN itself included.
        selection: 'keep': rows that are selected stay, the others go on learning. 'relearn': every
            row learns from the start, logits at 1 and radius 0. 'fix': all rows have to be
            selected, and no optimizer moves their logits.

    Raises:
        ValueError: ``selection`` is none of the three, or layers to fix have not selected.
    """
    if check_selection(selection) == 'keep':
        return
    if selection == 'fix':
        check_selected(model)
    for _, layer in ssn_layers(model):
        layer.ratio_logits.requires_grad_(selection == 'relearn')
        if selection == 'relearn':
            layer.ratio_logits.fill_(1)
            layer.radius.zero_()
            layer.selection.forget()


def _ratios_of_step(layer: SSN, own: Tensor, logits: Tensor, now: Tensor, index: int) -> Tensor:
    """Ratios (2, K) that a layer's last step was taken with.

    Args:
        layer: The layer.
        own: Its logits.
        logits: Logits of all layers of its size, (L, 2, K).
        now: Their ratios, (L, 2, K).
        index: The layer's place among them.
    """
    ran = layer.selection.ratios_of_run(own)
    if ran is None:
        return layer.selection.vertices_of_rest(own, logits[index], now[index])
    return ran if ran.dtype == now.dtype and ran.device == now.device else ran.to(now)


def _note_names(
    layers: list[SSN], logits: list[Tensor], vertices: Tensor, replaced: list[SSN]
) -> None:
    """Tells layers what both of their rows have selected, without waiting for a GPU.

    Sharded layers are not told: the logits of their forward pass are another tensor, so whether
    these were changed since cannot be seen. Nor are layers whose step is recorded.

    Args:
        layers: L layers of one size and device.
        logits: Theirs.
        vertices: Vertices of their selected rows, (L, 2, K), 0 in the other rows.
        replaced: Those of the layers whose logits came from elsewhere since the last call.
    """
    if is_traced(vertices):
        return
    first = layers[0].selection
    if replaced:  # what is under way was selected by the earlier logits
        first.under_way = None
    for layer in replaced:
        layer.selection.note_names(None)
    for layer, z, own in zip(layers, logits, vertices.unbind(), strict=True):
        layer.selection.note_kept(z, own)
    if is_sharded(logits[0]):
        return
    # (L, 2), -1 where a row still competes
    columns = vertices.argmax(-1).where(vertices.any(-1), -1)
    known: Tensor | None = columns
    if vertices.is_cuda:
        # where BN spans processes, all have to know at once: one that knows LN was selected asks
        # for no joint statistics
        wait = world_size() > 1 and any(layer.sync for layer in layers)
        known = None if _is_captured(vertices) else _arrived(first, columns, wait)
    if known is None or len(known) != len(layers):
        return
    for layer, (mean, var) in zip(layers, known.tolist(), strict=True):
        names = layer.normalizers
        layer.selection.note_names((names[mean], names[var]) if min(mean, var) >= 0 else None)


def _is_captured(t: Tensor) -> bool:
    """Whether a CUDA graph records the step, so that the CPU cannot see values."""
    with torch.cuda.device_of(t):
        return torch.cuda.is_current_stream_capturing()


def _arrived(first: Selection, columns: Tensor, wait: bool) -> Tensor | None:
    """Sends columns (L, 2) to the CPU unless earlier ones are under way; returns what arrived.

    Args:
        first: What the first layer knows; it holds what is under way for all of them.
        columns: The selected columns of L layers, on a GPU.
        wait: Whether to wait for the columns that the call before sent, whose step is over or
            nearly so.

    Returns:
        Earlier columns, on the CPU; None where nothing has arrived.
    """
    earlier = first.under_way
    if earlier is not None and wait:
        earlier[1].synchronize()
    if earlier is not None and not earlier[1].query():
        return None
    event = torch.cuda.Event()
    sent = columns.to('cpu', non_blocking=True)
    event.record(torch.cuda.current_stream(columns.device))  # the device need not be the current
    first.under_way = (sent, event)
    return None if earlier is None else earlier[0]
