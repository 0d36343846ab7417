"""Processes that are stopped or stuck: real ones in a control group of our making, and files as the kernel has them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hearthmail.probe import box, hung, look, services
from hearthmail.probe.commands import Done
from hearthmail.probe.config import Config, Service
from hearthmail.probe.finding import CHAIN, GREEN, REBOOT, RED, RESTART, WAKE, Finding

UNIT = "postfix.service"
UNITS = {UNIT: {"ControlGroup": "/system.slice/postfix.service"}}
SMTP = Service("postfix", "smtp", UNIT, port=25)
SILENT = Finding("postfix", RED, "it hangs", "journalctl", UNIT, (RESTART, CHAIN, REBOOT))
NOW = 1_800_000_000.0


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """The unit's control group, with one below it, as systemd makes them for units that delegate."""
    folder = tmp_path / "system.slice" / UNIT
    (folder / "below").mkdir(parents=True)
    (folder / "cgroup.procs").write_text("")
    (folder / "below" / "cgroup.procs").write_text("")
    return folder


@pytest.fixture
def child(group: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the unit."""
    with subprocess.Popen(["sleep", "60"]) as process:
        (group / "below" / "cgroup.procs").write_text(f"{process.pid}\n999999999\n")
        yield process
        process.kill()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop it, and wait until it is."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_a_stopped_process_is_named(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    assert hung.look(UNITS, 0, [tmp_path]).stopped == {}
    stop(child)
    seen = hung.look(UNITS, 0, [tmp_path])
    (found,) = hung.judge_stopped(seen)
    assert (found.part, found.level, found.unit) == (f"processes of {UNIT}", RED, UNIT)
    assert found.repair == (WAKE, RESTART), "a reboot would mend nothing more"
    assert f"sleep ({child.pid})" in found.reason
    child.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED | os.WNOWAIT)
    assert hung.look(UNITS, 0, [tmp_path]).stopped == {}


def test_the_tree_may_lie_where_control_groups_v1_have_it(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    stop(child)
    assert hung.look(UNITS, 0, [tmp_path / "unified", tmp_path]).stopped
    assert not hung.look(UNITS, 0, [tmp_path / "unified"]).stopped


def test_one_that_is_stopped_for_a_moment_is_nothing(
    tmp_path: Path, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(child)

    def wake(_seconds: float) -> None:
        child.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, child.pid, os.WCONTINUED | os.WNOWAIT)

    monkeypatch.setattr(hung.time, "sleep", wake)
    assert hung.look(UNITS, 3, [tmp_path]).stopped == {}


@pytest.fixture
def proc(tmp_path: Path) -> Callable[..., None]:
    """Processes as proc(5) shows them."""

    def write(pid: int, name: str, state: str, switches: int = 0) -> None:
        folder = tmp_path / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        fields = " ".join(str(number) for number in range(4, 53))
        (folder / "stat").write_text(f"{pid} ({name}) {state} {fields}\n")
        text = f"Name:\t{name}\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t1\n"
        (folder / "status").write_text(text)
        listing = tmp_path / "system.slice" / UNIT / "cgroup.procs"
        pids = {*listing.read_text().split(), str(pid)}
        listing.write_text("\n".join(sorted(pids)))

    return write


@pytest.mark.usefixtures("group")
def test_the_kernel_s_files(tmp_path: Path, proc: Callable[..., None]) -> None:
    proc(11, "imap (a) b)", "S")
    (one,) = hung.processes(UNITS, [tmp_path], tmp_path / "proc")
    assert one == hung.Process(UNIT, 11, "imap (a) b)", "S", 22)


@pytest.mark.usefixtures("group")
def test_one_under_a_debugger_is_left_alone(tmp_path: Path, proc: Callable[..., None]) -> None:
    proc(11, "smtpd", "t")
    assert hung.look(UNITS, 0, [tmp_path], tmp_path / "proc").stopped == {}


@pytest.mark.usefixtures("group")
def test_a_unit_without_a_control_group_is_not_the_whole_machine(tmp_path: Path, proc: Callable[..., None]) -> None:
    proc(11, "smtpd", "T")
    assert list(hung.processes({UNIT: {"ControlGroup": ""}}, tmp_path, tmp_path / "proc")) == []
    assert list(hung.processes({UNIT: {}}, tmp_path, tmp_path / "proc")) == []


@pytest.mark.usefixtures("group")
def test_waiting_for_a_disk(tmp_path: Path, proc: Callable[..., None]) -> None:
    since: dict[str, float] = {}

    def judge(at: float) -> list[Finding]:
        nonlocal since
        seen = hung.look(UNITS, 0, [tmp_path], tmp_path / "proc")
        since = hung.remember(seen, since, at)
        return hung.judge_waiting(seen, since, at)

    proc(11, "cleanup", "D", switches=5)
    proc(12, "cleanup", "D", switches=5)
    assert judge(NOW) == judge(NOW + 60) == []
    # It was on the processor meanwhile: a slow disk, not one that hangs.
    proc(12, "cleanup", "D", switches=6)
    (found,) = judge(NOW + 120)
    assert (found.level, found.repair) == (RED, ()), "not even SIGKILL reaches it"
    assert found.reason == "waits for a disk for 2 min: cleanup (11)"
    proc(11, "cleanup", "S")
    assert judge(NOW + 180) == []
    assert set(since) == {"12:22:7"}, "what moves is forgotten"


def test_many_are_not_all_named() -> None:
    many = tuple(hung.Process(UNIT, pid, "smtpd", "T", 1) for pid in range(1, 9))
    (found,) = hung.judge_stopped(hung.Look({UNIT: many}))
    assert found.reason.endswith("smtpd (5) and 3 more")


STOPPED = hung.Look({UNIT: (hung.Process(UNIT, 1, "anvil", "T", 1),)})


def test_it_is_woken_before_anything_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With anvil stopped port 25 is silent: waking it loses nothing, a restart all sessions."""
    other = replace(SILENT, part="dovecot", unit="dovecot.service")
    monkeypatch.setattr(services, "check_all", lambda *_: [SILENT, other])
    monkeypatch.setattr(box, "check_time", lambda: Finding("time", GREEN, ""))
    config = Config("x", services=(SMTP, Service("dovecot", "imap", "dovecot.service", port=993)), room=())
    found = {one.part: one.repair for one in look.look(config, NOW, {}, STOPPED)}
    assert found == {
        "postfix": (WAKE, RESTART, CHAIN, REBOOT),
        "dovecot": SILENT.repair,
        "time": (),
        f"processes of {UNIT}": (WAKE, RESTART),
    }


@pytest.mark.parametrize(("count", "is_load"), [(99, False), (100, True), (300, True)])
def test_as_many_clients_as_it_can_take_are_no_hang(count: int, is_load: bool) -> None:
    found = services.busy(SMTP, SILENT, hung.Look({}, running={(UNIT, "smtpd"): count}))
    assert (found.repair, found.hold) == (((RESTART,), services.BUSY_ROUNDS) if is_load else (SILENT.repair, 0))


def test_load_is_only_what_is_silent_and_not_stopped() -> None:
    load = {(UNIT, "smtpd"): 100, ("dovecot.service", "smtpd"): 100}
    assert services.busy(SMTP, SILENT, replace(STOPPED, running=load)) == SILENT
    fine = Finding("postfix", GREEN, "SMTP answers")
    assert services.busy(SMTP, fine, hung.Look({}, running=load)) == fine
    imap = Service("dovecot", "imap", UNIT, port=993)
    assert services.busy(imap, SILENT, hung.Look({}, running=load)) == SILENT


def test_systemd_is_asked_for_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str]) -> Done:
        assert "ControlGroup" in argv[2]
        return Done(0, f"Id={UNIT}\nControlGroup=/system.slice/{UNIT}\n", "")

    monkeypatch.setattr(box, "run", run)
    assert box.read_units([UNIT])[UNIT]["ControlGroup"] == f"/system.slice/{UNIT}"
