"""Examples run as they stand, in a shorter form."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / 'examples'


def test_the_search_selects_an_operation_for_every_edge():
    pytest.importorskip('sklearn')
    script = EXAMPLES / 'operation_search.py'
    assert len(script.read_text(encoding='utf-8').splitlines()) < 100
    command = [sys.executable, str(script), '--epochs', '1']
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    logged = (EXAMPLES / 'operation_search.log').read_text(encoding='utf-8')
    for text in (said, logged):
        assert re.search(r'radius 1\.00  operations  6  test accuracy 0\.\d+', text)
        assert len(re.findall(r'^edge \d-\d: \w', text, re.M)) == 6
