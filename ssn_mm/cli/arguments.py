"""The command line arguments that several tools have."""

import argparse
import os
import re
from typing import Any

from mmengine.config import DictAction

_KEPT = '\0'  # no argument of a command can hold it
_INSIDE = re.compile(r'(?<=[^\s,(\[])(\s+)(?=[^\s,)\]])')


def add_cfg_options(parser: argparse.ArgumentParser, more: str = '') -> None:
    """Adds ``--cfg-options``, overrides of a config, see :class:`KeyValues`.

    Args:
        parser: The tool's parser.
        more: The help after 'override config entries', such as an example.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help=f'override config entries{more}',
    )


def add_work_dir(parser: argparse.ArgumentParser, holds: str = 'logs') -> None:
    """Adds ``--work-dir``, the folder that mmengine's runner writes to.

    Args:
        parser: The tool's parser.
        holds: What it will hold, for the help.
    """
    parser.add_argument('--work-dir', help=f'folder for {holds} (default: work_dirs/<config name>)')


def add_launcher(parser: argparse.ArgumentParser, see: str) -> None:
    """Adds ``--launcher``, and ``--local-rank``, by which older launchers number processes.

    Args:
        parser: The tool's parser.
        see: The script that starts the tool's processes, for the help.
    """
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help=f'who starts the processes, if they are several; see {see}',
    )
    parser.add_argument(
        '--local-rank',
        '--local_rank',
        type=int,
        action=_LocalRank,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-checkpoint``; without it no loader of a tool's process runs a file's code.

    That holds for mmengine's and the MM libraries' loaders, for files from the web too, which
    PyTorch's own ``load_url`` would unpickle in full.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
    parser.add_argument(
        '--trust-checkpoint',
        action=_Trust,
        nargs=0,
        help='let checkpoints run the code that they may hold; only for files whose origin you '
        'trust as you trust a program',
    )


class KeyValues(DictAction):
    """``KEY=VALUE`` as mmengine reads it, where a path with spaces stays what it is.

    mmengine takes every space out of a value. Here those around numbers, words, brackets and
    commas go, those within a word stay.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Reads the values; what is none ends the command with a message."""
        for text in values:
            key, equals, value = text.partition('=')
            if not equals or not key:
                parser.error(f'argument {option_string}: KEY=VALUE is expected, got {text!r}')
            listed = ',' in value or value[:1] + value[-1:] in ('()', '[]')
            if listed and any(
                value.count(pair[0]) != value.count(pair[1]) for pair in ('()', '[]')
            ):
                parser.error(f'argument {option_string}: brackets do not match in {text!r}')
        super().__call__(parser, namespace, [_protected(text) for text in values], option_string)
        setattr(namespace, self.dest, _restored(getattr(namespace, self.dest)))


class _LocalRank(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        os.environ.setdefault('LOCAL_RANK', str(values))


class _Trust(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, True)
        os.environ.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)
        os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'  # PyTorch's, for its default


def _protected(text: str) -> str:
    """A ``KEY=VALUE`` whose spaces within words are another character, which mmengine keeps."""
    key, _, value = text.partition('=')
    value = value.strip().strip('\'"').strip()
    return f'{key}={_INSIDE.sub(lambda found: _KEPT * len(found[1]), value)}'


def _restored(value: Any) -> Any:
    """A value that mmengine has read, with the spaces that :func:`_protected` replaced."""
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_restored, value))
    return value.replace(_KEPT, ' ') if isinstance(value, str) else value
