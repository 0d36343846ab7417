"""The module that writes the roles' files: what it must not do is replace a file that works by one that does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ME = {"owner": str(os.getuid()), "group": str(os.getgid())}


def run(role: Path, files: list[dict[str, Any]], *options: str, **task: Any) -> dict[str, Any]:
    """Run one task with the module, from a playbook beside `templates`; gives its result, and the run's `rc`."""
    # Words with braces in the templates are for Ansible.
    task = {"hearth_files": {"files": [{**ME, **file} for file in files]}, **task}
    play = [
        {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {"who": "hanako"}, "tasks": [task]}
    ]
    (role / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    }
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", role / "play.yml", *options]
    more = ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run([*command, *more], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert "{" in done.stdout, done.stdout + done.stderr
    # Around it stand the times which ansible.cfg asks for.
    play_done = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))[0]["plays"][0]
    return {**play_done["tasks"][0]["hosts"]["localhost"], "rc": done.returncode}


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """Make the place of a role: a template that names somebody."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/greeting.j2").write_text(
        "# {{ ansible_managed }}\n{% if true %}\nHello {{ who }}\n{% endif %}\n"
    )
    return tmp_path


def test_writes_what_the_template_module_would_and_then_nothing(role: Path) -> None:
    there = role / "greeting"
    files = [{"path": str(there), "template": "greeting.j2", "mode": "0600"}]
    assert run(role, files)["changed"]
    assert there.read_text() == "# Ansible managed\nHello hanako\n"
    assert there.stat().st_mode & 0o777 == 0o600
    assert not run(role, files)["changed"]


def test_only_the_rights_are_wrong(role: Path) -> None:
    there = role / "greeting"
    files = [{"path": str(there), "template": "greeting.j2"}]
    run(role, files)
    there.chmod(0o666)
    assert run(role, files)["written"] == [str(there)]
    assert there.stat().st_mode & 0o777 == 0o644


def test_check_mode_shows_and_leaves(role: Path) -> None:
    there = role / "greeting"
    there.write_text("old\n")
    result = run(role, [{"path": str(there), "template": "greeting.j2"}], "--check", "--diff")
    assert result["changed"]
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("old\n", "# Ansible managed\nHello hanako\n")
    assert there.read_text() == "old\n"


def test_one_wrong_file_keeps_all_of_them_back(role: Path) -> None:
    good, bad = role / "good", role / "bad"
    good.write_text("old\n")
    files = [
        {"path": str(good), "template": "greeting.j2"},
        {"path": str(bad), "template": "greeting.j2", "validate": "grep -q Goodbye %s"},
    ]
    result = run(role, files)
    assert result["rc"]
    assert f"{bad} would be wrong, nothing was changed" in result["msg"]
    assert good.read_text() == "old\n"
    assert not bad.exists()


def test_a_secret_is_not_in_the_result(role: Path) -> None:
    result = run(role, [{"path": str(role / "greeting"), "template": "greeting.j2"}])
    assert "Hello hanako" not in json.dumps({**result, "diff": []})


def test_a_template_that_is_missing_is_named(role: Path) -> None:
    result = run(role, [{"path": str(role / "greeting"), "template": "goodbye.j2"}])
    assert result["rc"]
    assert "goodbye.j2" in result["msg"]
