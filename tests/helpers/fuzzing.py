"""Hypothesis for a box of CPU time, in place of a number of examples."""

import secrets
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

CHUNK = 50  # examples between two looks at the clock
LONGER = 20  # times the box with --long


def run_cases(check, strategy, seconds, at_least, at_most, long=False):
    """Runs ``check`` on cases until so many CPU seconds are over, and on ``at_least`` so many.

    CI's cases are always the same ones, in the same order, and no more than ``at_most``, however
    fast the machine is; with ``long`` they are new each time.
    A failure is printed as the smallest case that fails.
    """
    ran, start = 0, secrets.randbelow(2**32) if long else 0
    end = time.process_time() + seconds * (LONGER if long else 1)
    chunk = start
    while ran < at_least or (time.process_time() < end and (long or ran < at_most)):

        @seed(chunk)
        @settings(
            max_examples=CHUNK,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(case):
            nonlocal ran
            ran += 1
            check(case)

        one()
        chunk += 1
    print(f'{ran} cases, seeds {start} to {chunk - 1}')
    return ran
