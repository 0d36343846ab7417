"""What is remembered from look to look, in memory only, so that a poll every 10 s is cheap. Nothing is lost with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hearthmail.ddns.address.classify import IPAddress
from hearthmail.ddns.errors import AddressError


@dataclass
class EchoResult:
    """The last answer of the echo services, or why there was none.

    :param at: when, on the monotonic clock, in seconds.
    """

    at: float
    address: IPAddress | None = None
    error: AddressError | None = None


@dataclass
class RouterMemory:
    """What a caller that looks again and again hands to each look.

    :param gateway: the router that all of it is about; another one makes it forgotten.
    :param last: the protocol by which the router answered last: it is asked first.
    :param mute_until: protocol -> the moment (monotonic clock) before which it is not asked.
    :param mute_why: what each of them said when it was asked.
    :param handles: protocol -> what it keeps for asking directly (the router's control URL and the like).
    :param echo: the last answer of the echo services.
    :param alive6: the own IPv6 addresses that echo services saw, among those that were compared (`compared6`).
    """

    gateway: str = ""
    last: str = ""
    mute_until: dict[str, float] = field(default_factory=dict)
    mute_why: dict[str, str] = field(default_factory=dict)
    handles: dict[str, Any] = field(default_factory=dict)
    echo: EchoResult | None = None
    alive6: frozenset[str] = frozenset()
    compared6: frozenset[str] = frozenset()
    compared6_at: float = 0.0

    def about(self, gateway: str) -> None:
        """Forget everything about another router than this one."""
        if gateway != self.gateway:
            self.gateway, self.last = gateway, ""
            self.mute_until, self.mute_why, self.handles = {}, {}, {}
            self.echo = None
