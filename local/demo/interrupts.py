"""How the demo is interrupted: SIGINT as Python has it, and SIGTERM in the same way."""

from __future__ import annotations

from typing import Final

#: Exit code after SIGINT, as a shell has it.
INTERRUPTED: Final = 130


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: an interrupt in every respect but the exit code."""
