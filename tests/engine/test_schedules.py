import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssn_mm.engine.schedules import build_schedule, check_schedule, linear, linear_through
from ssn_mm.ops import circumscribed_radius, inscribed_radius

progress = st.floats(0, 1)


def test_linear_goes_from_0_to_1_and_passes_the_papers_points():
    assert linear(0.0) == 0
    assert linear(1.0) == 1
    assert linear(0.41) == pytest.approx(inscribed_radius(3), abs=2e-3)
    assert linear(0.82) == pytest.approx(circumscribed_radius(3), abs=4e-3)


@pytest.mark.parametrize('epoch', [40, 50, 60, 70])
def test_linear_through_reaches_the_inscribed_radius_at_the_papers_epochs(epoch):
    schedule = build_schedule(dict(type='linear_through', at=epoch / 100))
    assert schedule(epoch / 100) == pytest.approx(inscribed_radius(3))
    assert (schedule(0.0), schedule(1.0)) == (0, 1)
    check_schedule(schedule, circumscribed_radius(4))


@given(progress, progress, st.floats(0.01, 0.99))
def test_radii_never_shrink(one, other, at):
    earlier, later = sorted((one, other))
    for schedule in (linear, lambda p: linear_through(p, at, radius=0.4)):
        assert 0 <= schedule(earlier) <= schedule(later) + 1e-12


def test_a_function_is_a_schedule():
    assert build_schedule(lambda p: p**2)(0.5) == 0.25
    assert build_schedule(dict(type=linear, end=0.9))(0.5) == 0.45


@pytest.mark.parametrize(
    ('schedule', 'message'),
    [
        (dict(type='linear', end=0.8), r'ends at 0\.8 and never reaches r_c = 0\.8165'),
        (dict(type='linear', end=-1), 'finite number >= 0'),
        (lambda p: math.nan, 'finite number >= 0'),
        (lambda p: 1 - p, 'must not shrink'),
        (dict(type='linear_through', at=0), r'inside \(0, 1\), got 0'),
    ],
)
def test_a_schedule_that_cannot_select_is_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        check_schedule(build_schedule(schedule), circumscribed_radius(3))


def test_unknown_schedules_are_refused():
    with pytest.raises(ValueError, match=r"'cosine'; there are \['constant', "):
        build_schedule('cosine')
    with pytest.raises(TypeError, match='got 3'):
        build_schedule(3)
