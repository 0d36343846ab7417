"""When `site.yml` reminds of the kit: by files of the controller alone, and without a word to the box."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hearthmail_kit import NOTE, Places, fingerprint, inventory_files, note, reminder

from .conftest import Computer, Made, another

MADE = "2026-11-24"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Give an inventory of which a kit was just made; it has a key outside."""
    folder = tmp_path / "clone" / "inventories" / "home"
    (folder / "group_vars" / "all").mkdir(parents=True)
    (folder / "hosts.yml").write_text("all: {}\n", encoding="utf-8")
    (folder / "group_vars" / "all" / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n61\n", encoding="utf-8")
    (tmp_path / "key").write_text("private", encoding="utf-8")
    places = Places(tmp_path / "clone", tmp_path)
    packed = [*inventory_files(folder), tmp_path / "key"]
    note(folder, places, {places.name(path): path.read_bytes() for path in packed}, MADE)
    return folder


def test_a_current_kit_is_no_matter(inventory: Path, tmp_path: Path) -> None:
    assert reminder(inventory, tmp_path) == ""
    # Nothing of the site.
    (inventory / ".vault-password").write_text("x", encoding="utf-8")
    (inventory / "hosts.yml~").write_text("x", encoding="utf-8")
    (inventory / "__pycache__").mkdir()
    (inventory / "__pycache__" / "x.pyc").touch()
    assert reminder(inventory, tmp_path) == ""


def test_it_is_the_same_for_a_clone_at_another_place(inventory: Path, tmp_path: Path) -> None:
    moved = (tmp_path / "clone").rename(tmp_path / "moved")
    assert reminder(moved / "inventories" / "home", tmp_path) == ""


def without_a_note(folder: Path) -> None:
    (folder / NOTE).unlink()


def broken_note(folder: Path) -> None:
    (folder / NOTE).write_text('{"made": ', encoding="utf-8")


def old_note(folder: Path) -> None:
    (folder / NOTE).write_text('{"made": "2026-11-24"}', encoding="utf-8")


def changed_vault(folder: Path) -> None:
    (folder / "group_vars/all/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n62\n", encoding="utf-8")


def one_more_file(folder: Path) -> None:
    (folder / "group_vars/all/more.yml").touch()


def one_less_file(folder: Path) -> None:
    (folder / "hosts.yml").unlink()


def renamed_file(folder: Path) -> None:
    (folder / "hosts.yml").rename(folder / "host.yml")


def other_key(folder: Path) -> None:
    (folder.parents[2] / "key").write_text("another", encoding="utf-8")


def key_gone(folder: Path) -> None:
    (folder.parents[2] / "key").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_a_note, "There is no recovery kit of this site."),
        (broken_note, "cannot be told"),
        (old_note, "cannot be told"),
        (changed_vault, "The recovery kit of 2026-11-24 is out of date"),
        (one_more_file, "The recovery kit of 2026-11-24 is out of date"),
        (one_less_file, "The recovery kit of 2026-11-24 is out of date"),
        (renamed_file, "The recovery kit of 2026-11-24 is out of date"),
        (other_key, "The recovery kit of 2026-11-24 is out of date"),
        (key_gone, "The recovery kit of 2026-11-24 is out of date"),
    ],
)
def test_what_has_changed_is_told_in_one_line_with_the_way_out(
    inventory: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    change(inventory)
    told = reminder(inventory, tmp_path)
    assert said in told
    assert "make kit SITE=home" in told
    assert "\n" not in told


def test_the_note_gives_nothing_away(inventory: Path) -> None:
    text = (inventory / NOTE).read_text(encoding="utf-8")
    assert "private" not in text
    assert set(json.loads(text)) == {"made", "salt", "fingerprint", "elsewhere"}
    # The same files, another salt: whoever has two notes cannot tell that they are of the same files.
    assert fingerprint({"a": b"b"}, b"1" * 16) != fingerprint({"a": b"b"}, b"2" * 16)


def last_play(owner: Computer, *options: str) -> str:
    """Run what site.yml does at its end, for a site that wants to be reminded, and again for one that does not.

    The box has an address where nothing answers. Gives what was said for the first.
    """
    (*_, last) = yaml.safe_load((owner.project / "playbooks" / "site.yml").read_text(encoding="utf-8"))
    plays = [{**last, "vars": {"site": {"kit": {"reminder": reminds}}}} for reminds in (True, False)]
    (owner.project / "playbooks" / "last.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    done = owner.run(
        *("ansible-playbook", "-i", "inventories/home", "playbooks/last.yml", *options),
        *("--vault-password-file", str(owner.home / "vault"), "-e", "ansible_host=198.51.100.250"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    assert "unreachable=0" in done.stdout
    _, wants, not_wants = done.stdout.partition("PLAY RECAP")[0].split("PLAY [", 2)
    said = wants.replace("Remind of the recovery kit", "")
    assert "recovery kit" not in not_wants
    # Ansible does not show what it skips, but it counts it.
    assert f"skipped={1 if 'recovery kit' in said else 2} " in done.stdout
    return said


@pytest.mark.parametrize("options", [(), ("--check", "--diff")])
def test_site_yml_reminds_until_a_kit_is_made_and_again_after_a_change(
    owner: Computer, made: Made, tmp_path: Path, options: tuple[str, ...]
) -> None:
    first = last_play(owner, *options)
    assert first.count("There is no recovery kit of this site.") == 1
    with_kit = another(made.owner, tmp_path / "with-kit")
    assert "recovery kit" not in last_play(with_kit, *options)
    site = with_kit.inventory / "group_vars" / "all" / "site.yml"
    site.write_text(site.read_text(encoding="utf-8") + "mail_outbound: direct\n", encoding="utf-8")
    assert "is out of date" in last_play(with_kit, *options)


def test_the_lab_is_not_reminded() -> None:
    project = Path(__file__).resolve().parents[3]
    site = yaml.safe_load((project / "inventories/lab/group_vars/all/site.yml").read_text(encoding="utf-8"))
    assert site["kit_reminder"] is False
