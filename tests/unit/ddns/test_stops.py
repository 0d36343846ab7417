"""When a provider is left alone, and that a clock which was wrong for a while does not prolong it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hearthmail.ddns import state, stops
from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.errors import WaitError
from hearthmail.ddns.merge import Merge
from hearthmail.ddns.publish import Done
from hearthmail.ddns.state import State

from .conftest import ZONE

LAB = ProviderConfig("lab", "powerdns", {"url": "http://x", "api_key": "x"})
# 2096: the clock of a box whose battery is empty, or which was told the wrong time.
WRONG, RIGHT = 3_980_000_000.0, 1_800_000_000.0


def waits(now: float) -> State:
    """A provider that has asked for half an hour."""
    remembered = State()
    error = WaitError("lab", ZONE, "911", "Wait.", 1800)
    stops.record(remembered, LAB, Done(ZONE, None, False, error), now)
    return remembered


def has_answered_no_change(now: float) -> State:
    remembered = State()
    done = Done(ZONE, Merge(), True, unchanged=frozenset({"mail 198.51.100.10"}))
    stops.record(remembered, LAB, done, now)
    return remembered


def test_a_wait_lasts_as_long_as_it_was_asked_for() -> None:
    remembered = waits(RIGHT)
    for later in (0, 1799):
        assert isinstance(stops.held_back(remembered, ZONE, LAB, RIGHT + later), WaitError)
        assert stops.waits_until(remembered, "lab", RIGHT + later) == RIGHT + 1800
    assert stops.held_back(remembered, ZONE, LAB, RIGHT + 1800) is None
    assert remembered.waits == {}


def test_a_wait_ends_when_the_clock_is_set_back() -> None:
    remembered = waits(WRONG)
    assert stops.waits_until(remembered, "lab", RIGHT) is None
    assert stops.held_back(remembered, ZONE, LAB, RIGHT) is None
    assert stops.problems(remembered) == []


@pytest.mark.parametrize("now", [RIGHT, RIGHT + stops.SETTLED - 1])
def test_what_is_settled_is_not_sent_again_for_a_day(now: float) -> None:
    assert stops.settled(has_answered_no_change(RIGHT), LAB, now)


@pytest.mark.parametrize("now", [RIGHT + stops.SETTLED, RIGHT - 1])
def test_what_is_settled_may_be_sent_again_after_a_day_or_when_the_clock_is_set_back(now: float) -> None:
    assert not stops.settled(has_answered_no_change(RIGHT), LAB, now)


def test_a_wait_of_an_earlier_release_is_read_and_ends_within_a_day(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"version": 1, "waits": {"lab": {"until": RIGHT + 1800, "why": "911"}}}))
    remembered = state.load(path)
    assert remembered
    assert stops.held_back(remembered, ZONE, LAB, RIGHT)
    assert stops.held_back(remembered, ZONE, LAB, RIGHT + 1800) is None
    path.write_text(json.dumps({"version": 1, "waits": {"lab": {"until": WRONG + 1800, "why": "911"}}}))
    remembered = state.load(path)
    assert remembered
    assert stops.held_back(remembered, ZONE, LAB, RIGHT) is None
    path.write_text(json.dumps({"version": 1, "waits": {"lab": {"at": "x", "until": RIGHT, "why": "911"}}}))
    assert state.load(path) is None
