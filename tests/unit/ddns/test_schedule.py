"""What is due when."""

from __future__ import annotations

import pytest

from hearthmail.ddns.address import Found
from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.report import Report
from hearthmail.ddns.schedule import Schedule
from hearthmail.ddns.state import Ipv6Proof

START = 1_800_000_000.0


def by(source: str) -> Report:
    return Report(found=Found("198.51.100.1", source, "", None, "", Ipv6Proof(), 0))


@pytest.fixture
def schedule() -> Schedule:
    """One that has done its first look just now."""
    one = Schedule(START)
    assert one.next_at() == START
    assert one.due(START) == "full"
    one.done(by("router"), START)
    return one


def test_looks_follow_one_another(schedule: Schedule) -> None:
    seen = []
    now = START
    while now < START + 601:
        now = schedule.next_at()
        due = schedule.due(now)
        assert due
        assert schedule.due(now - 0.01) is None
        assert schedule.due(now) == due
        seen.append((now - START, due))
        schedule.done(by("router"), now)
    assert [at for at, due in seen if due == "full"] == [300, 600]
    assert [at for at, _ in seen] == [10.0 * step for step in range(1, 62)]


@pytest.mark.parametrize(("source", "pause"), [("router", 10), ("interface", 10), ("echo", 60), ("", 10)])
def test_echo_services_are_asked_less_often(schedule: Schedule, source: str, pause: int) -> None:
    schedule.due(START + 10)
    schedule.done(by(source), START + 10)
    assert schedule.next_at() == START + 10 + pause


def test_a_sign_is_followed_after_half_a_second(schedule: Schedule) -> None:
    schedule.poked(START + 1)
    schedule.poked(START + 1.4)
    assert schedule.next_at() == START + 1.5
    assert schedule.due(START + 1.4) is None
    assert schedule.due(START + 1.5) == "quick"
    schedule.done(by("interface"), START + 1.6)
    assert schedule.due(START + 2) is None
    # One that came while it looked is a new one.
    schedule.poked(START + 2)
    assert schedule.due(START + 2.5) == "quick"


def test_what_has_to_wait_is_tried_in_time(schedule: Schedule) -> None:
    schedule.due(START + 10)
    schedule.done(Report(retry_at=START + 15), START + 10)
    assert schedule.next_at() == START + 15
    assert schedule.due(START + 15) == "full"
    schedule.done(Report(retry_at=START), START + 16)
    assert schedule.due(START + 16) is None, "never again in the same instant"
    assert schedule.due(START + 17) == "full"
    schedule.done(Report(), START + 17)
    assert schedule.next_at() == START + 27


def test_after_an_error_the_whole_look_comes_sooner(schedule: Schedule) -> None:
    schedule.due(START + 300)
    schedule.done(Report(errors=[AgentError("x", "y")]), START + 300)
    assert schedule.due(START + 359) == "quick"
    assert schedule.due(START + 360) == "full"


def test_the_clock_may_be_set_back(schedule: Schedule) -> None:
    assert schedule.due(START - 3600) == "full"
    schedule.done(by("router"), START - 3600)
    assert schedule.next_at() == START - 3590
    schedule.poked(START)
    schedule.due(START - 3600)
    schedule.done(Report(retry_at=START + 60), START - 3600)
    # An instant that was told by the wrong clock is at most as far away as the next whole look.
    assert schedule.due(START - 3300) == "full"
