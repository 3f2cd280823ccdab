"""``python -m demo``: see :mod:`demo.command`, whose imports take seconds that may be interrupted, too."""

from __future__ import annotations

import signal
import sys

from demo.interrupts import INTERRUPTED, TerminatedError


def main() -> int:
    """Run the demo; returns the exit code."""

    def terminate(*_: object) -> None:
        raise TerminatedError

    signal.signal(signal.SIGTERM, terminate)
    try:
        from demo import command

        return command.main()
    except KeyboardInterrupt as interrupt:
        print("stopped: interrupted before the first stage", file=sys.stderr)
        return 1 if isinstance(interrupt, TerminatedError) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
