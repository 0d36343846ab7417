"""The drill's other computer: what `tests/drill` does with a kit, up to where a box would be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drill.controller import Controller, ControllerError, make_kit

from .conftest import KEY, Computer

PASSPHRASE = "stapler heron lattice"


def test_a_kit_of_the_lab_goes_from_one_clone_to_another(tmp_path: Path, computer: Callable[[str], Computer]) -> None:
    project = computer("first").project
    state = project / "build" / "lab"
    (state / "ssh").mkdir(parents=True)
    (state / "ssh" / "id_ed25519").write_text(KEY, encoding="utf-8")
    (state / "trust-anchor.ds").write_text(". IN DS 20326 8 2 E06D\n", encoding="utf-8")
    kit = make_kit("lab", PASSPHRASE, tmp_path / "stick", project)
    other = Controller.fresh(tmp_path / "other", without="lab")
    assert not (other.folder / "build").exists()
    assert not (other.folder / "inventories" / "lab").exists()
    with pytest.raises(ControllerError, match="does not open this kit"):
        other.open_kit(kit, "stapler heron lettuce")
    told = other.open_kit(kit, PASSPHRASE)
    assert ".venv/bin/ansible-playbook -i inventories/lab playbooks/rebuild.yml" in told
    assert (other.folder / "build" / "lab" / "ssh" / "id_ed25519").read_text(encoding="utf-8") == KEY
    listed = other.playbook("lab", "playbooks/rebuild.yml", "--list-hosts").stdout
    assert "hearth-home" in listed
