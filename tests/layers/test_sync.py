"""BN's statistics over two processes."""

import subprocess
import sys

WORKER = """
import sys
import torch
import torch.distributed as dist
from ssn_mm import SSN, set_radius

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
torch.manual_seed(0)
x, dy = torch.randn(5, 6, 3, 3).double(), torch.randn(5, 6, 3, 3).double()
mine = slice(0, 2) if rank == 0 else slice(2, 5)  # batches of different size

def run(layer, x, dy):
    set_radius(layer.double(), 0.3)
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    return y, x.grad, layer

y, dx, layer = run(SSN(6, sync=True), x[mine], dy[mine])
for p in layer.parameters():
    dist.all_reduce(p.grad)
joint_y, joint_dx, joint = run(SSN(6), x, dy)
torch.testing.assert_close((y, dx), (joint_y[mine], joint_dx[mine]))
for ours, theirs in zip(layer.parameters(), joint.parameters()):
    torch.testing.assert_close(ours.grad, theirs.grad)
for ours, theirs in zip(layer.buffers(), joint.buffers()):
    torch.testing.assert_close(ours, theirs)
"""


def test_a_synchronised_layer_equals_one_process_with_the_joint_batch(tmp_path):
    command = [sys.executable, '-W', 'ignore', '-c', WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path / 'store')], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    errors = [worker.communicate(timeout=120)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
