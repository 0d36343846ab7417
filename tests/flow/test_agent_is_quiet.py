"""While nothing changes, the agent writes nothing: counted at the provider, since before the first of these tests."""

from __future__ import annotations

from tests.flow import lab

ROUNDS = 3


def test_whole_looks_write_nothing(quiet_since: int) -> None:
    for _ in range(ROUNDS):
        reads = lab.provider_reads()
        # At its start it compares everything, with the name servers and with the provider.
        lab.run("hearth-home", "systemctl", "restart", "hearth-ddns.service")
        lab.wait_for(lambda before=reads: lab.provider_reads() > before, 60, "the agent reading its zones")
        # Woken, it looks again.
        lab.run("hearth-home", "hearth-ddns", "poke")
    lab.run("hearth-home", "hearth-ddns", "check")
    assert lab.out("hearth-home", "systemctl", "is-active", "hearth-ddns.service") == "active"
    assert lab.provider_writes() == quiet_since
