import pytest
import torch
from mmengine.model import BaseTTAModel
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from ssn_mm import SSN
from ssn_mm.engine.loaded import refuse_to_run, watch_loading


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 1), SSN(4)
        self.head, self.auxiliary = nn.Conv2d(4, classes, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.norm(self.stem(x)))

    test_step = forward


def unloaded(model, state):
    """Names of the parameters that a state leaves as they are."""
    found = []
    watch_loading(model, state, lambda model, names: found.extend(names))
    _load_checkpoint_to_model(model, dict(state_dict=state))
    return found


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_all_weights_of_its_own_network_are_loaded(prefix):
    state = {f'{prefix}{name}': value for name, value in Net().state_dict().items()}
    assert unloaded(Net(), state) == []


def test_what_is_missing_and_what_has_another_shape_is_found():
    state = Net(classes=5).state_dict()
    del state['stem.weight']
    assert unloaded(Net(), state) == ['stem.weight', 'head.weight', 'head.bias']


def test_buffers_and_what_a_layer_says_is_not_missing_need_no_weights():
    model, state = Net(), Net().state_dict()
    for name in ('norm.running_mean', 'norm.radius', 'head.weight', 'head.bias'):
        del state[name]
    post = lambda module, keys: keys.missing_keys.clear()  # noqa: E731, as LoRA's does
    model.head.register_load_state_dict_post_hook(post)
    assert unloaded(model, state) == []


def test_layers_that_a_network_uses_must_have_weights_and_others_need_none():
    whole, state = Net().eval(), Net().state_dict()
    del state['auxiliary.weight']
    watch_loading(whole, state, lambda model, names: refuse_to_run(model, names, 'of another'))
    _load_checkpoint_to_model(whole, dict(state_dict=state))
    x = torch.randn(2, 3, 4, 4)
    whole(x)
    with pytest.raises(ValueError, match='of another'):
        whole.auxiliary(whole.stem(x))


def test_a_network_wrapped_for_augmentation_is_watched():
    class Wrapped(BaseTTAModel):
        def merge_preds(self, samples):
            return samples

    model = Wrapped(Net())
    state = Net().state_dict()
    del state['head.bias']
    assert unloaded(model, state) == ['head.bias']
