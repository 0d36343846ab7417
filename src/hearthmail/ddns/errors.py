"""What can go wrong, told so that a person can act."""

from __future__ import annotations


class AgentError(Exception):
    """Something is wrong; nothing was written because of it.

    :param problem: what is wrong, with the value that is wrong.
    :param way_out: what a person can do about it.
    """

    def __init__(self, problem: str, way_out: str) -> None:
        super().__init__(problem, way_out)
        self.problem = problem
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.problem} {self.way_out}"


class ConfigError(AgentError):
    """The configuration or a fragment is not usable."""


class AddressError(AgentError):
    """The public address could not be found: nothing is known, so nothing changes."""


class CarrierNatError(AddressError):
    """The router has no public address itself: nobody can connect to this line over IPv4."""


class DnsError(AgentError):
    """The authoritative servers of a zone could not be found or asked."""


class ProviderError(AgentError):
    """A provider refused or could not be reached.

    :param provider: its name in `dns_providers`.
    :param zone: the zone that was read or written.
    :param answer: what it said.
    """

    def __init__(self, provider: str, zone: str, answer: str, way_out: str) -> None:
        super().__init__(f"Provider {provider}, zone {zone}: {answer}", way_out)
        self.provider = provider
        self.zone = zone
        self.answer = answer

    def __reduce__(self) -> tuple[type[ProviderError], tuple[str, str, str, str]]:
        # Errors cross from the child process, which does the writing, by pickle.
        return type(self), (self.provider, self.zone, self.answer, self.way_out)


class StopError(ProviderError):
    """A provider refused for a reason that only a person can remove. Nothing more is sent to it until the
    configuration of its entry changes: whoever goes on asking is blocked.
    """


class WaitError(ProviderError):
    """A provider asked for patience: nothing is sent to it for a while.

    :param seconds: for how long.
    """

    def __init__(self, provider: str, zone: str, answer: str, way_out: str, seconds: float) -> None:
        super().__init__(provider, zone, answer, way_out)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[WaitError], tuple[str, str, str, str, float]]:  # type: ignore[override]
        return type(self), (self.provider, self.zone, self.answer, self.way_out, self.seconds)


class LockError(AgentError):
    """Another run of the agent holds the lock for too long."""
