"""`python -m tests.deliveries.senders`: begins a `licenzy worker` for each line it reads, and tells its pid.

All are forked from this process, which has imported what they need: the processor is spent on sending, not
on importing it all for each of them. When nothing more can be read it waits for them, and tells as JSON how
each has ended.
"""

from __future__ import annotations

import gc
import json
import os
import sys

from licenzy import worker  # noqa: F401 - what the processes need
from licenzy.factory import command_line, load_models
from licenzy.kit.stopping import StopSignal


def main() -> None:
    load_models()
    gc.freeze()
    pids = []
    for _line in sys.stdin:
        if not (pid := os.fork()):
            command_line(StopSignal())(["worker"], prog_name="licenzy")  # Ends the process.
        pids.append(pid)
        print(pid, flush=True)
    print(json.dumps({pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}))


if __name__ == "__main__":
    main()
