"""`make test`: lint, unit tests, every molecule scenario, and a closing line that counts the tests which ran.

Usage: run_tests.py [lint|unit|molecule|drill ...]; without a word the first three. Exit code 1 if anything failed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"
DRILLS = ("hang", "rebuild")
# Characters of what a failed test said that are said again at the end, where a log that is cut still has them.
FAILURE_LENGTH = 1200
PYTHON_CODE = ["src", "plugins", "tools", "tests"]


@dataclass(frozen=True)
class Step:
    """One command, and the JUnit files in which it leaves its tests (none for a linter)."""

    name: str
    command: list[str]
    reports: list[str] = field(default_factory=list)


def tool(name: str) -> str:
    """Give the path of a program of the environment that runs this file."""
    return str(Path(sys.executable).parent / name)


def on_one_lab(scenarios: Iterable[str]) -> list[Step]:
    """Run scenarios one by one on the same lab, each with a home box of its own: a lab takes 90 s to start.

    Typed by hand, `molecule test` makes a lab for each.
    """
    lab = [
        Step(
            f"molecule {scenario}",
            [tool("molecule"), "test", "--destroy=never", "-s", scenario],
            [f"junit-{scenario}.xml"],
        )
        # The one that takes the box as the lab's start has made it comes first.
        for scenario in sorted(scenarios, key=lambda name: name != "default")
    ]
    return [*lab, Step("remove the lab", [tool("molecule"), "destroy"])]


def steps() -> dict[str, list[Step]]:
    """Name every step of a whole run, cheapest first."""
    scenarios = sorted(path.parent.name for path in (PROJECT / "molecule").glob("*/molecule.yml"))
    return {
        "lint": [
            Step("ruff", [tool("ruff"), "check", *PYTHON_CODE]),
            Step("ruff format", [tool("ruff"), "format", "--check", *PYTHON_CODE]),
            Step("mypy", [tool("mypy")]),
            Step("yamllint", [tool("yamllint"), "--strict", "."]),
            Step("ansible-lint", [tool("ansible-lint"), "--offline", "--strict"]),
            Step("roles", [sys.executable, "tools/check_roles.py"]),
        ],
        "unit": [
            Step(
                "unit tests",
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "tests/unit",
                    "-q",
                    "-n",
                    "auto",
                    f"--junitxml={BUILD}/junit-unit.xml",
                ],
                ["junit-unit.xml"],
            )
        ],
        "molecule": on_one_lab(scenarios),
        # `make drill` sets HEARTH_DRILL=long: the same scenarios, with all their faults and sizes.
        "drill": on_one_lab(DRILLS),
    }


def count(report: Path) -> tuple[int, int]:
    """Count (passed, failed) in a JUnit file. A skipped test has not run: it counts as failed."""
    passed = failed = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total = int(suite.get("tests", 0))
        bad = sum(int(suite.get(kind, 0)) for kind in ("failures", "errors", "skipped"))
        passed += total - bad
        failed += bad
    return passed, failed


def failures(report: Path) -> list[str]:
    """Name the tests of a JUnit file that failed, each with the beginning of what it said."""
    found = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        for kind in ("failure", "error", "skipped"):
            for bad in case.findall(kind):
                said = (bad.get("message") or bad.text or "")[:FAILURE_LENGTH].rstrip()
                found.append(f"{kind} of {case.get('classname')}::{case.get('name')}\n{indent(said, '    ')}")
    return found


def main(words: list[str]) -> int:
    """Run the steps that `words` name, print a line for each and the closing line."""
    known = steps()
    unknown = [word for word in words if word not in known]
    if unknown:
        print(f"{unknown[0]} is none of {', '.join(known)}", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    passed = failed = 0
    lines: list[str] = []
    bad: list[str] = []
    # What Molecule believes to be up: `make demo-down` or another clone may have taken it down since.
    wanted = words or ["lint", "unit", "molecule"]
    if {"molecule", "drill"} & set(wanted) and (BUILD / "molecule").exists():
        shutil.rmtree(BUILD / "molecule")
    for step in [step for word in wanted for step in known[word]]:
        for report in step.reports:
            (BUILD / report).unlink(missing_ok=True)
        print(f"\n== {step.name}: {' '.join(step.command)}", flush=True)
        start = time.monotonic()
        good = subprocess.run(step.command, cwd=PROJECT, stdin=subprocess.DEVNULL).returncode == 0
        step_passed = step_failed = 0
        for report in step.reports:
            if (BUILD / report).exists():
                here = count(BUILD / report)
                step_passed, step_failed = step_passed + here[0], step_failed + here[1]
                bad += failures(BUILD / report)
            else:
                print(f"{step.name} left no {report}: its tests did not run", flush=True)
                step_failed += 1
        if not good and step_failed == 0:
            step_failed = 1
        passed, failed = passed + step_passed, failed + step_failed
        lines.append(
            f"{'ok' if step_failed == 0 else 'FAILED':7}{step.name:20}{time.monotonic() - start:7.0f} s"
            f"{step_passed:6} passed{step_failed:6} failed"
        )
    print("\n" + "\n".join([*lines, "", *bad]))
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
