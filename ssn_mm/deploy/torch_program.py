"""Runs the programs of torch.export that ``export_program`` writes."""

import importlib
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

META_FILE = 'ssn_mm.json'  # inside the .pt2
INT8_OPERATORS = 'torch.ao.quantization.fx._decomposed'  # programs in int8 need its import


class TorchProgram:
    """A network in a .pt2 file, as a function on tensors, run by PyTorch.

    Args:
        source: The file, or its bytes.

    Attributes:
        meta: What was given at export: ``classes``, the names of the classes, ``task``, and
            ``measures``, see :func:`ssn_mm.layers.layers_that_measure`; and the ``precision`` and
            the ``preprocessing`` of the file.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        with suppress(ModuleNotFoundError):  # of a PyTorch that has moved them
            importlib.import_module(INT8_OPERATORS)
        found = {META_FILE: '{}'}
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        self._module = torch.export.load(file, extra_files=found).module()
        self.meta: dict[str, Any] = json.loads(found[META_FILE])

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's outputs for ``inputs``, of the kind that the file takes."""
        with torch.no_grad():
            return self._module(inputs)
