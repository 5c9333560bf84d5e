"""An HTML page that sorts and filters the runs of a study, and needs no network."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from ..suites.study import StudyRun

PAGE = Path(__file__).with_name('results.html.j2')
OURS = 'ours'
FILTERS = ('suite', 'label', 'norm', 'selector', 'variant', 'batch', 'seed')
# what a column of the page is called, whether it is a number, and how many digits it has
COLUMNS: dict[str, dict[str, Any]] = {
    **{name: dict(title=name) for name in ('suite', 'label', 'norm', 'selector', 'variant')},
    'batch': dict(title='batch', number=True),
    'seed': dict(title='seed', number=True),
    'metric': dict(title='metric'),
    'value': dict(title='value', number=True, digits=2),
    'curve': dict(title='curve'),
    'selected': dict(title='selected'),
    'minutes': dict(title='minutes', number=True, digits=1),
    'milliseconds': dict(title='ms / iteration', number=True, digits=1),
    'memory': dict(title='MiB', number=True, digits=0),
    'device': dict(title='device'),
    'date': dict(title='date'),
}


def results_page(
    ours: Sequence[StudyRun], others: Mapping[str, Sequence[StudyRun]], files: Sequence[str] = ()
) -> str:
    """The page as HTML.

    Args:
        ours: The runs of the study.
        others: Runs of others by the name of their file, which are shown apart.
        files: Files beside the page that have the study's runs, which it links to.
    """
    sources = {OURS: ours, **others}
    data = dict(
        columns=[dict(name=name, **about) for name, about in COLUMNS.items()],
        runs=[_shown(source, run) for source, runs in sources.items() for run in runs],
    )
    text = json.dumps(data, separators=(',', ':'), ensure_ascii=False, allow_nan=False)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(PAGE.read_text(encoding='utf-8')).render(
        data=Markup(text.replace('<', '\\u003c')),  # no text of a run can end the script
        filters=FILTERS,
        sources=list(sources),
        files=files,
    )


def _shown(source: str, run: StudyRun) -> dict[str, Any]:
    """What the page has of a run, by column."""
    found: dict[str, Any] = {name: getattr(run, name, None) for name in COLUMNS}
    pairs = list((run.selection or {}).values())
    counts = Counter(name or 'none' for pair in pairs for name in pair)
    found |= dict(
        source=source,
        curve=run.curves.get(run.metric),
        selected=', '.join(f'{name} {count}' for name, count in counts.most_common()) or None,
        minutes=_times(run.seconds, 1 / 60),
        milliseconds=_times(run.seconds_per_iteration, 1e3),
        details=_details(run),
    )
    return found


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _details(run: StudyRun) -> str:
    """What is shown below the line of a run, in words."""
    parts = [
        f'{run.run}, {run.config}',
        ', '.join(f'{name} {value:g}' for name, value in run.metrics.items()),
        ', '.join(f'{name} {version}' for name, version in run.versions.items()),
        f'data {run.data}' if run.data else '',
        ', '.join(
            f'{layer}: {mean or "none"} and {var or "none"}'
            for layer, (mean, var) in (run.selection or {}).items()
        ),
    ]
    return '. '.join(part for part in parts if part) + '.'
