"""A training on two hosts, network namespaces of this machine, of which one is cut off."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
ADDRESSES = {'stays': '10.77.0.1', 'leaves': '10.77.0.2'}
RENDEZVOUS = 'keep_alive_interval=1,keep_alive_max_attempt=5,last_call_timeout=3'
SMALL = [
    'train_cfg.max_iters=40',
    'train_cfg.val_interval=1000',
    'default_hooks.checkpoint.interval=4',
    'env_cfg.dist_cfg.timeout=10',  # seconds until the loss of the other host is an error
    'train_dataloader.batch_size=2',
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.decode_head.channels=8',
    'model.decode_head.in_channels=64',
    'model.auxiliary_head.channels=8',
    'model.auxiliary_head.in_channels=32',
]


def ip(*arguments):
    return subprocess.run(['ip', *arguments], text=True, capture_output=True, check=True).stdout


@pytest.fixture
def hosts():
    """Two namespaces with a cable between them, by role; whatever runs there ends with the test."""
    if shutil.which('ip') is None:
        pytest.skip('two hosts need network namespaces: there is no `ip` (Debian: iproute2)')
    names = {role: f'ssn-{os.getpid()}-{role}' for role in ADDRESSES}
    made = []
    try:
        for name in names.values():
            ip('netns', 'add', name)
            made.append(name)
        one, other = names.values()
        ip('link', 'add', 'eth', 'netns', one, 'type', 'veth', 'peer', 'eth', 'netns', other)
        for role, name in names.items():
            ip('-n', name, 'address', 'add', f'{ADDRESSES[role]}/24', 'dev', 'eth')
            ip('-n', name, 'link', 'set', 'eth', 'up')
            ip('-n', name, 'link', 'set', 'lo', 'up')
    except subprocess.CalledProcessError as error:
        remove(made)
        pytest.skip(f'two hosts need the right to make network namespaces: {error.stderr.strip()}')
    yield names
    remove(made)


def remove(namespaces):
    for name in namespaces:
        for pid in ip('netns', 'pids', name).split():
            with suppress(ProcessLookupError):  # gone by itself
                os.kill(int(pid), signal.SIGKILL)
        ip('netns', 'delete', name)


def start(host, role, folder):
    """tools/train.py as an elastic worker, its output in ``role``.log; both see one file system."""
    data = [
        f'{loader}_dataloader.{key}={value}'
        for loader in ('train', 'val', 'test')
        for key, value in (
            ('dataset.data_root', folder / 'data'), ('dataset.num_train', 8),
            ('dataset.num_val', 2), ('num_workers', 0), ('persistent_workers', False),
        )
    ]  # fmt: skip
    command = [
        'ip', 'netns', 'exec', host, sys.executable, '-m', 'torch.distributed.run',
        '--nnodes=1:2', '--nproc-per-node=1', '--max-restarts=3', '--monitor-interval=0.2',
        '--rdzv-backend=c10d', f'--rdzv-endpoint={ADDRESSES["stays"]}:29500', '--rdzv-id=ssn',
        f'--rdzv-conf={RENDEZVOUS},is_host={int(role == "stays")}',
        f'--local-addr={ADDRESSES[role]}',
        ROOT / 'tools/train.py', ROOT / 'configs/demo/deeplab_ssn_digits.py',
        '--launcher', 'pytorch', '--resume', '--work-dir', folder / 'run',
        '--cfg-options', *SMALL, *data, f'load_from={folder / "start.pth"}',
    ]  # fmt: skip
    with (folder / f'{role}.log').open('w') as log:
        return subprocess.Popen(
            [str(c) for c in command],
            cwd=folder,
            env=os.environ | {'GLOO_SOCKET_IFNAME': 'eth', 'OMP_NUM_THREADS': '1'},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def weights():
    """Of the small network's first norm, as a start."""
    return {'backbone.bn1.weight': torch.full((8,), 1.1)}


def train_together(log):
    """Whether both hosts train and have saved a checkpoint."""
    _, started, since = log.rpartition('GPU number: 2')  # mmengine's word for processes
    return started and 'Saving checkpoint' in since and 'GPU number: 1' not in since


def test_a_host_that_stays_resumes_and_finishes_after_the_other_is_cut_off(tmp_path, hosts):
    """With ``load_from`` set, from which only the first start begins."""
    log = tmp_path / 'stays.log'
    torch.save(dict(meta=dict(iter=40, epoch=0), state_dict=weights()), tmp_path / 'start.pth')
    running = {role: start(host, role, tmp_path) for role, host in hosts.items()}
    deadline = time.monotonic() + 180
    while not train_together(log.read_text()):
        assert all(process.poll() is None for process in running.values()), log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)
    ip('-n', hosts['leaves'], 'link', 'set', 'eth', 'down')
    code = running['stays'].wait(timeout=180)
    before, _, after = log.read_text().rpartition('GPU number: 1')
    assert code == 0, after[-3000:]
    assert 'Timed out waiting 10000ms' in before  # not gloo's half an hour
    assert 'starts from load_from=' in before
    assert 'starts from load_from=' not in after
    assert int(re.findall(r'resumed epoch: 0, iter: (\d+)', after)[-1]) >= 4
    assert re.search(r'(\d+) of \1 ratios', after)
    assert '\n  backbone.layer1 ' in after  # names without DDP's prefix
    state = torch.load(tmp_path / 'run/iter_40.pth', weights_only=True)['state_dict']
    logits = torch.stack([v for k, v in state.items() if k.endswith('ratio_logits')])
    assert (logits.sort(-1).values == torch.tensor([0.0, 0, 1])).all()
