import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def fresh_python():
    """Runs code in a fresh interpreter; returns what it printed last, as JSON."""

    def run(code, path=''):
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', f'import json, sys\n{textwrap.dedent(code)}'],
            env=os.environ | {'PYTHONPATH': f'{path}:{ROOT}'},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
