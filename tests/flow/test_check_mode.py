"""`--check` on the deployed box has nothing to report."""

from __future__ import annotations

from tests.flow import lab


def test_check_mode_finds_nothing_to_change() -> None:
    counts = lab.recap(lab.playbook("playbooks/site.yml", "--check", "--diff"))
    assert (counts["changed"], counts["failed"], counts["unreachable"]) == (0, 0, 0)
