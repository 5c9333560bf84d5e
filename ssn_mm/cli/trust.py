"""The argument by which a user trusts a checkpoint as a program."""

import argparse
import os


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


class _Trust(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, True)
        os.environ.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)
        os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'  # of PyTorch, for its default
