"""`make test`: lint, unit tests, every molecule scenario, and a closing line that counts the tests which ran.

Usage: run_tests.py [lint|unit|molecule|drill ...]; without a word the first three. Exit code 1 if anything failed.
The scenarios wait for most of their time. So they run on two labs at once (tools/second_lab.py), and beside them, at a
low priority, linters and unit tests. The long drills have the machine to themselves: their figures are published.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from threading import Lock
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import second_lab

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"
SECOND = second_lab.BUILD.relative_to(BUILD)
DRILLS = ("hang", "rebuild")
# They take the home box as they find it: bare from the lab's start, deployed with a small disk by the first one's last
# test; or, in the second lab, bare from its start. The others put a bare one in its place.
TAKE_THE_BOX = ["default", "hang", "rebuild"]
# They run in the second lab: as long as the others, together.
IN_SECOND = ["rebuild", "bookworm"]
# The step before all that runs side by side: both labs want the images.
IMAGES = "images"
# What needs a lab, and so the machine's attention.
IN_LAB = ("molecule", "drill")
# What the drills write in a lab (tests/drill/record.py), each into what the ones before it wrote.
FIGURES = ("drills.json", "drill-numbers.json")
# Characters of what a failed test said that are said again at the end, where a log that is cut still has them.
FAILURE_LENGTH = 1200
# The priority of what runs beside a lab: a tenth of its weight. At the lowest one (19) a test can wait for seconds.
LOW = "10"
PYTHON_CODE = ["src", "plugins", "tools", "tests"]


@dataclass(frozen=True)
class Step:
    """One command, the JUnit files in which it leaves its tests (none for a linter), whether it is the second lab's."""

    name: str
    command: list[str]
    reports: list[str] = field(default_factory=list)
    in_second: bool = False


def tool(name: str) -> str:
    """Give the path of a program of the environment that runs this file."""
    return str(Path(sys.executable).parent / name)


def on_one_lab(scenarios: Iterable[str], *, second: bool = False) -> list[Step]:
    """Run scenarios one by one on the same lab, which takes a minute or two to start.

    Typed by hand, `molecule test` makes a lab for each.

    :param second: whether that is the second one.
    """
    reports = SECOND if second else Path()

    def place(name: str) -> tuple[int, str]:
        return (TAKE_THE_BOX.index(name) if name in TAKE_THE_BOX else len(TAKE_THE_BOX), name)

    lab = [
        Step(
            f"molecule {scenario}",
            [tool("molecule"), "test", "--destroy=never", "-s", scenario],
            [str(reports / f"junit-{scenario}.xml")],
            second,
        )
        for scenario in sorted(scenarios, key=place)
    ]
    name = "remove the second" if second else "remove the lab"
    return [*lab, Step(name, [tool("molecule"), "destroy"], in_second=second)]


def steps() -> dict[str, list[Step]]:
    """Name every step of a whole run, cheapest first."""
    scenarios = {path.parent.name for path in (PROJECT / "molecule").glob("*/molecule.yml")}
    images = [tool("ansible-playbook"), "-i", "inventories/lab", "molecule/shared/images.yml"]
    hang, *others = on_one_lab(DRILLS)
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
        "molecule": [
            Step(IMAGES, images),
            *on_one_lab(scenarios - set(IN_SECOND)),
            *on_one_lab(IN_SECOND, second=True),
        ],
        # `make drill` sets HEARTH_DRILL=long: the same scenarios, with all their faults and sizes. Between them a bare
        # box: 100,000 messages take more room than the disk has which is filled up.
        "drill": [hang, Step("a bare box", [tool("molecule"), "side-effect", "-s", "rebuild"]), *others],
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


@dataclass(frozen=True)
class Outcome:
    """What came of a step: whether its command succeeded, how long it took, what it said if nobody saw it."""

    step: Step
    good: bool
    seconds: float
    said: str = ""

    def __str__(self) -> str:
        """Give the step's line of the closing table."""
        passed, failed = self.tests()
        return (
            f"{'FAILED' if failed else 'ok':7}{self.step.name:20}{self.seconds:7.0f} s"
            f"{passed:6} passed{failed:6} failed"
        )

    def tests(self) -> tuple[int, int]:
        """Count (passed, failed). A missing report is a failure, and so is a command that failed for no test."""
        passed = failed = 0
        for report in self.step.reports:
            here = count(BUILD / report) if (BUILD / report).exists() else (0, 1)
            passed, failed = passed + here[0], failed + here[1]
        return passed, failed or int(not self.good)

    def failures(self) -> list[str]:
        """Name what failed."""
        found = []
        for report in self.step.reports:
            missing = f"{self.step.name} left no {report}: its tests did not run"
            found += failures(BUILD / report) if (BUILD / report).exists() else [missing]
        return found


def heading(step: Step) -> str:
    """Give the line that stands above what a step says."""
    return f"\n== {step.name}: {' '.join(step.command)}"


def run(step: Step) -> Outcome:
    """Run a step in sight."""
    print(heading(step), flush=True)
    start = time.monotonic()
    good = subprocess.run(step.command, cwd=PROJECT, stdin=subprocess.DEVNULL).returncode == 0
    return Outcome(step, good, time.monotonic() - start)


