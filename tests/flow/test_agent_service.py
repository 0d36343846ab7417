"""The DNS agent as a service: no root, in a sandbox that is really there, its secrets nowhere to be read."""

from __future__ import annotations

import re

import pytest

from tests.flow import lab

HOME = "hearth-home"
UNIT = "hearth-ddns.service"
# The lab's inventory has it as the provider's credential.
SECRET = "lab-api-key"
# systemd-analyze(1): 0 is closed, 10 is open.
EXPOSURE = 3.0


@pytest.fixture(scope="module")
def pid() -> str:
    return lab.out(HOME, "systemctl", "show", UNIT, "-P", "MainPID")


def test_it_is_not_root(pid: str) -> None:
    status = lab.out(HOME, "cat", f"/proc/{pid}/status")
    ids = {line.split(":")[0]: line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:"))}
    assert set(ids["Uid"]) == {lab.out(HOME, "id", "-u", "hearth-ddns")}
    assert "0" not in ids["Uid"] + ids["Gid"]
    # No capability, whatever it may start.
    assert re.findall(r"Cap(?:Inh|Prm|Eff|Bnd|Amb):\s+(\w+)", status) == ["0" * 16] * 5


def test_it_is_well_closed() -> None:
    said = lab.run(HOME, "systemd-analyze", "security", "--no-pager", UNIT, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said)
    assert found, said
    assert float(found[1]) <= EXPOSURE, said


@pytest.mark.parametrize("place", ["/etc/hearthmail", "/usr/local/bin", "/var/lib", "/var/cache/hearth-ddns", "/root"])
def test_its_sandbox_holds(pid: str, place: str) -> None:
    # Even root could not write there, among the files as the service sees them.
    inside = lab.run(HOME, "nsenter", "-t", pid, "-m", "touch", f"{place}/a-test", check=False)
    assert inside.returncode != 0, f"the service's {place} can be written to"
    assert not lab.path_of(HOME, f"{place}/a-test").exists()


def test_its_own_folder_is_its_own(pid: str) -> None:
    assert lab.out(HOME, "stat", "-c", "%U %a", "/var/lib/hearthmail/ddns") == "hearth-ddns 700"
    assert lab.out(HOME, "stat", "-c", "%U %a", "/var/lib/hearthmail/ddns/state.json") == "hearth-ddns 600"
    # What root runs lies where only root writes.
    cache = lab.out(
        HOME, "find", "/var/cache/hearth-ddns", "!", "-user", "root", "-o", "-perm", "/022", "!", "-type", "l"
    )
    assert cache == ""


def test_no_secret_is_to_be_read(pid: str) -> None:
    for what in (
        lab.out(HOME, "cat", f"/proc/{pid}/cmdline"),
        lab.out(HOME, "cat", f"/proc/{pid}/environ"),
        lab.out(HOME, "journalctl", "--no-pager", "-u", UNIT),
        lab.out(HOME, "hearth-ddns", "status", "--json"),
        lab.out(HOME, "hearth-ddns", "plan", "--json"),
        lab.out(HOME, "cat", "/var/lib/hearthmail/ddns/state.json"),
        lab.out(HOME, "systemctl", "cat", UNIT),
    ):
        assert SECRET not in what
    assert lab.out(HOME, "stat", "-c", "%U %a", "/etc/hearthmail/ddns.json") == "root 600"


def test_it_comes_back(pid: str) -> None:
    lab.run(HOME, "kill", "-KILL", pid)
    lab.wait_for(
        lambda: lab.out(HOME, "systemctl", "show", UNIT, "-P", "MainPID") not in ("0", pid), 60, "the agent being back"
    )
    lab.wait_for(
        lambda: lab.out(HOME, "systemctl", "show", UNIT, "-P", "ActiveState") == "active", 60, "the agent being ready"
    )
