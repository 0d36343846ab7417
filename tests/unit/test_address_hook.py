"""The hook by which others wake the DNS agent (roles/ddns/files/address-hook): some run it, others source it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles" / "ddns"
HOOK = ROLE / "files" / "address-hook"
# The shells of those who source it: dash is Debian's sh; dhclient-script is a bash script.
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


class Box:
    """A PATH with a systemctl that writes down what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.log = folder / "asked"

    def systemctl(self, end: str) -> None:
        path = self.folder / "systemctl"
        path.write_text(f'#!/bin/sh\necho "$*" >>{shlex.quote(str(self.log))}\necho complains >&2\n{end}\n')
        path.chmod(0o755)

    def run(self, shell: str, *words: str) -> subprocess.CompletedProcess[str]:
        path = shutil.which(shell)
        assert path
        return subprocess.run(
            [path, *words], env={"PATH": str(self.folder)}, capture_output=True, text=True, timeout=60, check=False
        )

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def hooks() -> list[dict[str, str]]:
    found: list[dict[str, str]] = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))[
        "__ddns_hooks"
    ]
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_it_is_good_shell(box: Box, shell: str) -> None:
    done = box.run(shell, "-n", str(HOOK))
    assert (done.returncode, done.stderr) == (0, "")
    assert HOOK.read_text(encoding="utf-8").startswith("#!/bin/sh\n")


# 0: it runs. 1: it does not, or it is none of this box's services. 5: there is no such unit.
@pytest.mark.parametrize("end", ["exit 0", "exit 1", "exit 5"])
@pytest.mark.parametrize("shell", SHELLS)
def test_run_as_a_program_it_asks_for_one_look_and_says_nothing(box: Box, shell: str, end: str) -> None:
    box.systemctl(end)
    done = box.run(shell, str(HOOK), "eth0", "up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert box.asked == ["--no-block reload hearth-ddns.service"]


@pytest.mark.parametrize("end", ["exit 0", "exit 1"])
@pytest.mark.parametrize("options", ["", "set -e; ", "set -eu; "])
@pytest.mark.parametrize("shell", SHELLS)
def test_who_sources_it_goes_on(box: Box, shell: str, options: str, end: str) -> None:
    box.systemctl(end)
    done = box.run(shell, "-c", f"{options}mine=1; . {shlex.quote(str(HOOK))}; echo on $mine $?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "on 1 0\n", "")
    assert box.asked == ["--no-block reload hearth-ddns.service"]


@pytest.mark.parametrize("shell", SHELLS)
def test_it_survives_a_box_without_systemctl(box: Box, shell: str) -> None:
    done = box.run(shell, str(HOOK))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = box.run(shell, "-ec", f". {shlex.quote(str(HOOK))}; echo on")
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_what_it_asks_for_is_what_the_service_takes_for_a_poke() -> None:
    unit = (ROLE / "templates/etc/systemd/system/hearth-ddns.service.j2").read_text(encoding="utf-8")
    assert "ExecReload=kill -USR1 $MAINPID" in unit


def test_those_who_run_it_take_its_name_and_its_mode(hooks: list[dict[str, str]]) -> None:
    assert len({hook["path"] for hook in hooks}) == len(hooks)
    for hook in hooks:
        assert set(hook) == {"package", "path"}
        # run-parts(8) passes over every other name.
        assert re.fullmatch(r"/[A-Za-z0-9/_.-]+/[A-Za-z0-9_-]+", hook["path"]), hook
    tasks: list[dict[str, Any]] = yaml.safe_load((ROLE / "tasks" / "configure.yml").read_text(encoding="utf-8"))
    (task,) = [one for one in tasks if "__ddns_hooks" in str(one.get("loop"))]
    copied = task["ansible.builtin.copy"]
    assert (copied["src"], copied["owner"], copied["mode"]) == (HOOK.name, "root", "0755")
    # A folder that no package of this box brings is not made.
    assert "selectattr('package', 'in', ansible_facts['packages']" in task["loop"]


def test_the_documentation_names_them_all(hooks: list[dict[str, str]]) -> None:
    text = (ROLE.parents[1] / "docs" / "dns.md").read_text(encoding="utf-8")
    names = {
        "network-manager": "NetworkManager",
        "dhcpcd-base": "dhcpcd",
        "isc-dhcp-client": "dhclient",
        "ifupdown": "ifupdown",
        "ppp": "ppp",
    }
    assert {hook["package"] for hook in hooks} == set(names)
    said = " ".join(text[text.index("hearth-ddns poke") :][:200].split())
    assert all(name in said for name in names.values()), said
