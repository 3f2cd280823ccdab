"""Kills the process groups of a parent that died: a parent killed with SIGKILL cannot do it itself.

Runs as its own process and reads ``+pgid`` and ``-pgid`` lines from its standard input; when the input ends, every
group still listed is killed. Standard library only: it is started with ``python -I`` on this file.
"""

import os
import signal
import sys


def main() -> None:
    """Follow the parent's list until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
