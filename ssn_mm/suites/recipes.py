"""Recipes: for each norm the overrides that a search found to be best, in a file that suites name.

A search is a suite whose variants are recipes, such as rates; pick_recipes.py of the tools writes
the best variant of each label into a JSON file:

.. code:: json

    {"search": "search_32_digits", "metric": "top-1", "recipes": {
        "BN": {"name": "0.004", "value": 95.1, "options": {"optim_wrapper.optimizer.lr": 0.004}}}}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..commands import command

KEYS = ('name', 'value', 'options')  # of a recipe: the variant's name, its metric, its overrides


def read_recipes(path: Path) -> dict[str, Mapping[str, Any]]:
    """Overrides by label, from a file that pick_recipes.py of the tools has written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of recipes.
    """
    search = search_of(path)
    pick = command('analysis_tools/pick_recipes.py', search, '--out', path)
    if not path.is_file():
        train = command('run_suite.py', search)
        raise FileNotFoundError(
            f'no recipes at {path}; train its search and pick them:\n    {train}\n    {pick}'
        )
    try:
        recipes = json.loads(path.read_bytes())['recipes']
        wrong = [label for label, own in recipes.items() if set(own) != set(KEYS)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} holds no recipes ({error!r}); write it again:\n    {pick}'
        ) from None
    if wrong:
        raise ValueError(f'{path}: the recipe of {wrong[0]} must have {", ".join(KEYS)}')
    return {label: own['options'] for label, own in recipes.items()}


def search_of(path: Path) -> Path:
    """The suite that searches a file's recipes, by its name.

    It lies in the folder above and is called by words of the file's name and 'search', as many as
    there are: that of ``recipes/resnet_32_digits.json`` is ``search_32_digits.py``. Where there is
    none, it is ``SEARCH.py``, for a name to put in.
    """
    words = {*path.stem.split('_'), 'search'}
    suites = path.parent.parent.glob('*search*.py')
    fit = [suite for suite in suites if words.issuperset(suite.stem.split('_'))]
    return max(fit, key=lambda suite: len(suite.stem), default=Path('SEARCH.py'))
