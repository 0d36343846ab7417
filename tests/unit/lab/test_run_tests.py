"""What `make test` says at its end, from the reports of its steps."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

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


def test_what_runs_aside_is_printed_whole_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_tests, "BUILD", tmp_path)
    tests = ["sh", "-c", f"nice; echo in sight; cp {tmp_path}/junit.xml {tmp_path}/other.xml"]
    linter = ["sh", "-c", "nice; cat /proc/self/autogroup; echo it is wrong >&2; exit 3"]
    (tmp_path / "junit.xml").write_text(REPORT)
    outcomes = run_tests.run_all(
        [run_tests.Step("linter", linter)], [run_tests.Step("tests", tests, reports=["other.xml"])]
    )
    assert {one.step.name: one.tests() for one in outcomes} == {"tests": (1, 3), "linter": (0, 1)}
    assert {one.step.name: len(one.failures()) for one in outcomes} == {"tests": 3, "linter": 0}
    printed = capfd.readouterr().out
    # These tests may run aside themselves.
    assert f"{os.nice(0)}\nin sight\n" in printed
    assert re.search(rf"\(aside\)\n{min(19, os.nice(0) + 10)}\n(.*\n)?it is wrong\n", printed), printed


def test_a_report_that_was_not_written_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = {"unit": [run_tests.Step("tests", ["true"], ["junit.xml"])]}
    monkeypatch.setattr(run_tests, "BUILD", tmp_path)
    monkeypatch.setattr(run_tests, "steps", lambda: steps)
    (tmp_path / "junit.xml").write_text(REPORT)  # of an earlier run
    assert run_tests.main(["unit"]) == 1
    printed = capfd.readouterr().out
    assert "tests left no junit.xml: its tests did not run" in printed
    assert printed.endswith("0 passed, 1 failed\n")


@pytest.mark.parametrize(("word", "kept"), [("unit", True), ("molecule", False)])
def test_a_lab_begins_without_the_figures_of_earlier_drills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, kept: bool
) -> None:
    monkeypatch.setattr(run_tests, "BUILD", tmp_path)
    monkeypatch.setattr(run_tests, "steps", lambda: {word: [run_tests.Step("nothing", ["true"])]})
    (tmp_path / "drills.json").write_text("[]")
    assert run_tests.main([word]) == 0
    assert (tmp_path / "drills.json").exists() == kept


def test_an_interrupt_ends_what_runs_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: run_tests.Step) -> run_tests.Outcome:
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    def step(name: str) -> run_tests.Step:
        return run_tests.Step(name, ["sh", "-c", f"echo {name} >>{tmp_path}/began; sleep 1000; touch {tmp_path}/ended"])

    monkeypatch.setattr(run_tests, "run", interrupted)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tests.run_all([step("first"), step("second")], [step("in sight")])
    assert time.monotonic() - start < 60
    assert (tmp_path / "began").read_text() == "first\n"
    assert not (tmp_path / "ended").exists()


def test_an_interrupt_while_a_step_begins_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is there before whoever began it knows its number."""
    popen = run_tests.subprocess.Popen

    def slow(*words: Any, **named: Any) -> Any:
        process = popen(*words, **named)
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        return process

    def interrupted(_: run_tests.Step) -> run_tests.Outcome:
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_tests.subprocess, "Popen", slow)
    monkeypatch.setattr(run_tests, "run", interrupted)
    step = run_tests.Step("first", ["sh", "-c", f"touch {tmp_path}/began; sleep 100; touch {tmp_path}/ended"])
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tests.run_all([step], [step])
    assert time.monotonic() - start < 60
    assert not (tmp_path / "ended").exists()


def test_the_rest_runs_beside_what_comes_after_the_images(tmp_path: Path) -> None:
    def step(name: str, command: str) -> run_tests.Step:
        return run_tests.Step(name, ["sh", "-c", command])

    images = step(run_tests.IMAGES, f"sleep 0.5; test ! -e {tmp_path}/began")
    waits = step("molecule default", f"timeout 60 sh -c 'until test -e {tmp_path}/began; do sleep 0.01; done'")
    outcomes = run_tests.run_all([step("linter", f"touch {tmp_path}/began")], [images, waits, step("last", "true")])
    assert {one.step.name: one.good for one in outcomes} == {
        run_tests.IMAGES: True,
        "molecule default": True,
        "linter": True,
        "last": True,
    }


class Place:
    """Stands for a second lab; says of each command that it runs there."""

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        print("it is gone")

    def inside(self, command: list[str]) -> list[str]:
        return ["env", "WHERE=there", *command]


def test_what_is_the_second_lab_s_runs_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_tests.second_lab, "SecondLab", Place)
    say = ["sh", "-c", "echo here or $WHERE, as nice as $(nice)"]
    step = run_tests.Step("second", say, in_second=True)
    outcomes = run_tests.run_all([], [run_tests.Step(run_tests.IMAGES, ["true"])], [step, step])
    assert [one.step.name for one in outcomes] == [run_tests.IMAGES, "second", "second"]
    printed = capsys.readouterr().out
    assert printed.count(f"here or there, as nice as {os.nice(0)}") == 2
    assert printed.endswith("it is gone\n")


def test_the_figures_of_both_labs_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "BUILD", tmp_path)
    there = tmp_path / run_tests.SECOND
    there.mkdir(parents=True)
    (tmp_path / "drills.json").write_text('[{"fault": "a"}]')
    (there / "drills.json").write_text('[{"fault": "b"}]')
    (there / "drill-numbers.json").write_text('{"c": 1}')
    run_tests.gather_figures()
    assert json.loads((tmp_path / "drills.json").read_text()) == [{"fault": "a"}, {"fault": "b"}]
    assert json.loads((tmp_path / "drill-numbers.json").read_text()) == {"c": 1}


def test_who_leaves_a_box_comes_before_who_takes_it() -> None:
    steps = run_tests.steps()["molecule"]
    first = [step.name for step in steps if not step.in_second]
    assert first[:3] == [run_tests.IMAGES, "molecule default", "molecule hang"]
    assert [step.name for step in steps if step.in_second][:2] == ["molecule rebuild", "molecule bookworm"]


def test_each_scenario_runs_once() -> None:
    scenarios = {path.parent.name for path in run_tests.PROJECT.glob("molecule/*/molecule.yml")}
    names = [step.name for step in run_tests.steps()["molecule"] if step.reports]
    assert sorted(names) == sorted(f"molecule {scenario}" for scenario in scenarios)
