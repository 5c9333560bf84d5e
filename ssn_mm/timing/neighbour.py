"""Another process that keeps one core busy while something is measured."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# It looks for its parent now and then, so that it ends with it, however that ends. Ctrl-C reaches
# all processes of a terminal, and this one leaves it to its parent.
_WORK = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_neighbour() -> Iterator[subprocess.Popen]:
    """Keeps one core busy, as a process that loads data does, and ends that process on leaving.

    Yields:
        The process, which has begun its work.

    Raises:
        RuntimeError: It ended by itself.
    """
    command = [sys.executable, '-I', '-S', '-c', _WORK, str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None  # a pipe
            process.stdout.readline()
            yield process
            if process.poll() is not None:
                raise RuntimeError(
                    f'the process that was to keep a core busy ended with code '
                    f'{process.returncode}, so what was measured had no neighbour; measure again'
                )
        finally:
            process.kill()
