"""Recipes are found on pictures that have nothing in common with those that results are of."""

import pytest

from ssn_mm.datasets.digits import drawing
from ssn_mm.datasets.digits.classification import write_classification
from ssn_mm.datasets.digits.drawing import split_glyphs, write_segmentation

SMALL = dict(num_train=12, num_val=12, size=64, progress=False)


def glyphs(split):
    return {glyph.tobytes() for glyph in split[0]}


def test_tuning_sees_no_glyph_that_results_are_reported_of():
    reported, tuned = split_glyphs(0), split_glyphs(0, tuning=True)
    train, val = glyphs(tuned['training']), glyphs(tuned['validation'])
    assert train | val == glyphs(reported['training'])
    assert not train & val
    assert not val & glyphs(reported['validation'])
    assert len(val) / len(train | val) == pytest.approx(drawing.VAL_FRACTION, abs=0.01)


@pytest.mark.parametrize('write', [write_classification, write_segmentation])
def test_no_picture_of_tuning_is_one_that_results_are_of(write, tmp_path):
    def pictures(root):
        return {path.read_bytes() for path in root.rglob('*.[jJ][pP]*')}

    reported, tuned = write(tmp_path / 'a', **SMALL), write(tmp_path / 'b', **SMALL, tuning=True)
    assert len(pictures(reported)) == len(pictures(tuned)) == 24
    assert not pictures(reported) & pictures(tuned)
    with pytest.raises(ValueError, match='was written with'):
        write(tmp_path / 'a', **SMALL, tuning=True)
