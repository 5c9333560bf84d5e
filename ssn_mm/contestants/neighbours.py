"""What a norm does to the layers around it, done to a network that has been built.

OpenMMLab's blocks hard-code the convolution before a norm and the activation after it, which often
is one module for all norms of a block and for the residual sum. So the network is run and watched:
convolutions whose output a norm reads are standardized where that norm asks for it, and an
activation that reads the output of a norm which is one itself passes it on.
"""

import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .record import ACTIVATES, STANDARDIZES
from .registry import registered
from .standardized import check_standardizable, make_standardized
from .watch import Call, Watch

_DONE = '_neighbours_arranged'


@dataclass(frozen=True)
class Arrangement:
    """What :func:`arrange` has done, by the names of modules.

    Attributes:
        standardized: Convolutions that standardize their weight now.
        spared: Activations that pass on what a norm has activated.
        without_activation: Norms that no activation followed, so that they do not activate.
        without_convolution: Norms that ask for a standardized convolution and follow none.
    """

    standardized: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    without_activation: list[str] = field(default_factory=list)
    without_convolution: list[str] = field(default_factory=list)


class Sparing(nn.Module):
    """An activation that passes on what a norm has activated already, and acts on all else.

    Args:
        act: The activation.
    """

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x`` as another object, or activated."""
        # a residual sum may be written into what is returned, and is then to be activated
        return x.view_as(x) if getattr(x, 'is_activated', False) else self.act(x)


def mark_activated(module: nn.Module, args: Any, output: Tensor) -> None:
    """Hook of a norm that is an activation: tells :class:`Sparing` so."""
    output.is_activated = True  # type: ignore[attr-defined]


@torch.no_grad()
def arrange(model: nn.Module, *inputs: Any) -> Arrangement:
    """Does to the neighbours of a network's norms what these norms ask for, in place.

    ``model(*inputs)`` is run once, in evaluation. A network of OpenMMLab is arranged when it is
    built; one of your own is arranged by this call, before its optimizer is made: a norm that no
    activation follows loses the parameters of its own. A second call changes nothing.

    Args:
        model: The network.
        *inputs: One typical input.

    Raises:
        ValueError: A convolution cannot be standardized; or an activation after such a norm is a
            call of a function, or follows only some calls of that norm. Nothing is changed.
    """
    return _arrange(model, lambda: model(*inputs))


def arrange_built(model: nn.Module) -> None:
    """Arranges a network of OpenMMLab that has just been built, by an input of noise.

    Backbone, neck and then each head that has such norms are run; the size of pictures is 64.

    Raises:
        ValueError: As :func:`arrange`; or a norm was not reached, or the run failed.
    """
    pending = _pending(model)
    if not pending or not hasattr(model, 'backbone'):
        return
    try:
        done = _arrange(model, lambda: run_parts(model, pending))
    except Exception as error:
        raise ValueError(
            f'{type(model).__name__} cannot be run to see what is around '
            f'{next(iter(pending.values()))}: {error}'
        ) from error
    if left := _pending(model):
        raise ValueError(
            f'what is around {", ".join(left.values())} was not seen when '
            f'{type(model).__name__} was run; another norm has to be taken there'
        )
    if free := done.without_convolution:
        warnings.warn(
            f'{len(free)} norms that standardize the convolution before them follow none, such as '
            f'{free[0]}; convolutions elsewhere in {type(model).__name__} stay as they are',
            stacklevel=2,
        )


def _effects(layer: nn.Module) -> tuple[str, ...]:
    """What a layer does to its neighbours, if it is a contestant's."""
    for contestant in registered():
        if contestant.neighbours and type(layer) in contestant.layers:
            return tuple(contestant.neighbours)
    return ()


def _pending(model: nn.Module) -> dict[nn.Module, str]:
    """The norms whose neighbours are still to be arranged, with their names."""
    return {
        module: name or type(module).__name__
        for name, module in model.named_modules()
        if not getattr(module, _DONE, False) and _effects(module)
    }


