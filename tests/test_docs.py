"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted([ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')])


def test_every_test_that_the_documents_name_exists():
    there = set(re.findall(r'^ *def (test_\w+)', _text((ROOT / 'tests').rglob('*.py')), re.M))
    named = set(re.findall(r'`(test_\w+)`', _text(DOCS)))
    assert len(named) > 50
    assert named <= there


@pytest.mark.parametrize('doc', DOCS, ids=lambda path: path.name)
def test_every_file_and_command_that_the_documents_name_exists(doc):
    text = doc.read_text()
    links = re.findall(r'\]\((?!https?:|#)([^)#]+)', text)
    tools = re.findall(r'\b(?:tools|configs)/[\w/.-]*\w\.(?:py|sh)\b', text)
    assert links or tools
    for path in links:
        assert (doc.parent / path).exists(), path
    for path in tools:
        assert (ROOT / path).exists() or Path(path).stem.isupper(), path


def _text(files):
    return '\n'.join(file.read_text() for file in files)
