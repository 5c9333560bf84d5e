"""Overrides of a config on the command line."""

import argparse
import re
from typing import Any

from mmengine.config import DictAction

_KEPT = '\0'  # no argument of a command can hold it
_INSIDE = re.compile(r'(?<=[^\s,(\[])(\s+)(?=[^\s,)\]])')


def add_cfg_options(parser: argparse.ArgumentParser, more: str = '') -> None:
    """Adds ``--cfg-options``; its values are those of mmengine, but that words keep their spaces.

    Args:
        parser: Of a tool.
        more: What follows 'override config entries' in the help.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help=f'override config entries{more}',
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


def _protected(text: str) -> str:
    key, _, value = text.partition('=')
    value = value.strip().strip('\'"').strip()
    return f'{key}={_INSIDE.sub(lambda found: _KEPT * len(found[1]), value)}'


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_restored, value))
    return value.replace(_KEPT, ' ') if isinstance(value, str) else value
