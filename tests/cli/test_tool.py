"""How a tool ends: exit codes and messages."""

import pytest
from mmengine.dataset import BaseDataset

from ssn_mm.cli.tool import run_tool


@pytest.mark.parametrize(
    ('error', 'code'), [(KeyboardInterrupt(), 130), (SystemExit(3), 3), (ValueError(), None)]
)
def test_a_tool_ends_with_130_after_an_interrupt_only(error, code):
    def main():
        raise error

    with pytest.raises(SystemExit if code else ValueError) as caught:
        run_tool(main)
    assert code is None or caught.value.code == code


def test_ctrl_c_at_any_moment_ends_with_exit_code_130(capsys):
    def formatting():  # as mmengine does it
        try:
            raise KeyboardInterrupt
        except BaseException as error:
            raise SyntaxError('Failed to format the config file') from error

    with pytest.raises(SystemExit) as stop:
        run_tool(formatting)
    assert stop.value.code == 130
    assert 'Interrupted' in capsys.readouterr().err


@pytest.mark.parametrize('code', [None, 0, 1])
def test_what_a_tool_returns_is_its_exit_code(code):
    with pytest.raises(SystemExit) as stop:
        run_tool(lambda: code)
    assert stop.value.code == code


class NoPictures(BaseDataset):
    def load_data_list(self):
        return []


def test_a_dataset_without_samples_is_told_with_what_it_reads(capsys):
    with pytest.raises(SystemExit, match='2'):
        run_tool(lambda: NoPictures(ann_file='lists/none.txt', data_prefix=dict(img='here')))
    told = capsys.readouterr().err
    assert 'error: a NoPictures of the config finds no samples, with' in told
    assert 'lists/none.txt' in told
    assert "data_prefix {'img': 'here'}" in told
