"""What `make test` says at its end, from the reports of its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import run_tests

REPORT = """<testsuites><testsuite tests="4" failures="1" errors="1" skipped="1">
<testcase classname="tests.flow.test_a" name="test_good"/>
<testcase classname="tests.flow.test_a" name="test_bad">
<failure message="assert 1 == 2&#10;  a line of it">long</failure></testcase>
<testcase classname="tests.flow.test_a" name="test_broken">
<error message="LabError: gone">long</error></testcase>
<testcase classname="tests.flow.test_a" name="test_left_out">
<skipped message="no lab">short</skipped></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "junit.xml"
    path.write_text(REPORT)
    return path


def test_a_skipped_test_counts_as_failed(report: Path) -> None:
    assert run_tests.count(report) == (1, 3)


def test_what_failed_is_named_with_what_it_said(report: Path) -> None:
    assert run_tests.failures(report) == [
        "failure of tests.flow.test_a::test_bad\n    assert 1 == 2\n      a line of it",
        "error of tests.flow.test_a::test_broken\n    LabError: gone",
        "skipped of tests.flow.test_a::test_left_out\n    no lab",
    ]


def test_a_long_message_is_cut(tmp_path: Path, report: Path) -> None:
    report.write_text(REPORT.replace("LabError: gone", "x" * 100_000))
    assert max(map(len, run_tests.failures(report))) < run_tests.FAILURE_LENGTH + 200
