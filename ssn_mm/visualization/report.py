"""One HTML page of a suite's, or a training's, results, which needs no other file."""

from pathlib import Path

from jinja2 import Environment

from ..files import write_atomically
from ..suites.results import Results
from ..suites.tables import failures, mixed, notes, tables
from .layer_shares import plot_layer_shares
from .picture import Picture
from .ratio_figures import ratio_figures
from .run_figures import run_figures

PAGE = Path(__file__).with_name('report.html.j2')


def figures(results: Results) -> list[Picture]:
    """All figures that there is data for."""
    shares = plot_layer_shares(results)
    return [*run_figures(results), *ratio_figures(results), *([shares] if shares else [])]


def write_report(results: Results, folder: Path) -> Path:
    """Writes report.html, and NAME.png and NAME.csv of every figure.

    Args:
        results: The results of a suite or a training.
        folder: The folder to write to; it is made if need be.

    Returns:
        The page.

    Raises:
        ValueError: No run is done.
    """
    shown = [(title, table.cells, note) for title, (table, note) in tables(results).items()]
    pictures = figures(results)
    for picture in pictures:
        picture.write(folder)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(PAGE.read_text(encoding='utf-8')).render(
        results=results,
        pictures=pictures,
        tables=shown,
        warnings=[*notes(results), *mixed(results)],
        failures=list(failures(results)),
        places=places(results),
    )
    page = folder / 'report.html'
    write_atomically(page, html.encode())
    return page


def places(results: Results) -> list[str]:
    """On what the runs were trained, and when, in words; one text for each environment."""
    found: dict[str, list[str]] = {}
    for row in results.done:
        if own := row.get('environment'):
            told = f'{own["device"]}, {own["cores"]} cores, torch {own["torch"]}, '
            told += f'python {own["python"]}, ssn_mm {own["ssn_mm"]}, commit {own["commit"]}'
            found.setdefault(told, []).append(own['date'])
    return [f'{told}, {min(dates)} to {max(dates)}' for told, dates in found.items()]
