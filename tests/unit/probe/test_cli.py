"""Configuration, memory, a whole round, and what a person sees."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hearthmail.probe import box, cli, letters, memory, text
from hearthmail.probe.act import act
from hearthmail.probe.commands import Done
from hearthmail.probe.config import ConfigError, load
from hearthmail.probe.decide import Action, Flush, Reboot, Restart, TryAgain
from hearthmail.probe.finding import CHAIN, GREEN, REBOOT, RED, RESTART, YELLOW, Finding
from hearthmail.probe.memory import Letter, Memory, Note
from tools.build_program import archive

HUNG = Finding("dovecot", RED, "it hangs", "journalctl -u dovecot", "dovecot.service", (RESTART, CHAIN, REBOOT))
FINE = Finding("postfix", GREEN, "SMTP answers")
OLD = Finding("queue", RED, "5 waiting", "postqueue -p")


class Box:
    """The machine under the command: what is found, and what is done to it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.found = path, [FINE]
        self.actions: list[Action] = []
        self.sent: list[str] = []
        self.mail_works = True
        self.config: dict[str, Any] = {"hostname": "mail.hearth.example", "tell": "postmaster@hearth.example"}
        (path / "probe.d").mkdir()
        self.fragment(
            "dovecot", {"parts": [{"part": "dovecot", "unit": "dovecot.service", "kind": "imap", "port": 993}]}
        )
        monkeypatch.setattr(cli, "look", lambda *_: list(self.found))
        monkeypatch.setattr(cli, "act", self.act)
        monkeypatch.setattr(box, "read_units", lambda _units: {})
        monkeypatch.setattr(box, "busy", lambda: "")
        monkeypatch.setattr(letters, "send", self.send)

    def fragment(self, role: str, content: Any) -> None:
        (self.path / "probe.d" / f"{role}.json").write_text(json.dumps(content))

    def act(self, actions: list[Action]) -> list[str]:
        self.actions += actions
        return []

    def send(self, letter: Letter, _hostname: str, _to: str) -> str:
        if not self.mail_works:
            return "postdrop: no room"
        self.sent.append(letter.subject)
        return ""

    def __call__(self, *words: str) -> int:
        (self.path / "probe.json").write_text(json.dumps(self.config))
        paths = {"config": "probe.json", "parts": "probe.d", "state": "state", "run": "run"}
        options = [word for name, path in paths.items() for word in (f"--{name}", str(self.path / path))]
        return cli.main([*options, *words])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_status_before_the_first_round(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert home("status") == 2
    assert "no round has been made yet" in capsys.readouterr().out


def test_a_round_and_its_status(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    home.found = [FINE, HUNG, Finding("certificate", YELLOW, "holds for 9 days", "run the playbook")]
    assert home("run") == 0
    assert home.actions == [Restart(("dovecot.service",)), Flush()]
    capsys.readouterr()
    assert home("status") == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("red     dovecot      it hangs (since ")
    assert lines[1:5] == [
        "                     -> journalctl -u dovecot",
        "yellow  certificate  holds for 9 days",
        "                     -> run the playbook",
        "green   postfix      SMTP answers",
    ]
    assert "Restarted dovecot.service, because dovecot is red: it hangs" in lines[-1]
    assert home("status", "--json") == 2
    status = json.loads(capsys.readouterr().out)
    assert (status["level"], [part["part"] for part in status["parts"]]) == (
        "red",
        ["postfix", "dovecot", "certificate"],
    )
    state = home.path / "state"
    assert (home.path / "run" / "status.json").stat().st_mode & 0o777 == 0o644
    assert (state / "memory.json").stat().st_mode & 0o777 == 0o600


def test_check_changes_nothing(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert home("check") == 0
    home.found = [Finding("certificate", YELLOW, "holds for 9 days")]
    assert home("check") == 1
    home.found = [HUNG]
    assert home("check", "--json") == 2
    assert home.actions == home.sent == []
    assert not (home.path / "state" / "memory.json").exists()
    assert not (home.path / "run" / "status.json").exists()
    assert "it hangs" in capsys.readouterr().out


def test_a_status_that_is_too_old_is_red(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    home("run")
    file = home.path / "run" / "status.json"
    status = json.loads(file.read_text())
    assert home("status") == 0
    file.write_text(json.dumps({**status, "at": time.time() - 200}))
    assert home("status") == 2
    assert "hearth-probe.timer" in capsys.readouterr().out
    for rubbish in ("", "[]", '{"at": "noon"}', '{"at": 1, "parts": 3}'):
        file.write_text(rubbish)
        assert home("status") == 2


def test_a_damaged_memory_is_put_aside(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    state = home.path / "state"
    state.mkdir()
    for rubbish in ('{"version": 1, "faults": [', "", '{"version": 1, "faults": {"a": {"since": "x"}}}', "[]"):
        (state / "memory.json").write_text(rubbish)
        assert home("run") == 0
        assert (state / "memory.damaged").read_text() == rubbish
        home("status")
        assert "The memory was damaged" in capsys.readouterr().out


def test_a_damaged_memory_may_have_forgotten_a_reboot(tmp_path: Path) -> None:
    """A box that reboots, and whose disk loses what was written then, must not reboot each few minutes."""
    (tmp_path / "memory.json").write_text("{")
    assert memory.load(tmp_path, tmp_path / "run", 1000.0).last_reboot == 1000.0
    assert memory.load(tmp_path / "new", tmp_path / "run", 1000.0).last_reboot == 0.0, "a new box has none"


def test_the_memory_survives_its_file(tmp_path: Path) -> None:
    kept = Memory(
        faults={"dovecot": memory.Fault(1.0, 2, 3, ("restart", "chain"), 4.0, 5.0, "it hangs")},
        restarts={"dovecot.service": (1.0, 2.0)},
        counted={"dovecot.service": 3},
        tellings={"queue": (1.5,)},
        notes=(Note(1.0, "restarted"),),
        letters=(Letter(1.0, "subject", "body"),),
        stalled={"12:3:4": 6.0},
        reboots=(7.0,),
        retried={"dovecot.service": 8.0},
        closed=("postfix.service",),
        mail_tried={"4bGx1": 2},
        mail_tried_at=8.5,
    )
    state, run = tmp_path / "state", tmp_path / "run"
    assert memory.save(kept, state, run) == ""
    assert memory.load(state, run, 9.0) == kept
    written = (state / "memory.json").stat().st_mtime_ns
    memory.save(kept, state, run)
    assert (state / "memory.json").stat().st_mtime_ns == written, "an unchanged one is not written"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["memory.json"]


def test_a_full_disk_is_told_too(home: Box) -> None:
    # A file where the folder should be: nothing can be written there, by root either.
    (home.path / "state").write_text("")
    home.found = [Finding("room /", RED, "0 % of the inodes", no_room=True)]
    home("run")
    home("run")
    assert home.sent == ["mail.hearth.example: room / needs you"]
    home("run")
    assert len(home.sent) == 1
    (home.path / "state").unlink()
    home("run")
    assert (home.path / "state" / "memory.json").exists()
    assert not (home.path / "run" / "memory.json").exists()


def test_a_letter_that_cannot_leave_is_kept(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    home.found, home.mail_works = [OLD], False
    home("run")
    home("run")
    home("status")
    assert "Not told yet, the mail could not be sent: mail.hearth.example: queue needs you" in capsys.readouterr().out
    home.mail_works = True
    home("run")
    home("run")
    assert home.sent == ["mail.hearth.example: queue needs you"]


def test_a_reboot_is_remembered_before_it_is_done(home: Box) -> None:
    home.found = [HUNG]
    for _ in range(3):
        home("run")
    assert home.actions[-1] == Reboot()
    assert memory.load(home.path / "state", home.path / "run", time.time()).last_reboot > 0


def test_no_reboot_that_cannot_be_remembered(home: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    home.found = [HUNG]
    home("run")
    home("run")

    def full(*_words: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory, "replace_file", full)
    assert home("run") == 0
    assert Reboot() not in home.actions


def test_two_rounds_never_run_at_once(home: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def taken(_folder: Path, _wait: float) -> Iterator[bool]:
        yield False

    monkeypatch.setattr(memory, "lock", taken)
    assert home("run") == 2
    assert home.actions == []


def test_the_lock(tmp_path: Path) -> None:
    with memory.lock(tmp_path / "new", 0) as first, memory.lock(tmp_path / "new", 0) as second:
        assert (first, second) == (True, False)


class Switch(BaseHTTPRequestHandler):
    """A dead man's switch that counts."""

    asked = 0

    def do_GET(self) -> None:
        Switch.asked += 1
        self.send_response(200 if self.path == "/good" else 500)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Be quiet."""


def test_the_dead_mans_switch(home: Box, capsys: pytest.CaptureFixture[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), Switch) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        home.config["ping_url"] = f"{url}/good"
        home("run")
        assert (Switch.asked, home("status")) == (1, 0)
        home.found = [HUNG]
        home("run")
        assert Switch.asked == 1, "red is not told as alive"
        home.found, home.config["ping_url"] = [FINE], f"{url}/bad"
        home("run")
        assert home("status") == 1
        server.shutdown()
    home.config["ping_url"] = "file:///etc/passwd"
    home("run")
    capsys.readouterr()
    assert home("status") == 1
    assert "watchdog_ping_url" in capsys.readouterr().out


def test_fragments(home: Box) -> None:
    home("status")
    home.fragment(
        "dovecot",
        {
            "parts": [{"part": "dovecot", "unit": "dovecot.service", "kind": "imap", "host": "127.0.0.1", "port": 993}],
            "mailbox": {
                "address": "hearth-probe@hearthmail.invalid",
                "password": "p",
                "host": "127.0.0.1",
                "port": 993,
            },
            "room": [{"path": "/var/vmail"}],
        },
    )
    home.fragment(
        "a-postfix",
        {
            "parts": [{"part": "postfix", "unit": "postfix.service", "kind": "smtp", "port": 25}],
            "queue": True,
            "domains": ["Hearth.example", "other.example"],
            "room": [{"path": "/var/spool/postfix", "red_bytes": 157286400}],
        },
    )
    home.fragment("resolver", {"parts": [{"part": "resolver", "unit": "unbound.service", "kind": "dns", "port": 53}]})
    home.fragment("web", {"parts": [{"part": "web", "unit": "nginx.service", "kind": "command", "argv": ["true"]}]})
    home.fragment("backup", {"backup": True, "backup_interval": 7200})
    config = load(home.path / "probe.json", home.path / "probe.d")
    assert config.chain == ("unbound.service", "dovecot.service", "postfix.service")
    assert set(config.units) == {*config.chain, "nginx.service"}
    assert [room.path for room in config.room] == ["/", "/var/spool/postfix", "/var/vmail"]
    assert (config.queue, config.backup, config.backup_interval, config.ddns) == (True, True, 7200, False)
    assert config.domains == ("hearth.example", "other.example")
    assert config.mailbox is not None


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"parts": [{"part": "x"}]},
        {"parts": [{"part": "x", "kind": "gopher"}]},
        {"parts": [{"part": "x", "kind": "command"}]},
        {"parts": [{"part": "x", "kind": "smtp"}]},
        {"parts": 3},
        {"mailbox": {"name": "x"}},
        {"domains": "hearth.example"},
    ],
)
def test_a_bad_fragment_is_named(home: Box, content: Any, capsys: pytest.CaptureFixture[str]) -> None:
    home.fragment("strange", content)
    assert home("run") == 2
    assert "strange.json cannot be used" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        load(home.path / "probe.json", home.path / "probe.d")


def test_acting() -> None:
    asked: list[str] = []

    def run(argv: list[str], _timeout: float) -> Done:
        asked.append(" ".join(argv))
        return Done(1, "", "Job failed.\n") if argv[-1] == "b" and "restart" in argv else Done(0, "", "")

    assert act([Restart(("a", "b")), Flush(), Reboot()], run) == ["systemctl restart b: Job failed."]
    assert asked == [
        "systemctl reset-failed a",
        "systemctl restart a",
        "systemctl reset-failed b",
        "systemctl restart b",
        "postqueue -f",
        "systemctl reboot",
    ]


def test_messages_are_tried_again_one_by_one_until_postfix_gives_no_answer() -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], _timeout: float) -> Done:
        asked.append(argv)
        return Done(1, "", "mail system is down\n") if argv[-1] == "2" else Done(0, "", "")

    assert act([TryAgain(("1", "2", "3"))], run) == ["postqueue -i 2: mail system is down"]
    assert asked == [["postqueue", "-i", "1"], ["postqueue", "-i", "2"]]


def test_messages_are_tried_again_for_half_a_minute_at_most() -> None:
    asked: list[str] = []
    seconds = iter(range(0, 1000, 20))

    def run(argv: list[str], _timeout: float) -> Done:
        asked.append(argv[-1])
        return Done(0, "", "")

    assert act([TryAgain(("1", "2", "3")), Flush()], run, lambda: float(next(seconds))) == []
    assert asked == ["1", "-f"]


def test_a_letter_as_it_is_given_to_sendmail(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def run(*words: Any) -> Done:
        given.extend(words)
        return Done(75, "", "sendmail: fatal: no room\n")

    monkeypatch.setattr(letters, "run", run)
    letter = Letter(0.0, "mail.hearth.example: queue needs you", "queue: 5 waiting\n")
    assert letters.send(letter, "mail.hearth.example", "postmaster@hearth.example") == "sendmail: fatal: no room"
    assert given[0] == ["/usr/sbin/sendmail", "-i", "-f", "<>", "--", "postmaster@hearth.example"]
    assert "Auto-Submitted: auto-generated" in given[2]


def test_no_secret_reaches_the_status() -> None:
    status = text.as_value([HUNG], Memory(letters=(Letter(0.0, "subject", "the body"),)), 0.0, "")
    assert "the body" not in json.dumps(status)


def test_it_runs_as_one_file(tmp_path: Path) -> None:
    program = tmp_path / "hearth-probe"
    program.write_bytes(archive("probe"))
    words = ["--run", str(tmp_path), "status", "--json"]
    done = subprocess.run([sys.executable, "-I", program, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["level"] == "red"
