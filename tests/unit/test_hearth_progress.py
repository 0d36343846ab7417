"""A long command on the box: how far it is is seen here, and it outlives the line and the controller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import IO, Any

import pytest

from plugins.action.hearth_progress import last_words, objects, spacing

PROJECT = Path(__file__).resolve().parents[2]
# As hearth-backup: one at a time; what was done is not done again. How it ends, the test writes into a FIFO.
COMMAND = """\
import fcntl, json, os, sys
from pathlib import Path
here = Path(sys.argv[1])
(here / "pids" / str(os.getpid())).touch()
with (here / "log").open("a") as log:
    print("typed", file=log)
lock = (here / "lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
if (here / "done").exists():
    print("already done")
    sys.exit(0)
(here / "new").write_text(json.dumps({"command": "restore-all", "pid": os.getpid(), "text": "1 of 3 files"}, indent=1))
(here / "new").replace(here / "progress")
code = int((here / "end").read_text())
(here / "progress").unlink()
if not code:
    (here / "done").touch()
print("what it said")
if code:
    print("a warning\\nThe disk is full.", file=sys.stderr)
sys.exit(code)
"""
# A line to the box that is down while there is a file.
CONNECTION = """\
from pathlib import Path
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as Local
DOCUMENTATION = '''
name: flaky
short_description: local, if it is up
author: Hearthmail
extends_documentation_fragment: [connection_pipelining]
'''
class Connection(Local):
    transport = "flaky"
    def exec_command(self, *words, **more):
        if (Path(__file__).parents[1] / "down").exists():
            raise AnsibleConnectionFailure("no route to host")
        return super().exec_command(*words, **more)
    def reset(self):
        pass
"""


@dataclass
class Run:
    """An `ansible-playbook` at work."""

    process: subprocess.Popen[str]
    path: Path
    seen: list[str] = field(default_factory=list)

    @property
    def out(self) -> IO[str]:
        assert self.process.stdout
        return self.process.stdout

    def until(self, words: str) -> None:
        """Read what it shows until these words."""
        for line in self.out:
            self.seen.append(line)
            if words in line:
                return
        raise AssertionError(f"{words!r} was not said: {''.join(self.seen)}")

    def finish(self) -> tuple[int, dict[str, Any]]:
        """Wait until it ends; gives its exit code and the task's result."""
        self.seen += list(self.out)
        code, result = self.process.wait(), self.path / "result.json"
        return code, json.loads(result.read_text()) if result.exists() else {}

    @property
    def text(self) -> str:
        return "".join(self.seen)

    def kill(self) -> None:
        """Kill the controller with its workers, which are sessions of their own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Box:
    """Where the command works, and how it is typed."""

    path: Path
    runs: list[Run] = field(default_factory=list)
    guards: list[Timer] = field(default_factory=list)

    def type(self, *options: str, connection: str = "local", patience: float = 60, **task: Any) -> Run:
        arguments = {
            "argv": [sys.executable, str(self.path / "command.py"), str(self.path)],
            "progress": str(self.path / "progress"),
            "patience": patience,
        }
        write = {"content": "{{ r | to_json }}", "dest": str(self.path / "result.json")}
        going_on = {"ignore_errors": True, "ignore_unreachable": True}
        play = {
            "hosts": "localhost",
            "connection": connection,
            "gather_facts": False,
            "tasks": [
                {"hearth_progress": arguments, "register": "r", **going_on, **task},
                {"copy": write, "connection": "local", "check_mode": False},
                {"fail": {"msg": "it failed"}, "connection": "local", "when": "r.rc | default(1) != 0"},
            ],
        }
        (self.path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",  # each line is read when it is written
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_CONNECTION_PLUGINS": str(self.path / "connections"),
            "ANSIBLE_ASYNC_DIR": str(self.path / "async"),
        }
        command = [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "localhost,",
            self.path / "play.yml",
            *options,
        ]
        more = ["-e", f"ansible_python_interpreter={sys.executable}"]
        process = subprocess.Popen(
            [*command, *more],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # A run that hangs is a failed test, not one that never ends.
        self.guards.append(Timer(300, process.kill))
        self.guards[-1].start()
        self.runs.append(Run(process, self.path))
        return self.runs[-1]

    def end(self, code: int) -> None:
        """Let the command end; waits until it asks."""
        end = None
        while end is None:
            assert self.runs[-1].process.poll() is None, "".join(self.runs[-1].out)
            # Refused until somebody reads, so that a command which never began does not keep us here.
            with suppress(OSError):
                end = os.open(self.path / "end", os.O_WRONLY | os.O_NONBLOCK)
        os.write(end, str(code).encode())
        os.close(end)

    def clean(self) -> None:
        """End each command that was started and has not ended: one that waits for the lock, too, or for the test."""
        for pid in (int(path.name) for path in (self.path / "pids").iterdir()):
            with suppress(FileNotFoundError, ProcessLookupError):
                # Numbers are given again: only what was started with this very path is ours.
                if str(self.path / "command.py") in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The command that is at work."""
        return int(json.loads((self.path / "progress").read_text())["pid"])


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box with the command; whatever a failed test leaves running is ended."""
    made = Box(tmp_path)
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "connections").mkdir()
    (tmp_path / "connections/flaky.py").write_text(CONNECTION)
    (tmp_path / "pids").mkdir()
    os.mkfifo(tmp_path / "end")
    yield made
    for guard in made.guards:
        guard.cancel()
    for run in made.runs:
        if run.process.poll() is None:
            run.kill()
        run.out.close()
    made.clean()


def test_what_a_failed_test_leaves_at_work_is_ended(box: Box) -> None:
    words = [sys.executable, str(box.path / "command.py"), str(box.path)]
    working = subprocess.Popen(words)
    # Waits for the lock: of it there is no progress.
    waiting = subprocess.Popen(words)
    try:
        while len(list((box.path / "pids").iterdir())) < 2:
            assert working.poll() is None
            assert waiting.poll() is None
        box.clean()
        assert {working.wait(60), waiting.wait(60)} == {-signal.SIGKILL}
    finally:
        working.kill()
        waiting.kill()
    # A number that is somebody else's by now is left alone.
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    (box.path / "pids" / str(other.pid)).touch()
    box.clean()
    assert other.poll() is None
    other.communicate()
    assert other.returncode == 0


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_shows_how_far_it_is_and_returns_what_a_command_does(box: Box) -> None:
    run = box.type()
    run.until("localhost: restore-all: 1 of 3 files")
    box.end(0)
    code, result = run.finish()
    assert (code, result["rc"], result["stdout"], result["changed"]) == (0, 0, "what it said", True)
    assert "ansible_job_id" not in result
    assert "is done after" in run.text
    assert run.text.count("1 of 3 files") == 1, "what is not new is not shown again"
    assert list((box.path / "async").iterdir()) == []


def test_a_failure_says_its_last_words(box: Box) -> None:
    run = box.type()
    box.end(3)
    code, result = run.finish()
    assert (result["rc"], result["msg"]) == (3, "a warning; The disk is full.")
    assert code == 2
    assert "[ERROR]: Task failed: Action failed: a warning; The disk is full." in run.text


def test_a_command_that_is_not_there_is_named(box: Box) -> None:
    run = box.type(hearth_progress={"argv": ["/nonexistent/hearth-backup"]})
    code, _ = run.finish()
    assert code == 2
    assert "No such file or directory: b'/nonexistent/hearth-backup'" in run.text


def test_by_mitogen_nothing_begins(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", "mitogen_linear")
    run = box.type()
    code, _ = run.finish()
    assert code == 2
    assert "Type it again without ANSIBLE_STRATEGY=mitogen_linear; nothing has begun." in run.text
    assert not (box.path / "log").exists()


def test_check_mode_runs_nothing(box: Box) -> None:
    code, result = box.type("--check").finish()
    assert (code, result["skipped"], result["changed"]) == (0, True, False)
    assert result["msg"] == "Command would have run if not in check mode"
    assert not (box.path / "log").exists()


def test_a_secret_task_shows_nothing(box: Box) -> None:
    run = box.type(no_log=True)
    box.end(0)
    run.finish()
    assert "localhost: " not in run.text.replace("changed: [localhost]", "")
    assert "began" not in run.text


def test_killed_and_typed_again_it_waits_for_the_first(box: Box) -> None:
    first = box.type()
    first.until("1 of 3 files")
    at_work = box.pid
    first.kill()
    again = box.type()
    again.until("another run is at work, this one waits for it (restore-all: 1 of 3 files)")
    assert box.pid == at_work, "the first command works on, though nobody looks"
    again.until("localhost: restore-all: 1 of 3 files")
    box.end(0)
    code, result = again.finish()
    assert (code, result["stdout"]) == (0, "already done")
    assert (box.path / "log").read_text() == "typed\ntyped\n"


def test_a_job_that_vanishes_is_not_waited_for(box: Box) -> None:
    run = box.type()
    run.until("1 of 3 files")
    # The command, the module, the two of Ansible that watch them: as a box that is switched off.
    chain = [box.pid]
    while "ansible" in Path(f"/proc/{parent(chain[-1])}/cmdline").read_text():
        chain.append(parent(chain[-1]))
    assert len(chain) == 4, chain
    for pid in reversed(chain):
        os.kill(pid, signal.SIGKILL)
    code, result = run.finish()
    assert code == 2
    assert "ended on the box without a result" in result["msg"]


def test_a_line_that_comes_back(box: Box) -> None:
    run = box.type(connection="flaky")
    run.until("1 of 3 files")
    (box.path / "down").touch()
    run.until("the line is lost")
    (box.path / "down").unlink()
    run.until("the line is back")
    box.end(0)
    code, result = run.finish()
    assert (code, result["stdout"]) == (0, "what it said")


def test_a_line_that_stays_away(box: Box) -> None:
    run = box.type(connection="flaky", patience=0)
    run.until("1 of 3 files")
    (box.path / "down").touch()
    run.until("the line is lost")
    _, result = run.finish()
    assert result["unreachable"]
    assert Path(f"/proc/{box.pid}").exists()


def test_an_hour_is_less_than_a_hundred_lines() -> None:
    lines, last = 0, float("-inf")
    for now in range(0, 3600, 2):
        if now - last >= spacing(now):
            lines, last = lines + 1, float(now)
    assert 20 < lines < 100


def test_an_answer_with_nothing_in_it() -> None:
    assert objects("gone\n--\n\n--\n") == (False, {}, {})
    assert objects('lives\r\n--\r\n{"started": 1}\r\n--\r\n{"pid"') == (True, {"started": 1}, {})
    assert objects("") == (False, {}, {})


def test_the_last_words_are_those_of_the_errors() -> None:
    assert last_words({"stdout": "1\n2\n", "stderr": "a\n\nb\nc\n"}) == "b; c"
    assert last_words({"stdout": "1\n2\n", "stderr": ""}) == "1; 2"
