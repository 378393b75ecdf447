"""What both Python suites share: where the server is, how it is restarted, how results are counted.

The two clients bring their own copies of the same protobuf files, so each suite is a process.
"""

import os
import signal
import sys
import unittest

HOST = os.environ["ETCD_HOST"]
PORT = int(os.environ["ETCD_PORT"])
PATIENCE_S = 60


def restart_server():
    """Kills the server and returns when it listens again."""
    os.kill(os.getppid(), signal.SIGUSR1)
    if signal.sigtimedwait({signal.SIGUSR2}, PATIENCE_S) is None:
        raise TimeoutError("the server did not come back")


def main():
    # Blocked before any thread starts, so that only sigtimedwait sees it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(0 if result.testsRun and not failed else 1)
