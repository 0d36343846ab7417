"""Real processes, real files, a real socket: killed in the middle of a write, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearthmail.ddns import state
from hearthmail.ddns.report import OK

from .agent_process import ZONE, agent
from .powerdns_standin import Standin, serving

FOREIGN = {
    (f"{ZONE}.", "NS"): (86400, ["ns1.provider.example."]),
    (f"{ZONE}.", "TXT"): (900, ['"site-verification=abc"']),
    (f"{ZONE}.", "CAA"): (300, ['0 issue "ca.example"']),
    (f"www.{ZONE}.", "A"): (300, ["203.0.113.80"]),
    (f"lists.{ZONE}.", "MX"): (300, ["5 mx.other.example."]),
}
STAGES = ["read", "read answered", "write", "written", "write answered"]
OLD, NEW = "198.51.100.10", "198.51.100.11"
# The runs in this process fork while the stand-in's threads serve; those of the box have one thread.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
PROGRAM = Path(__file__).with_name("agent_process.py")
SOURCES = Path(__file__).parents[3] / "src"


@pytest.fixture
def standin() -> Iterator[Standin]:
    with serving(Standin(ZONE, dict(FOREIGN))) as one:
        yield one


def start(address: str, folder: Path, port: int, run: str = "apply") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), address, str(folder), str(port), run],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def expected(address: str) -> dict[tuple[str, str], tuple[int, list[str]]]:
    return {
        **FOREIGN,
        (f"{ZONE}.", "TXT"): (900, ['"site-verification=abc"', '"v=spf1 mx -all"']),
        (f"{ZONE}.", "MX"): (3600, ["10 mail.hearth.example."]),
        (f"mail.{ZONE}.", "A"): (60, [address]),
    }


def sorted_values(zone: dict[tuple[str, str], tuple[int, list[str]]]) -> dict[tuple[str, str], tuple[int, list[str]]]:
    return {place: (ttl, sorted(values)) for place, (ttl, values) in zone.items()}


def kill_at(
    stage: str, address: str, folder: Path, standin: Standin, whole_group: bool, run: str, lost: bool = False
) -> None:
    """Start a run and kill it with SIGKILL when the provider is at this stage of its request.

    :param lost: the provider does not go on with the request either.
    """
    ready, struck = threading.Event(), threading.Event()
    victims: list[subprocess.Popen[str]] = []

    def strike(at: str) -> None:
        if at != stage or struck.is_set():
            return
        struck.set()
        assert ready.wait(60)
        if whole_group:
            os.killpg(victims[0].pid, signal.SIGKILL)
        else:
            victims[0].kill()
        # Without this the provider might go on before the process is gone.
        victims[0].wait(60)
        if lost:
            raise ConnectionAbortedError

    standin.strike = strike
    victims.append(start(address, folder, standin.port, run))
    ready.set()
    with victims[0] as victim:
        victim.communicate(timeout=120)
    # What the provider was at work on arrives, although nobody waits for it.
    assert standin.idle.wait(60)
    standin.strike = lambda _stage: None
    assert struck.is_set()
    assert victim.returncode == -signal.SIGKILL


@pytest.mark.parametrize("whole_group", [True, False], ids=["all-processes", "parent-only"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_the_first_apply(tmp_path: Path, standin: Standin, stage: str, whole_group: bool) -> None:
    kill_at(stage, OLD, tmp_path, standin, whole_group, "apply")
    assert {place: standin.rrsets[place] for place in FOREIGN if place[1] != "TXT"} == {
        place: data for place, data in FOREIGN.items() if place[1] != "TXT"
    }
    assert '"site-verification=abc"' in standin.rrsets[f"{ZONE}.", "TXT"][1]
    # Meanwhile the address has changed: what the dead one wrote is known as ours, not taken for another's.
    report = agent(NEW, tmp_path, standin.port).apply()
    assert report.exit_code == OK, report
    assert sorted_values(standin.rrsets) == expected(NEW)
    assert standin.refused == []
    writes = standin.writes
    assert agent(NEW, tmp_path, standin.port).check().exit_code == OK
    assert standin.writes == writes
    kept = state.load(tmp_path / "ddns.json")
    assert kept
    assert kept.pending == {}


@pytest.mark.parametrize("final", [OLD, NEW, "198.51.100.12"], ids=["back-again", "stays", "moved-on"])
@pytest.mark.parametrize("stage", ["write", "written"])
def test_killed_while_the_address_moves(tmp_path: Path, standin: Standin, stage: str, final: str) -> None:
    assert agent(OLD, tmp_path, standin.port).apply().exit_code == OK
    kill_at(stage, NEW, tmp_path, standin, True, "check")
    # A quick look is enough: that a write had no known end is in the state.
    report = agent(final, tmp_path, standin.port).check(full=False)
    assert report.exit_code == OK, report
    assert sorted_values(standin.rrsets) == expected(final)
    kept = state.load(tmp_path / "ddns.json")
    assert kept
    assert kept.pending == {}
    assert [sorted(values) for key, values in kept.owned_in(ZONE).items() if key.type == "A"] == [[final]]


def test_what_a_killed_run_did_not_write_is_not_ours(tmp_path: Path, standin: Standin) -> None:
    """Killed before the provider had it; then somebody else puts a record into the place."""
    kill_at("write", OLD, tmp_path, standin, True, "apply", lost=True)
    assert standin.writes == 0
    kept = state.load(tmp_path / "ddns.json")
    assert kept
    assert "hearth.example|mail|A" in kept.pending
    standin.rrsets[f"mail.{ZONE}.", "A"] = (300, ["203.0.113.5"])
    before = dict(standin.rrsets)
    for _ in range(2):
        assert agent(OLD, tmp_path, standin.port).apply().exit_code == 3
        assert agent(OLD, tmp_path, standin.port).check().exit_code in (OK, 3)
    assert standin.rrsets == before


def test_two_at_once(tmp_path: Path, standin: Standin) -> None:
    both = [start(OLD, tmp_path, standin.port) for _ in range(3)]
    for one in both:
        with one:
            said, wrong = one.communicate(timeout=60)
        assert one.returncode == OK, said + wrong
    assert standin.writes == 1
    assert sorted_values(standin.rrsets) == expected(OLD)
    assert standin.refused == []


def test_an_orphan_that_hangs_does_not_hold_the_lock_for_ever(
    tmp_path: Path, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent is killed, and the provider never answers: the kernel ends it, and the lock is free."""
    end = threading.Event()
    program = tmp_path / "short.py"
    program.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "from hearthmail.ddns import publish\n"
        "publish.work_limited.__defaults__ = (2, *publish.work_limited.__defaults__[1:])\n"
        "import agent_process\n"
        "agent_process.main()\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", program)

    def strike(stage: str) -> None:
        if stage == "read":
            victim.kill()
            end.wait(40)

    standin.strike = strike
    victim = start(OLD, tmp_path, standin.port)
    with victim:
        said = victim.communicate(timeout=120)
    assert victim.returncode == -signal.SIGKILL, said
    with state.lock(tmp_path / "ddns.json", wait=10):
        pass
    standin.strike = lambda _stage: None
    end.set()
    assert agent(OLD, tmp_path, standin.port).apply().exit_code == OK
