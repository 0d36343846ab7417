"""What all drills share: their figures at the end."""

from __future__ import annotations

import pytest

from tests.drill import record


def pytest_configure(config: pytest.Config) -> None:
    """Name our marker."""
    config.addinivalue_line("markers", "long: runs only in the long form of the drills (`make drill`)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long ones out of the short form."""
    other = [item for item in items if item.get_closest_marker("long") and not record.LONG]
    if other:
        config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of all drills of this clone."""
    terminalreporter.section("build/drills.json")
    for line in record.lines():
        terminalreporter.write_line(line)
