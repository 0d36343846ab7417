"""Mail for a mailbox here that was put off is there soon after it can be, though Postfix would let it wait."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.drill import faults
from tests.flow import lab
from tests.flow.lab import ALICE, TARO

HOME = faults.HOME
MEMORY = "/var/lib/hearthmail/probe/memory.json"
QUEUE = "/var/spool/postfix/deferred"
HOUR = 3600.0


@contextlib.contextmanager
def mailbox_fails(user: str) -> Iterator[None]:
    """Let nothing be stored for one user; mail for everybody else comes in."""
    folder = lab.maildir(user)
    mode = lab.out(HOME, "stat", "-c", "%a", folder)
    lab.run(HOME, "chmod", "000", folder)
    try:
        yield
    finally:
        lab.run(HOME, "chmod", mode, folder)


def waiting(user: str) -> list[dict[str, Any]]:
    """List what Postfix has put off for a user."""
    queue = [one for one in lab.queue() if one["queue_name"] == "deferred"]
    return [one for one in queue if any(to["address"] == user for to in one["recipients"])]


def pause(queue_id: str) -> float:
    """Give the seconds until Postfix tries a message again: the time of its file lies so far ahead."""
    found = lab.out(HOME, "find", QUEUE, "-name", queue_id, "-printf", "%T@")
    return float(found) - time.time() if found else 0.0


@pytest.fixture
def probe_rests() -> Iterator[None]:
    """Keep the probe from its looks."""
    faults.forget_faults()
    lab.run(HOME, "systemctl", "stop", "hearth-probe.timer", "hearth-probe.service")
    yield
    faults.forget_faults()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("probe_rests")
def test_what_came_while_the_clock_was_late_waits_for_no_half_hour(capsys: pytest.CaptureFixture[str]) -> None:
    """Its delivery fails when the clock is right again: for Postfix it is an hour old then."""
    tokens = []

    def late() -> str:
        """Queue id of a message that came while the clock was late: Postfix sees it some seconds later."""
        tokens.append(lab.submit_at_peer(lab.message(ALICE, TARO)))
        found = (one["queue_id"] for one in waiting(TARO) if one["arrival_time"] < time.time() - HOUR / 2)
        return next(found, "")

    def old(message: str) -> bool:
        if pause(message) > HOUR / 4:
            return True
        lab.run(HOME, "postqueue", "-i", message)
        return False

    with faults.clock_in_hand(faults.POSTFIX) as set_clock:
        set_clock("-1h")
        with mailbox_fails(TARO):
            message = lab.wait_for(late, 120, "a message that came while the clock was late being put off")
            set_clock("+0")
            lab.wait_for(lambda: old(message), 120, "it having to wait for half an hour")
    seconds = pause(message)
    assert seconds > HOUR / 4
    begun = time.time()
    # It may have been told to try it a moment ago: five minutes, then.
    faults.look_until(lambda: not lab.queue(), 400, "the box's queue being empty")
    with capsys.disabled():
        print(f"\n{len(tokens)} messages, one put off for {seconds:.0f} s; all there after {time.time() - begun:.0f} s")
    assert json.loads(lab.out(HOME, "cat", MEMORY))["mail_tried_at"] >= begun
    assert [lab.count(TARO, token) for token in tokens] == [1] * len(tokens)
