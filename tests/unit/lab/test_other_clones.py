"""A lab of another clone is named and replaced; an image is used again only if it is made from the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.filter.lab import lab_image_names

PROJECT = Path(__file__).resolve().parents[3]
PLAYBOOK = f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {{lab_project: /home/hanako/hearthmail}}
  tasks:
    - ansible.builtin.import_tasks: {PROJECT}/molecule/shared/tasks/clear.yml
"""
# Answers what is listed, and writes down what it shall remove.
PODMAN = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
case "$1 $2" in
  "ps --all") printf '%s' "$CONTAINERS" ;;
  "network ls") [ -z "$CONTAINERS" ] || echo hearth-wan ;;
esac
"""


def cleared(folder: Path, containers: str) -> tuple[str, list[str]]:
    """Run the tasks with a podman that lists containers; gives what they say, and what podman was asked."""
    (folder / "podman").write_text(PODMAN)
    (folder / "podman").chmod(0o755)
    (folder / "play.yml").write_text(PLAYBOOK)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CONTAINERS": containers, "NO_COLOR": "1"}
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", folder / "play.yml"]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, (folder / "asked").read_text().splitlines()


def test_the_lab_of_another_clone_is_named_and_removed(tmp_path: Path) -> None:
    said, asked = cleared(tmp_path, "hearth-home /srv/other clone\nhearth-dns /srv/other clone\n")
    assert "The lab of another clone (/srv/other clone) is up on this machine" in said
    assert any(line.startswith("rm ") and line.endswith("hearth-home hearth-dns") for line in asked)
    assert "network rm --force hearth-wan" in asked


def test_ones_own_is_removed_without_a_word(tmp_path: Path) -> None:
    said, asked = cleared(tmp_path, "hearth-home /home/hanako/hearthmail\n")
    assert "another clone" not in said
    assert any(line.startswith("rm ") for line in asked)


def test_where_nothing_is_nothing_is_removed(tmp_path: Path) -> None:
    _said, asked = cleared(tmp_path, "")
    assert not any(line.startswith(("rm ", "network rm")) for line in asked)


@pytest.mark.parametrize(
    ("recipe", "common"),
    [
        ({"release": "trixie", "packages": ["exim4", "swaks"]}, ["hook"]),
        ({"release": "bookworm", "packages": ["exim4"]}, ["hook"]),
        ({"release": "trixie", "packages": ["exim4"]}, ["another hook"]),
    ],
)
def test_an_image_of_another_recipe_has_another_name(recipe: dict[str, object], common: list[str]) -> None:
    before = lab_image_names({"peer": {"release": "trixie", "packages": ["exim4"]}}, ["hook"])
    assert lab_image_names({"peer": {"packages": ["exim4"], "release": "trixie"}}, ["hook"]) == before
    assert lab_image_names({"peer": recipe}, common) != before
