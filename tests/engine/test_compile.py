"""torch.compile of a whole network, through a training in which its layers select."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from ssn_mm import SSN, keep_selected, set_radius
from ssn_mm.layers import ssn_layers

LOGITS = [
    [[1.0, 0, 0], [0, 0, 1]],
    [[0.4, 1, 0.3], [0, 0.1, 0.9]],
]  # the first has selected from the start


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), SSN(4), nn.ReLU(), SSN(4), nn.Flatten(), nn.Linear(64, 2)]
    with torch.no_grad():
        for layer, logits in zip((layers[1], layers[3]), LOGITS, strict=True):
            layer.ratio_logits.copy_(torch.tensor(logits))
    return nn.Sequential(*layers)


def train(model, forward, iters=20):
    """Returns selections and loss after each iteration."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    labels, seen = torch.arange(4) % 2, []
    for i in range(iters):
        set_radius(model, i / (iters - 1))
        x = torch.randn(4, 3, 6, 6) + labels[:, None, None, None]
        loss = nn.functional.cross_entropy(forward(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep_selected(model)
        seen.append(([layer.selected for _, layer in ssn_layers(model)], loss.item()))
    return seen


def test_a_compiled_network_selects_as_without_and_is_compiled_no_more_as_it_does():
    torch.compiler.reset()
    eager, model = network(), network()
    counter = CompileCounterWithBackend('aot_eager')
    expected, seen = train(eager, eager), train(model, torch.compile(model, backend=counter))
    selections = [own for own, _ in seen]
    assert selections == [own for own, _ in expected]
    assert [loss for _, loss in seen] == pytest.approx([loss for _, loss in expected], abs=1e-5)
    until = [sum(None in rows[i] for rows in selections) for i in range(2)]
    assert until[0] != until[1]  # so each selection could have asked for a graph of its own
    assert all(None not in rows for rows in selections[-1])
    assert counter.frame_count <= 2  # the second once the rank of the input is known
    for name, parameter in eager.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, msg=name)
