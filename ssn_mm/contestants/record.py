"""What is stated of a norm that is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

STANDARDIZES = 'standardizes the convolution before it'
ACTIVATES = 'is the activation after it'
EFFECTS = (STANDARDIZES, ACTIVATES)
EPS = 1e-5  # which mmcv gives every norm whose norm_cfg has no other


@dataclass(frozen=True, kw_only=True, eq=False)
class Contestant:
    """A norm that suites, tables, figures and benchmarks can compare with the others.

    Attributes:
        name: What tables and ``--norms`` call it.
        layer: The class of its layers, or a pair of classes for maps (N, C, H, W) and
            (N, C, T, H, W). It takes the number of channels, the options of ``norm_cfg`` and eps.
        norm_cfg: The ``norm_cfg`` of a config that asks for it on maps (N, C, H, W).
        norm_cfg_3d: The same for maps (N, C, T, H, W), if another.
        cost: What it measures of a map, and what it has beside γ and β, in words.
        start: The value that each of its parameters has at first, by name.
        deploys: What a trained layer becomes, in words.
        neighbours: What it does to the layers around it, out of :data:`STANDARDIZES` and
            :data:`ACTIVATES`; the second needs a method ``without_activation()`` of ``layer``.
        hooks: What a config that trains it has among its ``custom_hooks``.
        module: The module that registered it, which a config imports.
    """

    name: str
    layer: type[nn.Module] | tuple[type[nn.Module], type[nn.Module]]
    norm_cfg: Mapping[str, Any]
    cost: str
    start: Mapping[str, float]
    deploys: str
    neighbours: Sequence[str]
    norm_cfg_3d: Mapping[str, Any] | None = None
    hooks: Sequence[Mapping[str, Any]] = ()
    module: str = ''

    @property
    def layers(self) -> tuple[type[nn.Module], type[nn.Module]]:
        """The classes of its layers for maps of two and of three spatial dimensions."""
        return self.layer if isinstance(self.layer, tuple) else (self.layer, self.layer)

    @property
    def types(self) -> set[str]:
        """The names of its types in configs."""
        return {self.config(rank)['type'] for rank in (2, 3)}

    def config(self, rank: int = 2, **options: Any) -> dict[str, Any]:
        """Its ``norm_cfg``.

        Args:
            rank: 2 for maps (N, C, H, W), 3 for maps (N, C, T, H, W).
            **options: Values that replace those of the same name; names that it lacks are left
                out, so that ``num_groups`` may be given to all contestants alike.
        """
        stated = self.norm_cfg_3d if rank == 3 and self.norm_cfg_3d else self.norm_cfg
        return {**stated, **{key: value for key, value in options.items() if key in stated}}

    def build(
        self, num_features: int, rank: int = 2, default_eps: float = EPS, **options: Any
    ) -> nn.Module:
        """A layer for maps of ``num_features`` channels, as mmcv builds it.

        Args:
            num_features: Number of channels.
            rank: As for :meth:`config`.
            default_eps: ε where ``norm_cfg`` has none.
            **options: As for :meth:`config`.

        Raises:
            ValueError: The layer cannot have so many channels.
        """
        own = self.config(rank, **options)
        del own['type']
        kind = self.layers[rank - 2]
        first = {'num_channels': num_features} if kind is nn.GroupNorm else {}
        try:
            return kind(*(() if first else (num_features,)), **first, **{'eps': default_eps, **own})
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{self.name} cannot serve {num_features} channels with {own}: {error}'
            ) from error

    def check(self) -> None:
        """Checks every part, and a layer of 64 channels against what is stated of it.

        Raises:
            ValueError: A part is of the wrong kind, or the layer is not as stated.
        """
        words = [self.name, self.cost, self.deploys]
        if not all(isinstance(text, str) and text.strip() for text in words):
            raise ValueError(f'name, cost and deploys must be texts, got {words}')
        kinds = self.layer if isinstance(self.layer, tuple) else (self.layer,)
        if not all(isinstance(kind, type) and issubclass(kind, nn.Module) for kind in kinds):
            raise ValueError(f'{self.name}: layer must be a class of modules, got {self.layer!r}')
        for cfg in filter(lambda own: own is not None, (self.norm_cfg, self.norm_cfg_3d)):
            if not isinstance(cfg, Mapping) or not isinstance(cfg.get('type'), str):
                raise ValueError(f"{self.name}: norm_cfg must be a dict(type='NAME'), got {cfg!r}")
        if isinstance(self.neighbours, str) or set(self.neighbours) - set(EFFECTS):
            raise ValueError(
                f'{self.name}: neighbours must be a list out of {EFFECTS}, got {self.neighbours!r}'
            )
        for kind in kinds if ACTIVATES in self.neighbours else ():
            if not callable(getattr(kind, 'without_activation', None)):
                raise ValueError(
                    f'{self.name} {ACTIVATES}, so {kind.__name__} needs a method '
                    'without_activation(), for places where no activation follows'
                )
        for rank in (2, 3):
            self._check_start(self.build(64, rank))

    def _check_start(self, layer: nn.Module) -> None:
        own = dict(layer.named_parameters())
        if set(own) != set(self.start):
            raise ValueError(
                f'{self.name}: start names {sorted(self.start)}, the layer has {sorted(own)}'
            )
        for key, value in self.start.items():
            if not torch.equal(own[key], torch.full_like(own[key], value)):
                raise ValueError(
                    f'{self.name}: start says {key} = {value}, the layer has {own[key].tolist()}'
                )
