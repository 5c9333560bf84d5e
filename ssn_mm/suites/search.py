"""What a search found: for each label of a suite the best of its variants."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .results import Results


def best_recipes(results: Results, variants: Mapping[str, Any]) -> dict[str, Any]:
    """The best variant of each label, as the content of a file of recipes.

    It is the one of the best mean over the seeds; of equal ones, the first.

    Args:
        results: The results of the search.
        variants: Its variants, overrides by name.

    Raises:
        ValueError: A label lacks variants, so that its search would be a smaller one.
    """
    found = {}
    for label in results.labels():
        if lacking := [name for name in variants if not results.values(label, name)]:
            raise ValueError(
                f'{label} has no result with {", ".join(lacking)}; train the rest of '
                f'{results.name}, so that every label has the same trials'
            )
        means = {name: float(np.mean(results.values(label, name))) for name in variants}
        best = (min if results.rule == 'less' else max)(means, key=means.__getitem__)
        found[label] = dict(name=best, value=round(means[best], 2), options=variants[best])
    return dict(search=results.name, metric=results.main, recipes=found)
