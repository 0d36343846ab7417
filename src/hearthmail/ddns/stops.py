"""Which providers must be left alone: they told us to stop, to wait, or that nothing had changed. Values only.

The update protocol of Dyn (https://help.dyn.com/return-codes/) demands it: a client that goes on after an error, or
that repeats what changes nothing, is blocked. The memory of it is in the state, so that a restart forgets nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import TYPE_CHECKING

from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.errors import AgentError, StopError, WaitError
from hearthmail.ddns.report import clock_time
from hearthmail.ddns.state import State

if TYPE_CHECKING:
    from hearthmail.ddns.publish import Done

# Seconds for which a request that changed nothing is not repeated, unless the servers were seen right meanwhile.
SETTLED = 86400
# Seconds that no wait lasts for: those of earlier releases do not say when they began.
LONGEST = 86400


def seal(config: ProviderConfig, salt: str = "") -> str:
    """A fingerprint of an entry of `dns_providers`, from which its password cannot be guessed in useful time."""
    salt = salt or os.urandom(16).hex()
    entry = json.dumps([config.type, dict(config.options)], sort_keys=True, default=str)
    return f"{salt}${hashlib.scrypt(entry.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=32).hex()}"


def is_sealed(config: ProviderConfig, sealed: str) -> bool:
    """Whether the entry is still the one of which `seal` made a fingerprint."""
    return hmac.compare_digest(seal(config, sealed.partition("$")[0]), sealed)


def held_back(state: State, zone: str, config: ProviderConfig, now: float) -> AgentError | None:
    """Why nothing may be sent to a provider now; None: it may.

    A stop of an entry that was changed since is forgotten.
    """
    stop = state.stopped.get(config.name)
    if stop and is_sealed(config, stop["seal"]):
        return StopError(config.name, stop["zone"], stop["answer"], stop["way_out"])
    state.stopped.pop(config.name, None)
    until = waits_until(state, config.name, now)
    if until is not None:
        way_out = f"Nothing is sent to it until {clock_time(until)}; it is tried again by itself then."
        return WaitError(config.name, zone, state.waits[config.name]["why"], way_out, until - now)
    state.waits.pop(config.name, None)
    return None


def waits_until(state: State, name: str, now: float) -> float | None:
    """Until when nothing is sent to a provider that asked for patience; None: it may be asked.

    It may when the clock was set back since: else it would wait for as long as the clock was wrong.
    """
    wait = state.waits.get(name)
    if wait is None:
        return None
    until: float = wait["until"]
    return until if wait.get("at", until - LONGEST) <= now < until else None


def record(state: State, config: ProviderConfig, done: Done, now: float) -> None:
    """Remember what a provider said about going on."""
    if isinstance(done.error, StopError):
        error = done.error
        state.stopped[config.name] = {
            "seal": seal(config),
            "zone": error.zone,
            "answer": error.answer,
            "way_out": error.way_out,
        }
    elif isinstance(done.error, WaitError):
        state.waits[config.name] = {"at": now, "until": now + done.error.seconds, "why": done.error.answer}
    elif done.written and done.pause:
        state.waits[config.name] = {"at": now, "until": now + done.pause, "why": "it takes one update in a while."}
    if done.written:
        # What was settled before is no longer what it holds, once it took something else.
        state.unchanged.pop(config.name, None)
        if done.unchanged:
            state.unchanged[config.name] = dict.fromkeys(sorted(done.unchanged), now)


def settled(state: State, config: ProviderConfig, now: float) -> frozenset[str]:
    """The requests that a provider has answered with "no change", and that are not sent again.

    Those answered in the future may be: the clock was set back since.
    """
    return frozenset(key for key, at in state.unchanged.get(config.name, {}).items() if at <= now < at + SETTLED)


def problems(state: State) -> list[str]:
    """What `status` says about it."""
    said = [
        f"Provider {name} is stopped, nothing is sent to it. It said: {stop['answer']} {stop['way_out']}"
        for name, stop in sorted(state.stopped.items())
    ]
    said += [
        f"Provider {name}: nothing is sent to it before {clock_time(wait['until'])}. It said: {wait['why']}"
        for name, wait in sorted(state.waits.items())
    ]
    return said
