"""What role backup leaves behind when backup_repository is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/backup"


def test_nothing_that_it_wrote_stays() -> None:
    tasks: list[dict[str, Any]] = yaml.safe_load((ROLE / "tasks/stop.yml").read_text(encoding="utf-8"))
    removed = {
        task["ansible.builtin.file"]["path"].replace("{{ item }}", item)
        for task in tasks
        if task.get("ansible.builtin.file", {}).get("state") == "absent"
        for item in task["loop"]
    }
    templates = ROLE / "templates"
    written = {f"/{path.relative_to(templates)}".removesuffix(".j2") for path in templates.rglob("*.j2")}
    assert removed == written
    assert any(task.get("ansible.builtin.systemd_service", {}).get("daemon_reload") for task in tasks)
