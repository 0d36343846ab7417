"""The ISP has closed port 25: mail leaves through its submission server, and is believed all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO

TAGS = ("--tags", "postfix,ddns")


class TestByRelay:
    """With the port closed, and `mail_outbound: relay`."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def by_relay() -> Iterator[None]:
        """Close the port, deploy; afterwards all is as before."""
        lab.port25("blocked")
        try:
            lab.playbook("playbooks/site.yml", *TAGS, extra={"mail_outbound": "relay"})
            # Who switches waits for as long as others may remember the old SPF; the test does not.
            lab.world_forgets(*lab.DOMAINS)
            yield
        finally:
            lab.port25("open")
            lab.playbook("playbooks/site.yml", *TAGS)
            lab.world_forgets(*lab.DOMAINS)

    def test_the_port_is_closed(self) -> None:
        assert not lab.opens("hearth-home", lab.PEER, 25)

    @pytest.mark.parametrize("port", [465, 587])
    def test_leaves_through_the_isp_and_spf_passes(self, port: int) -> None:
        token = lab.submit(lab.message(HANAKO, ALICE), port=port)
        got = lab.wait_for_mail(ALICE, token, timeout=60)
        hops = [re.sub(r"\s+", " ", line) for line in got.get_all("Received", [])]
        by_isp = next(line for line in hops if "by smtp.isp.example" in line)
        assert "with ESMTPSA" in by_isp, "without a login or in clear"
        assert any("from smtp.isp.example" in line and "by mx.peer.example" in line for line in hops)
        assert got["Received-SPF"].startswith("pass"), got["Received-SPF"]

    def test_spf_names_the_isp(self) -> None:
        for domain in lab.DOMAINS:
            (spf,) = [value for value in lab.published(domain, "TXT") if "v=spf1" in value]
            assert "include:isp.example" in spf

    def test_mail_still_comes_in(self) -> None:
        lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)))


def test_back_to_direct() -> None:
    for domain in lab.DOMAINS:
        (spf,) = [value for value in lab.published(domain, "TXT") if "v=spf1" in value]
        assert "isp.example" not in spf
    got = lab.wait_for_mail(ALICE, lab.submit(lab.message(HANAKO, ALICE)))
    assert got["Received-SPF"].startswith("pass"), got["Received-SPF"]
    assert not any("by smtp.isp.example" in line for line in got.get_all("Received", []))
