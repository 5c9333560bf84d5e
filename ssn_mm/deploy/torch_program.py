"""Runs the programs of torch.export that ``export_program`` writes."""

import importlib
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..commands import in_a_line

META_FILE = 'ssn_mm.json'  # inside the .pt2
INT8_OPERATORS = 'torch.ao.quantization.fx._decomposed'  # programs in int8 need its import


class TorchProgram:
    """A network in a .pt2 file, as a function on tensors, run by PyTorch.

    Args:
        source: The file, or its bytes. PyTorch may run code of it when it loads it.

    Attributes:
        meta: What was given at export: ``classes``, the names of the classes, ``task``, and
            ``measures``, see :func:`ssn_mm.layers.layers_that_measure`; and the ``precision`` and
            the ``preprocessing`` of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a program of torch.export.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        with suppress(ModuleNotFoundError):  # of a PyTorch that has moved them
            importlib.import_module(INT8_OPERATORS)
        found = {META_FILE: '{}'}
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        name = 'the program' if isinstance(source, bytes) else str(source)
        if isinstance(file, str) and not Path(file).is_file():
            raise FileNotFoundError(f'no program {name!r}; tools/deploy.py writes it')
        try:
            self._module = torch.export.load(file, extra_files=found).module()
        except Exception as error:  # of a zip file, of JSON, of a schema, of sympy
            raise ValueError(
                f'{name} is not a program of torch.export that this PyTorch, {torch.__version__}, '
                f'loads: {in_a_line(error)}'
            ) from error
        self.meta: dict[str, Any] = json.loads(found[META_FILE])

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's outputs for ``inputs``, of the kind that the file takes."""
        with torch.no_grad():
            return self._module(inputs)
