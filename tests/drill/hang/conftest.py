"""What the drills of hangs share: a backup before them, and none that comes by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drill import faults
from tests.flow import lab


@pytest.fixture(scope="session", autouse=True)
def backed_up() -> Iterator[None]:
    """Begin with a backup, so that nothing is yellow.

    One that came at its hour, in the seconds in which its place cannot be reached, would fail, and the box not be well
    before the next. What a backup does when its place is away has tests of its own.
    """
    # Disabled: the box reboots meanwhile.
    lab.run(faults.HOME, "systemctl", "disable", "--now", "hearth-backup.timer")
    lab.run(faults.HOME, "hearth-backup", "run", "--wait", "120")
    yield
    lab.run(faults.HOME, "systemctl", "enable", "--now", "hearth-backup.timer")
