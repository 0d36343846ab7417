"""The Ansible module: the agent's command for each wish."""

from __future__ import annotations

import pytest

from plugins.modules.hearth_ddns import command, warnings


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


def test_what_could_not_be_written_is_a_warning() -> None:
    """A task that is ok shows nothing else without -v."""
    zone = {"zone": "hearth.example", "manual": False, "changes": [], "withheld": ["hearth.example MX: no address."]}
    report = {"text": ["a line"], "zones": [zone]}
    assert warnings(report) == ["Not written at hearth.example MX: no address."]
    by_hand = {"zone": "other.example", "manual": True, "changes": [{}], "withheld": []}
    assert warnings({"text": ["a line"], "zones": [by_hand]}) == [
        "Records to be entered by hand, for other.example:\na line"
    ]
