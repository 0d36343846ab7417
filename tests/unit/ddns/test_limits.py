"""How often is written, and when a provider that failed is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.limits import DAY, Account, Kind, kind_of, ready_at, take
from hearthmail.ddns.outages import Outage, failed, is_over
from hearthmail.ddns.records import Key

NOW = 1_800_000_000.0
OWN = (Key("a.example", "mail", "A"), Key("a.example", "mail", "AAAA"))


def write_all_day(kind: Kind, cap: int, asked: list[float]) -> list[float]:
    """Write as often as allowed, asked at these times."""
    account, written = Account(), []
    for now in sorted(asked):
        if ready_at(account, kind, cap, now) <= now:
            account = take(account, kind, cap, now)
            written.append(now)
    return written


@given(st.lists(st.floats(NOW, NOW + 3600), max_size=200))
def test_three_at_once_then_one_a_minute(asked: list[float]) -> None:
    written = write_all_day("address", 0, asked)
    for number, at in enumerate(written):
        for count in range(4, len(written) - number + 1):
            # Three, and one more for each whole minute since the first.
            assert written[number + count - 1] - at >= 60 * (count - 3) - 1e-3
    assert written[:3] == sorted(asked)[:3], "the first ones are not held up"


@given(st.lists(st.floats(NOW, NOW + 3 * DAY), max_size=60), st.integers(1, 5))
def test_the_cap_slides(asked: list[float], cap: int) -> None:
    written = write_all_day("other", cap, asked)
    for at in written:
        assert sum(at <= other < at + DAY for other in written) <= cap


def test_what_is_not_allowed_is_told_when_it_is() -> None:
    account = Account()
    for _ in range(3):
        assert ready_at(account, "address", 0, NOW) == NOW
        account = take(account, "address", 0, NOW)
    assert ready_at(account, "address", 0, NOW) == NOW + 60
    assert ready_at(account, "address", 0, NOW + 59) == NOW + 60
    assert ready_at(account, "address", 0, NOW + 61) == NOW + 61
    account = take(Account(), "other", 1, NOW)
    assert ready_at(account, "other", 1, NOW + 5) == NOW + DAY


def test_challenges_and_addresses_do_not_use_up_each_other() -> None:
    account = Account()
    for _ in range(10):
        assert ready_at(account, "challenge", 5, NOW) == NOW
        account = take(account, "challenge", 5, NOW)
    assert ready_at(account, "challenge", 5, NOW) == NOW + 6
    assert ready_at(account, "address", 5, NOW) == NOW
    for _ in range(5):
        account = take(account, "address", 5, NOW)
    assert ready_at(account, "address", 5, NOW + 3600) == NOW + DAY
    assert ready_at(account, "challenge", 5, NOW + 6) == NOW + 6


def test_a_person_is_held_back_by_the_cap_only() -> None:
    account = Account()
    for _ in range(8):
        assert ready_at(account, "address", 8, NOW, in_person=True) == NOW
        account = take(account, "address", 8, NOW)
    assert ready_at(account, "address", 8, NOW, in_person=True) == NOW + DAY
    # The service waits for one interval, not for all that the person wrote.
    assert ready_at(account, "address", 0, NOW) == NOW + 60


@pytest.mark.parametrize("kind", ["address", "challenge", "other"])
def test_a_clock_that_was_wrong_does_not_block_for_ever(kind: Kind) -> None:
    account = Account()
    for _ in range(20):
        account = take(account, kind, 20, NOW + 10 * 365 * DAY)
    assert ready_at(account, kind, 20, NOW) <= NOW + DAY


def test_kinds() -> None:
    challenge = Key("a.example", "_acme-challenge.mail", "TXT")
    assert kind_of([challenge], OWN) == "challenge"
    assert kind_of([challenge, Key("a.example", "", "MX")], OWN) == "other"
    assert kind_of([challenge, OWN[1]], OWN) == "address"
    assert kind_of([Key("a.example", "www", "A")], OWN) == "other"


@given(st.floats(0, 1), st.integers(0, 10**6))
def test_back_off(chance: float, failures: int) -> None:
    error = AgentError("It is down.", "Wait.")
    outage = failed(Outage(failures=failures), error, NOW, chance)
    assert 4.5 <= outage.until - NOW <= 300
    if failures > 6:
        assert outage.until - NOW >= 270
    assert not is_over(outage, NOW)
    assert not is_over(outage, outage.until - 0.01)
    assert is_over(outage, outage.until)
    # The clock was set back: nobody waits for as long as it was wrong.
    assert is_over(outage, NOW - 3600)
    assert (outage.failures, outage.problem) == (failures + 1, "It is down.")


def test_the_first_pauses() -> None:
    outage, pauses = None, []
    for _ in range(8):
        outage = failed(outage, AgentError("", ""), NOW, 0)
        pauses.append(outage.until - NOW)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    assert is_over(None, NOW)
