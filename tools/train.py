"""Train a config: python tools/train.py configs/demo/deeplab_ssn_digits.py"""

import argparse

from ssn_mm.cli.arguments import add_cfg_options, add_launcher, add_trust, add_work_dir
from ssn_mm.cli.config import load_config
from ssn_mm.cli.tool import run_tool
from ssn_mm.cli.train import train
from ssn_mm.engine.optimizers.cpu_amp_optim_wrapper import DTYPES


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model from a config.')
    parser.add_argument(
        'config', nargs='?', help='config file, such as configs/demo/deeplab_ssn_digits.py'
    )
    add_work_dir(parser, 'checkpoints and logs')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        metavar='FILE',
        help='go on from FILE, or without one from the newest intact checkpoint of the work dir; '
        'where there is none yet the training begins, with load_from if the config has it. After '
        'a restart by torchrun or Slurm it is the newest in any case. A training without --resume '
        'moves checkpoints of an earlier one in its work dir to a folder before_<time> there',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const=True,
        default=False,
        type=_dtype,
        metavar='DTYPE',
        help='train in mixed precision, of bfloat16 or float16 (default: float16 on a GPU, '
        'bfloat16 on a CPU); write it after the config',
    )
    add_cfg_options(
        parser,
        ', such as train_cfg.max_iters=100 custom_hooks.0.schedule.at=0.5; lists as key="[a,b]"',
    )
    add_launcher(parser, 'tools/dist_train.sh')
    add_trust(parser)
    args = parser.parse_args()
    if args.config is None and str(args.resume).endswith(('.py', '.yaml', '.yml', '.json')):
        args.config, args.resume = args.resume, True  # --resume CONFIG
    if args.config is None:
        parser.error('the following arguments are required: config')
    return args


def _dtype(name: str) -> str:
    if name not in DTYPES:
        raise argparse.ArgumentTypeError(
            f'{name!r} is not one of {DTYPES}; write --amp after the config'
        )
    return name


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    train(cfg, resume=args.resume, amp=args.amp)


if __name__ == '__main__':
    run_tool(main)
