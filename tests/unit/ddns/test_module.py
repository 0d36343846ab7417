"""The Ansible module: the agent's command for each wish."""

from __future__ import annotations

import pytest

from plugins.modules.hearth_ddns import command


@pytest.mark.parametrize(
    ("state", "adopt", "expected"),
    [
        ("published", False, ["x", "apply", "--json"]),
        ("published", True, ["x", "adopt", "--json"]),
        ("planned", False, ["x", "plan", "--json", "--ahead", "--quick"]),
        ("planned", True, ["x", "plan", "--json", "--ahead", "--adopt"]),
    ],
)
def test_command(state: str, adopt: bool, expected: list[str]) -> None:
    assert command("x", state, adopt) == expected
