"""Shows by one training that a change of the code changes no result."""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .job import Result, check_own, read_result, write_result
from .plan import Stale, stale_results
from .suite import Run, Suite


def certify(
    suite: Suite,
    folder: Path,
    train: Callable[[Sequence[Run], Callable[[Run], Path]], None],
) -> None:
    """Gives results that differ from today's provenance in code alone today's provenance.

    Of the results of one code, one run is trained again: the cheapest of those with SSN layers,
    which execute most of the package, if there are any. If it reaches what is recorded, to the
    last digit of metrics, curves and ratios and, where they are recorded, to the last bit of the
    trained weights, all of them are certified: each result gets today's provenance, and an entry
    of its list ``certified`` with the ``provenance`` that it had, the run that was trained again
    (``by``), and the ``environment`` of that training. For the others this is evidence and no
    proof, as they were not trained again themselves.

    Args:
        suite: The suite.
        folder: The folder of its runs.
        train: Trains runs, each in the folder that a function tells.

    Raises:
        ValueError: A run reached something else, or failed; says what differs. Its results are as
            they were, those of other code may be certified.
    """
    groups: dict[str, list[Stale]] = {}
    for stale in stale_results(suite, folder):
        if stale.differing.keys() == {'code'}:
            groups.setdefault(stale.result['provenance']['code'], []).append(stale)

    def place(run: Run) -> Path:
        return folder / f'{run.name}.certify'  # beside the run that it may start from

    first = [min(group, key=_cost) for group in groups.values()]
    for stale in first:
        check_own(place(stale.run))
    train([stale.run for stale in first], place)
    told = []
    for own, group in zip(first, groups.values(), strict=True):
        again = read_result(place(own.run)) or {}
        if again.get('status') != 'done':
            told.append(f'{own.run.name} failed ({again.get("error")}), see {place(own.run)}')
        elif found := unequal(own.result, again):
            told.append(f'{own.run.name} reached something else ({"; ".join(found)})')
        else:
            for stale in group:
                _certify(stale, folder / stale.run.name, own.run.name, again)
            shutil.rmtree(place(own.run))
    if told:
        raise ValueError(
            f'results are not certified: trained again with the present code, {", ".join(told)}. '
            'Train all that are stale again with --stale rerun'
        )


def unequal(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """What differs between two results of one run, in words; empty if they are equal."""
    told = [
        f'{key}: {json.dumps(again[key])} in place of {json.dumps(recorded[key])}'
        for key in ('data', 'metrics')
        if _text(recorded[key]) != _text(again[key])
    ]
    for name in recorded['curves'].keys() | again['curves'].keys():
        old, new = recorded['curves'].get(name), again['curves'].get(name)
        if _text(old) != _text(new):
            told.append(f'the curve of {name}{_from(_points(old), _points(new))}')
    old, new = recorded['ratios'], again['ratios']
    if _text(old) != _text(new):
        told.append(f'the ratios{_from(_records(old), _records(new))}')
    if (old := recorded.get('trained')) and old != again.get('trained'):
        told.append('the trained weights')
    return sorted(told)


def _cost(stale: Stale) -> tuple[bool, bool, float]:
    ratios = stale.result['ratios']
    selects = ratios is not None and ratios['radius'][-1] is not None
    return stale.run.after is not None, not selects, stale.result.get('seconds') or math.inf


def _certify(stale: Stale, folder: Path, by: str, again: Result) -> None:
    earlier = stale.result.get('certified', [])
    own = dict(provenance=stale.result['provenance'], by=by, environment=again['environment'])
    write_result(folder, stale.result | dict(provenance=stale.now, certified=[*earlier, own]))


def _text(value: Any) -> str:
    """A value as JSON: equal texts are equal to the last bit, NaN too."""
    return json.dumps(value, sort_keys=True)


def _points(curve: Sequence[Sequence[float]] | None) -> list[tuple[Any, str]]:
    return [(at, _text(value)) for at, value in zip(*(curve or ([], [])), strict=True)]


def _records(packed: Mapping[str, Any] | None) -> list[tuple[Any, str]]:
    if packed is None:
        return []
    return [(at, _text(own)) for at, own in zip(packed['iters'], packed['ratios'], strict=True)]


def _from(old: Sequence[tuple[Any, str]], new: Sequence[tuple[Any, str]]) -> str:
    """The iteration from which two records differ, in words; '' if none can be named."""
    first = next((at for (at, a), b in zip(old, new, strict=False) if (at, a) != b), None)
    return '' if first is None else f' from iteration {first} on'
