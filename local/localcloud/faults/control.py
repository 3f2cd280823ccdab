"""The fault switches as the gateway serves them: faults that are kept in the file, and those that act at once."""

from __future__ import annotations

from typing import Any

from localcloud.cloudwatch.alarms import Alarms
from localcloud.faults import armed as faults
from localcloud.faults.armed import Faults, Refuse, SwitchError, TargetedFault
from localcloud.settings import LocalcloudSettings


class FaultControl:
    """Arms, shows and clears."""

    def __init__(self, settings: LocalcloudSettings, armed: Faults, alarms: Alarms, account: str) -> None:
        self._settings = settings
        self._faults = armed
        self._alarms = alarms
        self.account = account

    def show(self) -> dict[str, Any]:
        """What is active: armed faults and the alarms that are held."""
        return {**self._faults.active(), "tripped_alarms": self._alarms.tripped}

    def arm(self, name: str, body: dict[str, Any]) -> None:
        """Throw one switch; raises :class:`SwitchError` or ``pydantic.ValidationError``."""
        switch = faults.parse(name, body)
        if isinstance(switch, TargetedFault):
            self._alarm(name, switch.name)
            return
        if name == "drop_redis" and isinstance(switch, Refuse):
            drop_redis(self._settings.redis_host, self._settings.redis_port, switch.seconds)
        self._faults.arm(name, switch)

    def clear(self, name: str | None) -> None:
        """Disarm one fault, or all of them and let every alarm follow its metric."""
        self._faults.clear(name)
        for alarm in self._alarms.tripped if name is None else []:
            self._alarms.clear(alarm)

    def _alarm(self, name: str, alarm: str) -> None:
        try:
            if name == "trip_alarm":
                self._alarms.trip(alarm)
            else:
                self._alarms.clear(alarm)
        except KeyError:
            raise SwitchError(f"no alarm {alarm!r}") from None


def drop_redis(host: str, port: int, seconds: float) -> None:
    """Close every client's connection and hold all commands back for ``seconds``; raises :class:`SwitchError`."""
    import redis

    try:
        with redis.Redis(host=host, port=port, socket_timeout=5) as client:
            # In this order: a paused server does not execute the kill either.
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
    except redis.RedisError as error:
        raise SwitchError(f"redis at {host}:{port}: {error}") from error
