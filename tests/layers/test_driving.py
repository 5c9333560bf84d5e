"""What becomes of the selection of a loaded network in the training that goes on."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ssn_mm import SSN, keep_selected, set_selection
from ssn_mm.layers import driving


@pytest.fixture
def model():
    """Two layers; the first has selected, the second for its mean only."""
    model = nn.Sequential(SSN(4), nn.ReLU(), SSN(4))
    with torch.no_grad():
        model[0].ratio_logits.copy_(torch.eye(3)[[2, 0]])
        model[2].ratio_logits.copy_(torch.tensor([[0.0, 1, 0], [1, 1, 1.2]]))
    return model


def test_keeping_changes_nothing(model):
    before = [m.ratio_logits.clone() for m in model[::2]]
    model[2].ratio_logits.requires_grad_(False)  # of a stage that is frozen
    set_selection(model, 'keep')
    assert all(torch.equal(m.ratio_logits, b) for m, b in zip(model[::2], before, strict=True))
    assert not model[2].ratio_logits.requires_grad


def test_relearning_starts_every_row_at_the_centre(model):
    model[0].radius.fill_(0.8)
    set_selection(model, 'relearn')
    for layer in model[::2]:
        assert (layer.ratio_logits == 1).all()
        assert layer.radius == 0
        torch.testing.assert_close(layer.ratios(), torch.full((2, 3), 1 / 3))


def test_a_fixed_selection_stops_the_logits_under_any_optimizer(model):
    with pytest.raises(ValueError, match=r'1 SSN layers have not selected, 2\.\.\.'):
        set_selection(model, 'fix')
    with torch.no_grad():
        model[2].ratio_logits.copy_(torch.eye(3)[[1, 1]])
    set_selection(model, 'fix')
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        model(torch.randn(4, 4, 5, 5)).square().sum().backward()
        optimizer.step()
    assert model[0].selected == ('BN', 'IN')
    assert torch.equal(model[2].ratio_logits, torch.eye(3)[[1, 1]])
    set_selection(model, 'relearn')
    assert model[0].ratio_logits.requires_grad


def test_another_word_is_refused(model):
    with pytest.raises(ValueError, match="got 'thaw'"):
        set_selection(model, 'thaw')


class LateEvent:
    """Stands in for a GPU that is behind: no event is over before somebody waits for it."""

    over = False

    def record(self, stream):
        self.over = stream.idle

    def query(self):
        return self.over

    def synchronize(self):
        self.over = True


def test_only_where_statistics_span_processes_the_host_waits_for_selections(monkeypatch):
    """A process that knew more than another would measure no joint batch with it."""
    monkeypatch.setattr(torch.cuda, 'Event', LateEvent)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: SimpleNamespace(idle=False))
    columns = torch.tensor([[0, 1]])
    alone, joint = SSN(4), SSN(4, sync=True)
    assert driving._arrived(alone.selection, columns, wait=False) is None
    assert driving._arrived(joint.selection, columns, wait=True) is None
    assert driving._arrived(alone.selection, columns + 1, wait=False) is None
    assert torch.equal(driving._arrived(joint.selection, columns + 1, wait=True), columns)


class StreamEvent(LateEvent):
    """Stands in for CUDA's event, which without a stream records that of the current device."""

    def record(self, stream=None):
        super().record(stream or torch.cuda.current_stream())


def test_selections_are_awaited_on_the_stream_of_their_own_device(monkeypatch):
    """A model on cuda:1 would else read memory that its selections have not arrived in."""
    streams = {0: SimpleNamespace(idle=True), 1: SimpleNamespace(idle=False)}
    monkeypatch.setattr(torch.cuda, 'Event', StreamEvent)
    monkeypatch.setattr(
        torch.cuda, 'current_stream', lambda device=None: streams[device.index if device else 0]
    )
    layers = SSN(4), SSN(4)  # of one model on two devices
    with FakeTensorMode():
        sent = [torch.empty(1, 2, dtype=torch.int, device=f'cuda:{i}') for i in range(2)]
        for _ in range(2):
            arrived = [driving._arrived(layers[i].selection, sent[i], wait=False) for i in range(2)]
    assert arrived[0] is not None
    assert arrived[1] is None


def test_selections_under_way_are_dropped_where_ratios_start_again():
    """A layer that relearns would else run as what it had selected before."""
    fresh = SSN(4).state_dict()
    for restart in (lambda m: set_selection(m, 'relearn'), lambda m: m.load_state_dict(fresh)):
        layer = SSN(4)
        layer.selection.under_way = (torch.tensor([[2, 2]]), LateEvent())
        restart(layer)
        keep_selected(layer)
        assert layer.selection.under_way is None
        assert layer.selection.names is None


def layer_and_input():
    """A layer that has selected IN for its means and BN for its variances."""
    layer, x = SSN(4), torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        layer.ratio_logits.copy_(torch.eye(3)[[0, 2]])
    return layer, x


def move(layer):
    """Moves both rows off their vertex, as a step with momentum may."""
    with torch.no_grad():
        layer.ratio_logits.copy_(torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]]))


def test_a_row_selected_in_evaluation_mode_is_kept():
    layer, x = layer_and_input()
    layer.eval()
    layer(x).sum().backward()
    move(layer)
    keep_selected(layer)
    assert layer.selected == ('IN', 'BN')


def test_a_recomputation_of_statistics_between_step_and_keeping_loses_no_selection():
    layer, x = layer_and_input()
    layer(x).sum().backward()
    move(layer)
    with torch.no_grad():
        layer(x)  # as PreciseBN does, in training mode
    keep_selected(layer)
    assert layer.selected == ('IN', 'BN')
