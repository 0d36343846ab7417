"""The DNS agent as a service: no root, in a sandbox that is really there, its secrets nowhere to be read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.flow import lab

HOME = "hearth-home"
UNIT = "hearth-ddns.service"
ZONE = "hearth.example"
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
        assert lab.PROVIDER_KEY not in what
    assert lab.out(HOME, "stat", "-c", "%U %a", "/etc/hearthmail/ddns.json") == "root 600"


def test_it_comes_back(pid: str) -> None:
    lab.run(HOME, "kill", "-KILL", pid)
    lab.wait_for(
        lambda: lab.out(HOME, "systemctl", "show", UNIT, "-P", "MainPID") not in ("0", pid), 60, "the agent being back"
    )
    lab.wait_for(
        lambda: lab.out(HOME, "systemctl", "show", UNIT, "-P", "ActiveState") == "active", 60, "the agent being ready"
    )


def by_hand(name: str, kind: str, value: str) -> None:
    """Change a record as a person does at the provider's web page."""
    rrset = {"name": f"{name}.", "type": kind, "changetype": "REPLACE", "ttl": 60}
    records = [{"content": value, "disabled": False}]
    lab.provider_api("PATCH", f"/zones/{ZONE}.", {"rrsets": [{**rrset, "records": records}]})


@pytest.fixture
def put_back() -> Iterator[None]:
    """See that the next tests find the records right, and nobody in the world remembers others, if this one fails."""
    yield
    lab.run(HOME, "hearth-ddns", "apply", check=False)
    lab.world_forgets(ZONE)


def test_the_service_heals_what_was_changed_by_hand(put_back: None) -> None:
    before, begin = lab.provider_zone(ZONE), int(time.time())
    by_hand(lab.MAIL_NAME, "A", "198.51.100.66")
    by_hand(ZONE, "MX", "10 elsewhere.provider.example.")
    # Its next whole look may be five minutes away, longer than a test may take. At its start it makes one at once.
    lab.run(HOME, "systemctl", "restart", UNIT)
    lab.wait_for(lambda: lab.provider_zone(ZONE) == before, 120, "the agent putting both records back")
    assert lab.published(lab.MAIL_NAME) == [lab.wan_address()]
    assert lab.published(ZONE, "MX") == [f"10 {lab.MAIL_NAME}."]

    def told(place: str, value: str) -> bool:
        said = lab.out(HOME, "journalctl", "--no-pager", "-o", "cat", "-u", UNIT, "--since", f"@{begin}")
        return f"{place}: our value was changed by hand to {value}; put back" in said

    # It says so when the name servers have answered right.
    lab.wait_for(lambda: told(f"{lab.MAIL_NAME} A", "198.51.100.66"), 60, "the agent telling of the address")
    lab.wait_for(lambda: told(f"{ZONE} MX", "10 elsewhere.provider.example."), 60, "the agent telling of the MX")
