"""What the roles want kept, as their templates say it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hearthmail.backup import fragments

ROLES = Path(__file__).parents[3] / "roles"
TEMPLATES = sorted(ROLES.glob("*/templates/etc/hearthmail/backup.d/*.json.j2"))
# The list of the queue, and a mail system that hangs: what `timeout` ends.
QUEUE = "/var/lib/hearthmail/backup/queue.json"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda one: str(one.name))
def test_each_is_understood(template: Path) -> None:
    text = template.read_text(encoding="utf-8").replace("{{ certificates_file | dirname }}", "/etc/hearthmail/tls")
    found = fragments.parse(template, json.loads(text))
    assert found.paths
    # A box may have a program that knows no other keys, and refuses them, until `--tags backup` brings a newer one.
    assert set(json.loads(text)) <= {"paths", "exclude", "before", "after_restore"}


def list_queue(folder: Path, postqueue: str, patience: str = "60") -> subprocess.CompletedProcess[str]:
    """Run the command of role postfix, with another postqueue, and with less patience."""
    template = ROLES / "postfix/templates/etc/hearthmail/backup.d/postfix.json.j2"
    ((*shell, command),) = json.loads(template.read_text(encoding="utf-8"))["before"]
    assert "timeout 60 postqueue" in command, "the backup would hang with the queue, and forbid the reboot that ends it"
    (folder / "postqueue").write_text(f"#!/bin/sh\n{postqueue}\n")
    (folder / "postqueue").chmod(0o755)
    command = command.replace(QUEUE, str(folder / "queue.json")).replace("timeout 60", f"timeout {patience}")
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([*shell, command], env=path, capture_output=True, text=True, check=False)


def test_a_queue_that_hangs_does_not_hold_the_backup(tmp_path: Path) -> None:
    hung = list_queue(tmp_path, "exec sleep 60", "0.1")
    assert hung.returncode != 0
    assert "postqueue did not answer" in hung.stderr
    down = list_queue(tmp_path, "echo mail system is down >&2; exit 69")
    assert (down.returncode, down.stderr) == (69, "mail system is down\n")
    assert list_queue(tmp_path, "echo one").returncode == 0
    assert (tmp_path / "queue.json").read_text() == "one\n"
    assert (tmp_path / "queue.json").stat().st_mode & 0o777 == 0o600