class Aside:
    """Steps that run one by one, out of sight, while others run in sight.

    :param inside: makes the command line that runs a command in the second lab; without it they run here, at a low
        priority.
    """

    def __init__(self, steps: Iterable[Step], inside: Callable[[Sequence[str]], list[str]] | None = None) -> None:
        """Begin."""
        self._inside = inside
        self._pool = ThreadPoolExecutor(1)
        self._lock = Lock()
        self._ended = False
        self._process: subprocess.Popen[str] | None = None
        self._waiting: list[Future[Outcome]] = [self._pool.submit(self._run, step) for step in steps]

    def _start(self, step: Step) -> subprocess.Popen[str] | None:
        """Start a step, unless all is to end."""
        # Not while `end` looks which process there is to end.
        with self._lock:
            if not self._ended:
                self._process = subprocess.Popen(
                    self._inside(step.command) if self._inside else ["nice", "-n", LOW, *step.command],
                    cwd=PROJECT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
                return self._process
        return None

    def _run(self, step: Step) -> Outcome:
        start = time.monotonic()
        process = self._start(step)
        if not process:
            return Outcome(step, good=False, seconds=0, said="not begun")
        if not self._inside:
            # Linux weighs whole sessions against each other, and priorities only within one (sched(7), autogroup).
            with suppress(OSError):  # a kernel without that, or a step that has ended already
                Path(f"/proc/{process.pid}/autogroup").write_text(LOW)
        said, _ = process.communicate()
        return Outcome(step, process.returncode == 0, time.monotonic() - start, said)

    def finished(self, *, wait: bool) -> Iterator[Outcome]:
        """Give what has come of the steps that ended since the last call, and print what they said."""
        while self._waiting and (wait or self._waiting[0].done()):
            outcome = self._waiting.pop(0).result()
            where = "in the second lab" if self._inside else "aside"
            print(f"{heading(outcome.step)} ({where})\n{outcome.said}", flush=True)
            yield outcome

    def end(self) -> None:
        """End what still runs, as after Ctrl-C, which a session of its own does not hear."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._ended = True
            if self._process and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)
        self._pool.shutdown()


def run_all(aside: Sequence[Step], in_sight: Sequence[Step], second: Sequence[Step] = ()) -> list[Outcome]:
    """Run steps one by one, and beside them, also one by one, others.

    :param aside: begin after the step IMAGES, or at once.
    :param second: begin after it too, in the second lab.
    """
    outcomes = []
    rows: list[Aside] = []
    with ExitStack() as ends:

        def begin(steps: Sequence[Step], inside: Callable[[Sequence[str]], list[str]] | None = None) -> None:
            rows.append(Aside(steps, inside))
            ends.callback(rows[-1].end)

        if IMAGES not in [step.name for step in in_sight]:
            begin(aside)
        for step in in_sight:
            outcomes.append(run(step))
            if step.name == IMAGES:
                begin(aside)
                if second:
                    begin(second, ends.enter_context(second_lab.SecondLab()).inside)
            outcomes += (outcome for row in rows for outcome in row.finished(wait=False))
        outcomes += (outcome for row in rows for outcome in row.finished(wait=True))
    return outcomes


def gather_figures() -> None:
    """Put the figures of the second lab's drills to those of the first one's."""
    for name in FIGURES:
        files = [file for file in (BUILD / name, BUILD / SECOND / name) if file.exists()]
        if not files:
            continue
        first, *others = (json.loads(file.read_text()) for file in files)
        for other in others:
            first = first | other if isinstance(first, dict) else first + other
        (BUILD / name).write_text(json.dumps(first, indent=1) + "\n")


def main(words: list[str]) -> int:
    """Run the steps that `words` name, print a line for each and the closing line."""
    known = steps()
    unknown = [word for word in words if word not in known]
    if unknown:
        print(f"{unknown[0]} is none of {', '.join(known)}", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    wanted = words or ["lint", "unit", "molecule"]
    lab = [word for word in wanted if word in IN_LAB]
    # What Molecule believes to be up: `make demo-down` or another clone may have taken it down since.
    for believed in (BUILD / "molecule", BUILD / SECOND / "molecule"):
        if lab and believed.exists():
            shutil.rmtree(believed)
    aside = [step for word in wanted if lab and word not in IN_LAB for step in known[word]]
    in_lab = [step for word in lab or wanted for step in known[word]]
    in_sight, second = ([step for step in in_lab if step.in_second == there] for there in (False, True))
    # Reports and figures of an earlier run are none of this one.
    reports = [report for step in [*aside, *in_lab] for report in step.reports]
    figures = [place / name for place in (Path(), SECOND) for name in FIGURES]
    for file in [*reports, *(figures if lab else ())]:
        (BUILD / file).unlink(missing_ok=True)
    outcomes = run_all(aside, in_sight, second)
    if second:
        gather_figures()
    passed, failed = (sum(some) for some in zip(*(outcome.tests() for outcome in outcomes), strict=True))
    bad = [line for outcome in outcomes for line in outcome.failures()]
    print("\n" + "\n".join([*map(str, outcomes), "", *bad]))
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
