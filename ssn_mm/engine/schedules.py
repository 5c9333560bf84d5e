"""Radius and temperature as pure functions of progress: nothing to store, nothing to resume."""

from collections.abc import Callable
from itertools import pairwise

from ..ops import inscribed_radius

Schedule = Callable[[float], float]


def linear(progress: float, end: float = 1.0, start: float = 0.0) -> float:
    """From ``start`` to ``end`` linearly over the whole training (Sec. 4.1).

    Args:
        progress: How much of the training is done, in [0, 1].
        end: Radius at the end, Euclidean distance on the simplex plane.
        start: Radius at the start, the paper's being 0.

    Returns:
        The radius; with the defaults K=3 passes r_i at 41 % and r_c at 82 % of the training.
    """
    return start + (end - start) * progress


def linear_through(
    progress: float, at: float, radius: float = inscribed_radius(3), end: float = 1.0
) -> float:
    """From 0 to ``radius`` at progress ``at``, then to ``end``, linearly each time.

    For the paper's schedules that reach r_i at epoch 40, 50, 60 or 70 of 100 (Sec. 4.1).

    Args:
        progress: How much of the training is done, in [0, 1].
        at: Progress at which ``radius`` is reached, in (0, 1).
        radius: Euclidean distance on the simplex plane; r_i of three normalizers by default.
        end: Radius at the end.

    Raises:
        ValueError: ``at`` is not inside (0, 1).
    """
    if not 0 < at < 1:
        raise ValueError(f'at must be a progress inside (0, 1), got {at}')
    if progress <= at:
        return radius * progress / at
    return radius + (end - radius) * (progress - at) / (1 - at)


def constant(progress: float, radius: float = 1.0) -> float:
    """The same radius throughout; beyond r_c each row is the vertex of its largest logit at once.

    For the paper's two stages (Sec. 4.1): a trained SN's checkpoint loaded into SSN layers is
    fixed to its argmax from the first iteration on, and only the weights go on learning. Layers
    whose logits are equal, as without such a checkpoint, are refused by the hook.

    Args:
        progress: How much of the training is done; does not matter.
        radius: Euclidean distance on the simplex plane.
    """
    return radius


def exponential(progress: float, start: float = 1.0, end: float = 0.1) -> float:
    """From ``start`` to ``end`` by the same factor in every step; for temperatures.

    Args:
        progress: How much of the training is done, in [0, 1].
        start: Value at the start, above 0.
        end: Value at the end, above 0.
    """
    return start * (end / start) ** progress


SCHEDULES: dict[str, Callable[..., float]] = {
    'linear': linear,
    'linear_through': linear_through,
    'constant': constant,
    'exponential': exponential,
}


def build_schedule(schedule: str | dict | Schedule) -> Schedule:
    """Makes a function of progress from what a config says.

    Args:
        schedule: A name of ``SCHEDULES``, a dict of ``type`` (such a name, or a function) and
            further arguments, or a function of progress itself.

    Raises:
        TypeError: ``schedule`` is none of these, or the arguments do not fit the function.
        ValueError: The name is unknown.
    """
    options = dict(schedule) if isinstance(schedule, dict) else {'type': schedule}
    kind = options.pop('type', None)
    if isinstance(kind, str) and kind not in SCHEDULES:
        raise ValueError(f'unknown schedule {kind!r}; there are {sorted(SCHEDULES)}')
    function = SCHEDULES[kind] if isinstance(kind, str) else kind
    if not callable(function):
        raise TypeError(f'a schedule is a name, a dict with a type or a function, got {schedule!r}')
    return lambda progress: function(progress, **options)


def check_schedule(schedule: Schedule, circumscribed: float) -> None:
    """Checks that the radius starts at 0 or above, never shrinks and reaches r_c.

    Raises:
        ValueError: It does not.
    """
    radii = [schedule(step / 100) for step in range(101)]
    if not all(0 <= r < float('inf') for r in radii):
        raise ValueError(f'the radius must be a finite number >= 0, the schedule gives {radii}')
    if any(later < earlier - 1e-9 for earlier, later in pairwise(radii)):  # but for rounding
        raise ValueError(f'the radius must not shrink during training, the schedule gives {radii}')
    if radii[-1] < circumscribed:
        raise ValueError(
            f'the radius ends at {radii[-1]:.4g} and never reaches r_c = {circumscribed:.4g}, so '
            'layers would never select; let the schedule end at 1'
        )
