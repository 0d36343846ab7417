"""`--check` on the deployed box has nothing to report: as a user types it, by Ansible's own strategy."""

from __future__ import annotations

import pytest

from tests.flow import lab

# Debian 12 has check mode on the bare box, and a second run that changes nothing.
pytestmark = pytest.mark.release("trixie")


def test_check_mode_finds_nothing_to_change() -> None:
    counts = lab.recap(lab.playbook("playbooks/site.yml", "--check", "--diff", plain=True))
    assert (counts["changed"], counts["failed"], counts["unreachable"]) == (0, 0, 0)
