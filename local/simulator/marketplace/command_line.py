"""Arguments that the simulator's commands share."""

from __future__ import annotations

import argparse
from datetime import datetime

from adrank.contracts.timestamps import as_utc, floor_hour


def whole_hour(spelled: str) -> datetime:
    """An ISO 8601 hour with a zone, in UTC."""
    try:
        moment = as_utc(datetime.fromisoformat(spelled))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if floor_hour(moment) != moment:
        raise argparse.ArgumentTypeError(f"{spelled} is not a whole hour")
    return moment


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number, 1 or more")
    return int(text)
