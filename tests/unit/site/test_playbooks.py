"""The inventories and playbooks as Ansible reads them, without any host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.fill_vault import fill

PROJECT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted((PROJECT / "playbooks").glob("*.yml"))
TOOLS = Path(sys.executable).parent

# Reads the site on the controller.
READ = """
- name: Read the site
  hosts: home
  gather_facts: false
  connection: local
  tasks:
    - name: Show what came of it
      ansible.builtin.debug:
        msg: "{{ {'problems': problems, 'site': lookup('hearthmail_site') if problems == [] else {}} | to_json }}"
      vars:
        problems: "{{ query('hearthmail_site_problems') }}"
"""

# What role ddns checks, without a box.
CHECK_DDNS = """
- name: Check what role ddns is told
  hosts: all
  gather_facts: false
  connection: local
  vars: {ddns_hostname: mail.hearth.example, ddns_domains: [{name: hearth.example, dns: lab}], ddns_pythons: []}
  tasks:
    - name: Check
      ansible.builtin.import_role: {name: ddns, tasks_from: preflight}
"""


def run(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "ansible-playbook", *words],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def read_site(inventory: Path, tmp_path: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give the problems and the model which the lookups find in an inventory."""
    playbook = tmp_path / "read.yml"
    playbook.write_text(READ, encoding="utf-8")
    done = run(
        "-i", str(inventory), str(playbook), env={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", **(env or {})}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Around it stand the times which ansible.cfg asks for.
    said = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))[0]
    (shown,) = said["plays"][0]["tasks"][0]["hosts"].values()
    answer = shown["msg"]
    return dict(json.loads(answer) if isinstance(answer, str) else answer)


def copy_example(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shutil.copytree(PROJECT / "inventories" / "example", home)
    return home


@pytest.mark.parametrize("inventory", ["lab", "example"])
def test_ansible_can_read_each_playbook(inventory: str) -> None:
    done = run("--syntax-check", "-i", f"inventories/{inventory}", *map(str, PLAYBOOKS))
    assert done.returncode == 0, done.stdout + done.stderr
    read = [line.removeprefix("playbook: ") for line in done.stdout.splitlines() if line.startswith("playbook: ")]
    assert read == [str(playbook) for playbook in PLAYBOOKS]


def test_every_playbook_checks_first() -> None:
    for playbook in PLAYBOOKS:
        if playbook.stem != "preflight":
            assert "import_playbook: preflight.yml" in playbook.read_text(encoding="utf-8")


def test_the_lab_has_a_good_site(tmp_path: Path) -> None:
    answer = read_site(PROJECT / "inventories" / "lab", tmp_path)
    assert answer["problems"] == []
    assert [user["address"] for user in answer["site"]["users"]] == [
        "hana@second.example",
        "hanako@hearth.example",
        "small@hearth.example",
        "taro@hearth.example",
    ]


def test_the_example_is_good_once_its_vault_is_made(tmp_path: Path) -> None:
    home = copy_example(tmp_path)
    secrets = home / "group_vars" / "all"
    template = (secrets / "vault.example").read_text(encoding="utf-8")
    (secrets / "vault.yml").write_text(fill(template), encoding="utf-8")
    key = tmp_path / "key"
    key.write_text("vault-key\n", encoding="utf-8")
    encrypt = [TOOLS / "ansible-vault", "encrypt", "--vault-password-file", key, secrets / "vault.yml"]
    subprocess.run(encrypt, check=True, capture_output=True)
    answer = read_site(home, tmp_path, {"ANSIBLE_VAULT_PASSWORD_FILE": str(key)})
    assert answer["problems"] == []
    assert answer["site"]["hostname"] == "mail.hearth.example"


def test_the_example_without_its_vault_names_what_is_missing(tmp_path: Path) -> None:
    problems = read_site(copy_example(tmp_path), tmp_path)["problems"]
    assert len(problems) == 2
    assert "mail_users[0].password of hanako@hearth.example" in problems[0]
    assert "vault_passwords" in problems[0]
    assert "make vault" in problems[0]


def test_the_placeholders_of_the_example_are_refused(tmp_path: Path) -> None:
    home = copy_example(tmp_path)
    shutil.copy(home / "group_vars/all/vault.example", home / "group_vars/all/vault.yml")
    problems = read_site(home, tmp_path)["problems"]
    assert ["placeholder" in problem for problem in problems] == [True, True]


def test_a_password_that_looks_like_a_template_is_not_shown(tmp_path: Path) -> None:
    home = copy_example(tmp_path)
    (home / "group_vars/all/vault.yml").write_text(
        'vault_passwords: {hanako: "geheim{{wort", taro: !unsafe "geheim{{wort"}\n', encoding="utf-8"
    )
    problems = read_site(home, tmp_path)["problems"]
    assert len(problems) == 1
    assert "mail_users[0].password of hanako@hearth.example" in problems[0]
    assert "!unsafe" in problems[0]
    assert "geheim" not in problems[0]


def test_bad_input_stops_before_the_box_is_even_asked(tmp_path: Path) -> None:
    # Nothing answers at the address; the run must end before it would find that out.
    words = {"ansible_host": "198.51.100.250", "mail_user": []}
    done = run("-i", "inventories/lab", "-e", json.dumps(words), "playbooks/site.yml")
    assert done.returncode != 0
    assert "mail_user: no such variable is known" in done.stdout + done.stderr
    assert "UNREACHABLE" not in done.stdout
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(
    ("url", "lab", "good"),
    [
        ("https://echo.example/", False, True),
        ("dns://192.0.2.53/whoami.example/A", False, True),
        ("http://echo.example/", True, True),
        ("http://echo.example/", False, False),
    ],
)
def test_an_echo_service_without_tls_is_for_the_lab_alone(url: str, lab: bool, good: bool, tmp_path: Path) -> None:
    playbook = tmp_path / "check.yml"
    playbook.write_text(CHECK_DDNS, encoding="utf-8")
    words = json.dumps({"ddns_echo_urls": [url], "ddns_allow_documentation": lab})
    done = run("-i", "localhost,", "-e", words, str(playbook))
    assert (done.returncode == 0) == good, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert good or f'\\"{url}\\" in ddns_echo_urls' in said
    assert good or "https://host/path" in said
