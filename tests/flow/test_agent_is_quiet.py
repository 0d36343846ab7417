"""While nothing changes, the agent writes nothing: counted at the provider, since before the first of these tests."""

from __future__ import annotations

import re

from tests.flow import lab

ROUNDS = 3


def test_three_rounds_of_the_timer_write_nothing(quiet_since: tuple[int, float]) -> None:
    writes, triggered = quiet_since
    timer = lab.out("hearth-home", "systemctl", "show", "hearth-ddns.timer", "-P", "TimersMonotonic")
    (interval,) = re.findall(r"OnUnitInactiveUSec=(\d+)s", timer)
    # A round lasts as long as the pause before it, the spread of the timer, and the look itself.
    longest = int(interval) + 10
    lab.wait_for(lambda: lab.last_trigger() - triggered >= ROUNDS * longest, (ROUNDS + 1) * longest, f"{ROUNDS} rounds")
    assert lab.out("hearth-home", "systemctl", "show", "hearth-ddns.service", "-P", "Result") == "success"
    assert lab.provider_writes() == writes
