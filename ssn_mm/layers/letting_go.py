"""Rows of ratios that stand at a vertex, where there is no gradient, are let go to learn."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..ops.sparsestmax import sparsestmax
from .driving import put_ratios, switch_norms
from .sharded import whole
from .switch_norm import SSN, SwitchNorm


@torch.no_grad()
def let_go(
    model: nn.Module, ratio: float = 0.9, loss: Callable[[], Tensor] | None = None
) -> tuple[float, float] | None:
    """Moves every row of ratios that is one-hot inside the simplex, so that it learns from then on.

    For networks of :func:`ssn_mm.convert_norms`, whose layers start at the vertex of the normalizer
    that they had, where the gradient is 0. Call it once, between :func:`keep_selected` and the
    next forward pass, while the radius is small: the point has to lie outside of its circle. Layers
    whose logits are not trained, such as those of frozen stages, stay as they are.

    Args:
        model: Any module, an SSN or SN itself included.
        ratio: What the normalizer at the vertex gets, inside (0, 1); the others share the rest.
        loss: Computes a loss. It is called twice, before and after, without gradients; what it
            changes, such as running statistics, stays changed.

    Returns:
        The loss before and after; None without ``loss``.

    Raises:
        ValueError: ``ratio`` is not inside (0, 1); no row that is trained is one-hot; or the radius
            is so large that rows would stay one-hot. Nothing is changed.
    """
    check_ratio(ratio)
    targets = []
    for name, layer, is_vertex in rows_at_vertices(model):
        ratios = layer.ratios()
        rest = (1 - ratio) / (ratios.size(1) - 1)
        inside = (ratios > 0.5).to(ratios) * (ratio - rest) + rest
        if isinstance(layer, SSN) and (sparsestmax(inside, layer.radius) == 1).any():
            raise ValueError(
                f'{name or "the layer"} has radius {layer.radius.item():.3g}, which makes ratios '
                f'of {ratio} one-hot; let go while the radius is small'
            )
        now = whole(layer.ratio_logits).to(ratios) if isinstance(layer, SSN) else ratios
        targets.append((layer, inside.where(is_vertex, now)))
    if not targets:
        raise ValueError(
            'no SSN or SN whose logits are trained has a row of ratios that is one-hot, so none '
            'can be let go'
        )
    before = None if loss is None else float(loss())
    for layer, logits in targets:
        put_ratios(layer, logits)
    return None if before is None or loss is None else (before, float(loss()))


def rows_at_vertices(model: nn.Module) -> Iterator[tuple[str, SwitchNorm, Tensor]]:
    """Yields the layers that :func:`let_go` lets go, with their names and the rows, (2, 1)."""
    for name, layer in switch_norms(model):
        is_vertex = (layer.ratios() > 1 - 1e-6).any(-1, keepdim=True)
        if layer.ratio_logits.requires_grad and is_vertex.any():
            yield name, layer, is_vertex


def check_ratio(ratio: float) -> None:
    """Checks what the normalizer at a vertex is to get.

    Raises:
        ValueError: It does not lie inside (0, 1).
    """
    if not isinstance(ratio, float | int) or not 0 < ratio < 1:
        raise ValueError(f'ratio must lie inside (0, 1), got {ratio!r}')