def run_parts(model: Any, norms: Container[nn.Module], batch: int = 2, size: int = 64) -> None:
    """Runs a network of OpenMMLab on noise: backbone and neck, and each head that has such norms.

    Args:
        model: The network.
        norms: The norms that are to be reached.
        batch: Number of pictures, or of clips of eight frames.
        size: Height and width in pixels.
    """
    first = next(m for m in model.backbone.modules() if isinstance(m, _ConvNd))
    batch *= getattr(model.backbone, 'num_segments', 1)  # TSM has those of a video in its batch
    shape = (batch, first.in_channels, *[8] * (isinstance(first, nn.Conv3d)), size, size)
    features = model.backbone(torch.randn(shape).to(first.weight))
    if getattr(model, 'neck', None) is not None:
        features = model.neck(features)
    for name, part in model.named_children():
        if name in ('backbone', 'neck') or not any(module in norms for module in part.modules()):
            continue
        outputs: list[Any] = []
        for head in part if isinstance(part, nn.ModuleList) else [part]:
            refines = 'prev_output' in signature(head.forward).parameters  # of a cascade
            outputs = [head(features, *(outputs if refines else ()))]


def _arrange(model: nn.Module, run: Callable[[], object]) -> Arrangement:
    pending = _pending(model)
    if not pending:
        return Arrangement()
    watch = Watch(pending)
    with _in_evaluation(model), watch.hooks(model), watch:
        run()
    names = {module: name for name, module in model.named_modules()}
    calls = {norm: [c for c in watch.calls if c.norm is norm] for norm in pending}
    reached = {norm: own for norm, own in calls.items() if own}
    activating = [norm for norm in reached if ACTIVATES in _effects(norm)]
    acts = {norm: _after(names[norm], reached[norm]) for norm in activating}
    asking = [norm for norm in reached if STANDARDIZES in _effects(norm)]
    before = {norm: {call.before for call in reached[norm]} for norm in asking}
    convolutions = dict.fromkeys(c for own in before.values() for c in own if c is not None)
    for layer in convolutions:
        check_standardizable(names[layer], layer)
    # all has been checked; from here on the network is changed
    for layer in convolutions:
        make_standardized(layer)
    for norm, act in acts.items():
        if act is None:
            norm.without_activation()  # type: ignore[operator]
        else:
            norm.register_forward_hook(mark_activated)
    spared = [act for act in dict.fromkeys(acts.values()) if act is not None]
    for act in spared:
        on_others = any(c.after is act and c.norm not in acts for c in watch.calls)
        shared = act in watch.other or on_others
        _replace(model, act, Sparing(act) if shared else nn.Identity())
    for norm in reached:
        setattr(norm, _DONE, True)
    return Arrangement(
        [names[layer] for layer in convolutions],
        [names[act] for act in spared],
        [names[norm] for norm, act in acts.items() if act is None],
        [names[norm] for norm, own in before.items() if None in own],
    )


def _after(name: str, calls: list[Call]) -> nn.Module | None:
    """The activation that follows a norm; None if none does."""
    if functions := [call.function for call in calls if call.function]:
        raise ValueError(
            f'{name} {ACTIVATES}, and the network calls {functions[0]} there as a function, which '
            'cannot be left out; give it a module such as nn.ReLU'
        )
    found = {call.after for call in calls}
    if len(found) > 1:
        raise ValueError(
            f'{name} {ACTIVATES}, and it is called {len(calls)} times, after which different or no '
            'activations follow; give each call a norm of its own'
        )
    return found.pop()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is old and parent is not new:
                setattr(parent, name, new)


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    """Leaves modes, running statistics and the random numbers as they were."""
    modes = {module: module.training for module in model.modules()}
    devices = {p.device for p in model.parameters() if p.device.type == 'cuda'}
    try:
        with torch.random.fork_rng(list(devices)):
            for module in modes:
                module.training = False
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
