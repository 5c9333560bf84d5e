"""Runs the lanes of .ci/run with several Pythons: `nox`, or `nox -s "tests(3.12, onedl)"`.

`nox --list` shows all. A Python that is not installed is skipped.
"""

import shutil

import nox

PYTHONS = ['3.10', '3.11', '3.12', '3.13']
nox.options.default_venv_backend = 'none'  # .ci/run makes the environments


def run(session: nox.Session, lane: str, version: str) -> None:
    interpreter = shutil.which(f'python{version}')
    if interpreter is None:
        session.skip(f'python{version} is not installed')
    session.run('.ci/run', lane, env={'PYTHON': interpreter}, external=True)


@nox.session
def checks(session: nox.Session) -> None:
    """Lint, types and the site."""
    run(session, 'checks', '3.11')


@nox.session
@nox.parametrize('lane', ['openmmlab', 'onedl'], ids=['openmmlab', 'onedl'])
@nox.parametrize('version', PYTHONS, ids=PYTHONS)
def tests(session: nox.Session, version: str, lane: str) -> None:
    """The tests with one Python and one family of OpenMMLab."""
    run(session, lane, version)
