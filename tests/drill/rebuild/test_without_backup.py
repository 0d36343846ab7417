"""There is no backup: the rebuild makes a working server all the same, and says what is lost. Only in `make drill`."""

from __future__ import annotations

import pytest

from tests.drill.rebuild.test_backup import mail_flows
from tests.flow import lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_a_working_server_and_what_is_lost() -> None:
    lab.run("hearth-backup", "mv", "/srv/rest/hearth", "/srv/rest/away")
    try:
        lab.kill("hearth-home")
        lab.playbook("molecule/shared/home.yml")
        lab.forget()
        rebuilt = lab.playbook("playbooks/rebuild.yml", extra={"rebuild_without_backup": True})
        assert "Nothing came back" in rebuilt.stdout, rebuilt.stdout[-3000:]
        assert "Lost: all mail" in rebuilt.stdout
        mail_flows()
    finally:
        lab.run("hearth-backup", "sh", "-c", "rm -rf /srv/rest/hearth; mv /srv/rest/away /srv/rest/hearth")
