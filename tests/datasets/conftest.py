import gc

import pytest


@pytest.fixture(scope='module', autouse=True)
def _little_garbage():
    """mmengine collects garbage with each dataset, through all that imports have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
