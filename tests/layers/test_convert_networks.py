"""Networks of other libraries are converted, trained, frozen and folded."""

import warnings

import architectures
import pytest

# a library of networks takes seconds to import, and its warnings are its own
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.mark.parametrize(('library', 'name'), architectures.names())
def test_a_converted_network_gives_the_same_outputs_trains_and_deploys(library, name, long):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pytest.importorskip(library)
    every = long or name in ('resnet18', 'FPN')
    found = architectures.check(library, name, architectures.SELECTIONS[: None if every else 1])
    assert found['converted'] > 3
    assert found['kept'] < 1e-10
    assert found['moved'] == found['used']
    assert found['frozen'] < 1e-9
    assert found['folded'] < 1e-9
