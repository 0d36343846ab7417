"""What all drills share: their figures at the end."""

from __future__ import annotations

import pytest

from tests.drill import record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of all drills of this clone."""
    terminalreporter.section("build/drills.json")
    for line in record.lines():
        terminalreporter.write_line(line)
