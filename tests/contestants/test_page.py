"""docs/contestants.md: its table, and its example as it stands."""

import re
from pathlib import Path

from ssn_mm.contestants import contestants

PAGE = Path(__file__).parents[2] / 'docs/contestants.md'
PLACE = re.compile(r'(<!-- contestants -->\n)(.*?)(<!-- end -->)', re.DOTALL)


def test_the_table_is_what_contestants_state():
    head = ['`--norms`', '`norm_cfg`', 'what it measures and has', 'deployed', 'its neighbours']
    lines = [head, ['---'] * len(head)]
    for own in contestants().values():
        options = ', '.join(f'{key}={value!r}' for key, value in own.norm_cfg.items())
        effects = ', '.join(own.neighbours)
        lines.append([own.name, f'`dict({options})`', own.cost, own.deploys, effects])
    text = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    found = PLACE.search(PAGE.read_text(encoding='utf-8'))[2]
    assert found == f'\n{text}\n\n', f'the table should be\n{text}'
