"""The first process of a machine: it takes in processes whose parents have ended, and does nothing else."""

import os
import signal
from contextlib import suppress

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
print("ready", flush=True)
while signal.sigwait([signal.SIGCHLD]):
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
