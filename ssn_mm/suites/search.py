"""What a search found: for each label of a suite the best of its variants."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .results import Results


def best_recipes(results: Results, variants: Mapping[str, Any]) -> dict[str, Any]:
    """The best variant of each label, as the content of a file of recipes.

    It is the one of the best mean over the seeds; of equal ones, the first. A variant of which a
    training failed, or reached no finite number, was tried and is the worst.

    Args:
        results: The results of the search.
        variants: Its variants, overrides by name.

    Raises:
        ValueError: A label lacks variants, so that its search would be a smaller one; or none of
            its variants worked.
    """
    found = {}
    worst = math.inf if results.rule == 'less' else -math.inf
    for label in dict.fromkeys(row['label'] for row in results.rows):
        tried = {row['variant'] for row in results.rows if row['label'] == label}
        if lacking := [name for name in variants if name not in tried]:
            raise ValueError(
                f'{label} has no result with {", ".join(lacking)}; train the rest of '
                f'{results.name}, so that every label has the same trials'
            )
        means = {name: _mean(results, label, name, worst) for name in variants}
        best = (min if results.rule == 'less' else max)(means, key=means.__getitem__)
        if means[best] == worst:
            raise ValueError(
                f'no training of {label} in {results.name} reached a finite {results.main} with '
                f'{", ".join(variants)}; search other values for it, or leave it out'
            )
        found[label] = dict(name=best, value=round(means[best], 2), options=variants[best])
    return dict(search=results.name, metric=results.main, recipes=found)


def _mean(results: Results, label: str, variant: str, worst: float) -> float:
    """The mean of the main metric over the seeds; the worst if one failed or is no number."""
    rows = [r for r in results.rows if (r['label'], r['variant']) == (label, variant)]
    values = results.values(label, variant)
    fine = len(values) == len(rows) and bool(np.isfinite(values).all())
    return float(np.mean(values)) if fine else worst
