"""The disk is lost, and the backups lie at an SFTP server or in an S3 bucket. Only in `make drill`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drill.rebuild import test_backup as places
from tests.drill.rebuild.test_backup import backup, mail_flows
from tests.drill.rebuild.test_rebuild import tls_key
from tests.flow import lab
from tests.flow.lab import HANA, TARO

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(params=[places.BY_SFTP, places.BY_S3])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have the place serve that way, and the box's backups go there; then back to where they went."""
    lab.run("hearth-backup", "systemctl", "start", *places.UNITS[request.param])
    lab.playbook("playbooks/site.yml", "--tags", "backup", extra=places.site_of(request.param))
    yield request.param
    lab.playbook("playbooks/site.yml", "--tags", "backup")
    backup()
    lab.run("hearth-backup", "systemctl", "stop", *places.UNITS[places.BY_S3])


def test_the_rebuild_from_there(way: str) -> None:
    token = lab.submit(lab.message(HANA, TARO))
    lab.wait_for_mail(TARO, token)
    with lab.inbox(TARO, readonly=False) as session:
        session.add_flags(lab.found(session, token), [b"\\Flagged"])
    key = tls_key()
    backup()
    lab.kill("hearth-home")
    lab.playbook("molecule/shared/home.yml")
    lab.forget()
    lab.playbook("playbooks/rebuild.yml", extra=places.site_of(way))
    lab.wait_for_flags(TARO, token, {b"\\Flagged"}, "hearth-pc")
    assert tls_key() == key
    mail_flows()
