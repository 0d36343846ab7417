"""What role watchdog tells systemd: who is started again, how often, and what the hardware does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/watchdog"
SYSTEM = ROLE / "templates/etc/systemd"
DROP_INS = sorted((SYSTEM / "system").glob("*.service.d/hearthmail-watchdog.conf.j2"))
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))


def rendered(template: Path, **given: Any) -> dict[str, str]:
    """Give the settings of a file of systemd, with the role's defaults."""
    made = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined)  # noqa: S701 # no HTML
    text = made.from_string(template.read_text(encoding="utf-8")).render(**DEFAULTS, **given, ansible_managed="ours")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda one: str(one.parent.name))
def test_what_dies_is_started_again_within_limits(drop_in: Path) -> None:
    unit = rendered(drop_in)
    assert unit["Restart"] == "on-failure"
    assert int(unit["StartLimitIntervalSec"]) > int(unit["StartLimitBurst"]) > 1
    assert int(unit["RestartSec"]) > 0
    # systemd takes these two in [Unit] alone.
    text = drop_in.read_text(encoding="utf-8")
    assert text.index("[Unit]") < text.index("StartLimitIntervalSec") < text.index("[Service]")


@pytest.mark.parametrize(
    "given", [{}, {"watchdog_restart_limit": 7, "watchdog_restart_window": 100}, {"watchdog_restart_delay": 40}]
)
def test_the_agent_is_never_left_for_good(given: dict[str, int]) -> None:
    """No limit ends it: an address that nobody follows sends mail to a stranger's line."""
    template = SYSTEM / "system/hearth-ddns.service.d/hearthmail-watchdog.conf.j2"
    made = jinja2.Environment(autoescape=False)  # noqa: S701 # no HTML
    values = {**DEFAULTS, **given, "ansible_managed": "ours"}
    text = made.from_string(template.read_text(encoding="utf-8")).render(**values)
    unit = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    # So far apart are its starts that one more than the limit never falls into the window.
    assert int(unit["RestartSec"]) * int(unit["StartLimitBurst"]) > int(unit["StartLimitIntervalSec"])
    assert int(unit["RestartSec"]) >= values["watchdog_restart_delay"]


def test_the_hardware_resets_a_machine_that_hangs() -> None:
    manager = rendered(SYSTEM / "system.conf.d/hearthmail-watchdog.conf.j2")
    assert manager["RuntimeWatchdogSec"].endswith("s")
    # A Raspberry Pi's watchdog counts no further.
    assert 5 <= int(manager["RuntimeWatchdogSec"].removesuffix("s")) <= 15


def test_only_a_machine_that_has_a_watchdog_is_told_of_it() -> None:
    look, write = yaml.safe_load((ROLE / "tasks/hardware.yml").read_text(encoding="utf-8"))
    assert look["ansible.builtin.stat"]["path"] == "/dev/watchdog"
    (file,) = write["hearth_files"]["files"]
    assert file["path"] == "/etc/systemd/system.conf.d/hearthmail-watchdog.conf"
    assert write["when"] == f"{look['register']}.stat.exists"
