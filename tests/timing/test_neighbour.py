import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssn_mm.timing.neighbour import busy_neighbour

ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
from ssn_mm.timing.neighbour import busy_neighbour
with busy_neighbour() as process:
    print(process.pid, flush=True)
    time.sleep(60)
"""


def is_running(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'  # which nobody has waited for yet


def seconds_of(pid):
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return int(fields[11]) / os.sysconf('SC_CLK_TCK')


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


pytestmark = pytest.mark.skipif(not Path('/proc/self/stat').is_file(), reason='looks into /proc')


def test_a_neighbour_works_and_ends_with_what_it_is_beside():
    with busy_neighbour() as process:
        assert wait_until(lambda: seconds_of(process.pid) > 0.05)
    assert process.returncode is not None
    assert not is_running(process.pid)


def test_an_error_ends_the_neighbour_and_stays_itself():
    with pytest.raises(KeyError, match='mine'), busy_neighbour() as process:
        raise KeyError('mine')
    assert not is_running(process.pid)


def test_a_neighbour_that_ended_by_itself_spoils_the_measurement():
    def measure():
        with busy_neighbour() as process:
            process.kill()
            process.wait()

    with pytest.raises(RuntimeError, match='had no neighbour; measure again'):
        measure()


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_neighbour_ends_with_its_parent_however_that_ends(end):
    program = subprocess.Popen(
        [sys.executable, '-c', PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    )
    with program:
        pid = int(program.stdout.readline())
        assert is_running(pid)
        program.send_signal(end)
        assert program.wait(20) != 0
        assert wait_until(lambda: not is_running(pid))
