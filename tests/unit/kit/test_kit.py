"""A kit made on one computer and opened on another, by the commands that a person types."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hearthmail_kit import Places

from tools.kit import archive, gpg, make, unpack
from tools.kit.archive import File
from tools.kit.errors import KitError

from .conftest import KEY, PASSPHRASE, RESTIC_PASSWORD, VAULT_PASSWORD, Computer

OtherComputer = Callable[[str], Computer]


VAULT = ("--vault-password-file",)


def inside(kit: Path) -> dict[str, File]:
    return archive.unpack(gpg.decrypt(kit.read_bytes(), PASSPHRASE))


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}


def test_another_computer_has_all_of_the_site_and_can_decrypt_it(owner: Computer, computer: OtherComputer) -> None:
    kit = owner.make()
    assert kit.stat().st_mode & 0o777 == 0o600
    # The owner's computer burns.
    carried = kit.parents[4] / "stick.tar.gpg"
    kit.rename(carried)
    shutil.rmtree(owner.project)
    shutil.rmtree(owner.home)

    other = computer("other")
    done = other.kit("open", str(carried))
    assert done.returncode == 0, done.stderr
    password = "inventories/home/.vault-password"
    command = f"ansible-playbook -i inventories/home playbooks/rebuild.yml --vault-password-file {password}"
    assert command in done.stdout
    assert (other.project / password).stat().st_mode & 0o777 == 0o600
    key = other.home / ".ssh" / "mailbox"
    assert key.read_text(encoding="utf-8") == KEY
    assert key.stat().st_mode & 0o777 == 0o600

    listed = other.run("ansible-inventory", "-i", "inventories/home", "--vault-password-file", password, "--list")
    assert listed.returncode == 0, listed.stderr
    host = json.loads(listed.stdout)["_meta"]["hostvars"]["hearth"]
    assert host["vault_backup_password"] == RESTIC_PASSWORD
    assert host["ansible_ssh_private_key_file"] == "~/.ssh/mailbox"
    without = other.run("ansible-inventory", "-i", "inventories/home", "--list")
    assert without.returncode != 0
    # As the page in the kit says.
    said = ["-m", "debug", "-a", "msg={{ [backup_repository, backup_password] }}"]
    shown = other.run("ansible", "-i", "inventories/home", "home", "--vault-password-file", password, *said)
    assert RESTIC_PASSWORD in shown.stdout
    assert "/mnt/backup/hearthmail" in shown.stdout


def test_a_kit_made_on_the_other_computer_holds_the_same(kit: Path, computer: OtherComputer) -> None:
    other = computer("other")
    assert other.kit("open", str(kit)).returncode == 0
    again = inside(other.make())
    first = inside(kit)
    assert again.keys() == first.keys()
    assert {name for name in again if again[name] != first[name]} <= {"READ-ME-FIRST.txt"}


def test_it_opens_without_the_project(kit: Path, fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE, encoding="utf-8")
    (tmp_path / "by-hand").mkdir()
    by_hand = 'gpg --batch --pinentry-mode loopback --passphrase-file passphrase -d "$1" | tar -C by-hand -xf -'
    environment = {**os.environ, "GNUPGHOME": str(tmp_path)}
    subprocess.run(["bash", "-ec", by_hand, "-", str(kit)], cwd=tmp_path, env=environment, check=True)
    page = (tmp_path / "by-hand" / "READ-ME-FIRST.txt").read_text(encoding="utf-8")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=fresh, capture_output=True, text=True, check=True)
    for said in (
        f"git checkout {commit.stdout.strip()}",
        f"gpg -d {kit.name} | tar -xf -",
        "cp -a project/. /path/to/hearthmail/",
        "cp -a home/. ~/",
        "playbooks/rebuild.yml --vault-password-file inventories/home/.vault-password",
        "SSH at 192.168.178.10, user admin",
    ):
        assert said in page
    assert "cp -a root/" not in page
    vault = tmp_path / "by-hand" / "project" / "inventories" / "home" / ".vault-password"
    assert vault.read_text(encoding="utf-8") == f"{VAULT_PASSWORD}\n"


def test_the_page_holds_no_secret_and_nothing_clear_is_left_on_the_disk(owner: Computer) -> None:
    before = snapshot(owner.project)
    kit = owner.make()
    new = {path: content for path, content in snapshot(owner.project).items() if before.get(path) != content}
    assert new.keys() == {kit, owner.inventory / ".kit.json"}
    assert (owner.inventory / ".kit.json").stat().st_mode & 0o777 == 0o600
    page = inside(kit)["READ-ME-FIRST.txt"].content
    for secret in (VAULT_PASSWORD, RESTIC_PASSWORD, "b3BlbnNzaC1rZXktdjEAAAAAtest", PASSPHRASE):
        assert not any(secret.encode() in content for content in (*new.values(), page)), secret


def test_git_takes_neither_the_note_nor_the_password(owner: Computer) -> None:
    (owner.inventory / ".kit.json").touch()
    (owner.inventory / ".vault-password").touch()
    done = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], cwd=owner.project, capture_output=True, text=True
    )
    named = {Path(line[3:]).name for line in done.stdout.splitlines()}
    assert "hosts.yml" in named
    assert not named & {".kit.json", ".vault-password", "vault.yml"}


def test_a_wrong_passphrase_and_a_damaged_kit_write_nothing(kit: Path, computer: OtherComputer) -> None:
    other = computer("other")
    before = snapshot(other.project.parent)
    wrong = other.kit("open", str(kit), passphrase="stapler heron lettuce")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("The passphrase does not open this kit")
    whole = kit.read_bytes()
    for damaged in (whole[:-20], whole[:900] + b"?" + whole[901:]):
        kit.write_bytes(damaged)
        done = other.kit("open", str(kit))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("The kit is damaged or cut off, nothing was taken from it")
    missing = other.kit("open", "/media/nothing.tar.gpg")
    assert missing.stderr.startswith("The kit /media/nothing.tar.gpg cannot be read: No such file")
    assert snapshot(other.project.parent) == before


def changed(other: Computer) -> Path:
    other.inventory.mkdir()
    path = other.inventory / "hosts.yml"
    path.write_text("all: {}\n", encoding="utf-8")
    return path


def one_more(other: Computer) -> Path:
    path = other.inventory / "group_vars" / "all" / "zz.yml"
    path.parent.mkdir(parents=True)
    path.write_text("mail_outbound: direct\n", encoding="utf-8")
    return path


def other_password(other: Computer) -> Path:
    other.inventory.mkdir()
    path = other.inventory / ".vault-password"
    path.write_text("another\n", encoding="utf-8")
    return path


def other_key(other: Computer) -> Path:
    path = other.home / ".ssh" / "mailbox"
    path.parent.mkdir()
    path.write_text("the key of somebody else", encoding="utf-8")
    return path


@pytest.mark.parametrize("spoil", [changed, one_more, other_password, other_key])
def test_nothing_that_is_there_is_written_over(
    kit: Path, computer: OtherComputer, spoil: Callable[[Computer], Path]
) -> None:
    other = computer("other")
    path = spoil(other)
    before = snapshot(other.project.parent)
    done = other.kit("open", str(kit))
    assert done.returncode == 1
    assert (
        str(path.relative_to(other.project.parent / "clone") if other.project in path.parents else path) in done.stderr
    )
    assert "Nothing was written" in done.stderr
    assert snapshot(other.project.parent) == before


def test_what_is_there_and_the_same_stays_and_a_broken_off_opening_goes_on(kit: Path, computer: OtherComputer) -> None:
    other = computer("other")
    assert other.kit("open", str(kit)).returncode == 0
    after = snapshot(other.project.parent)
    (other.inventory / ".vault-password").unlink()
    (other.home / ".ssh" / "mailbox").unlink()
    done = other.kit("open", str(kit))
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"written: .*/(.+)", done.stdout)) == [".vault-password", "mailbox"]
    same = snapshot(other.project.parent)
    note = other.inventory / ".kit.json"  # has a new salt each time
    assert {**same, note: b""} == {**after, note: b""}


def test_a_site_without_a_vault_whose_key_lies_in_the_project(owner: Computer, computer: OtherComputer) -> None:
    state = owner.project / "build" / "lab"
    (state / "ssh").mkdir(parents=True)
    (state / "ssh" / "id_ed25519").write_text(KEY, encoding="utf-8")
    (state / "ssh" / "known_hosts").write_text("not asked for", encoding="utf-8")
    (state / "trust-anchor.ds").write_text(". IN DS 20326 8 2 E06D\n", encoding="utf-8")
    kit = owner.make("lab")
    assert not any("password" in name or name.startswith(("home/", "root/")) for name in inside(kit))
    # The lab's inventory is in every clone, and the same.
    other = computer("elsewhere")
    done = other.kit("open", str(kit))
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"written: .*/(.+)", done.stdout)) == ["id_ed25519", "trust-anchor.ds"]
    assert ".vault-password" not in done.stdout
    key = other.project / "build" / "lab" / "ssh" / "id_ed25519"
    assert (key.read_text(encoding="utf-8"), key.stat().st_mode & 0o777) == (KEY, 0o600)
    # What Ansible makes of it there.
    said = ["-m", "debug", "-a", "msg={{ [ansible_ssh_private_key_file, resolver_trust_anchor, backup_password] }}"]
    shown = other.run("ansible", "-i", "inventories/lab", "hearth-home", *said)
    for word in (str(key), ". IN DS 20326 8 2 E06D", "backup-secret"):
        assert word in shown.stdout, shown.stdout + shown.stderr


def test_files_that_the_variables_read_or_name_go_along(owner: Computer, tmp_path: Path) -> None:
    outside = tmp_path / "etc"
    outside.mkdir()
    (outside / "relay").write_text("hunter-2-hunter", encoding="utf-8")
    (owner.home / "jump").write_text("x", encoding="utf-8")
    more = owner.inventory / "group_vars" / "all" / "more.yml"
    more.write_text(
        f"relay_secret: \"{{{{ lookup('file', '{outside}/relay') }}}}\"\nkit_files: [~/jump]\n", encoding="utf-8"
    )
    names = set(inside(owner.make()))
    assert {f"root{outside}/relay", "home/jump", "home/.ssh/mailbox"} <= names
    (owner.home / "jump").unlink()
    done = owner.kit("make", "home", "--vault-password-file", str(owner.home / "vault"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{owner.home}/jump belongs into the kit, and cannot be read (No such file or directory)" in done.stderr


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (("nowhere",), {}, "There is no folder inventories/nowhere"),
        (("home",), {}, "There is no terminal to ask on (Vault password of inventories/home)"),
        (("home", *VAULT, "{home}/missing"), {}, "The vault's password cannot be read from {home}/missing"),
        (("home", *VAULT, "README.md"), {}, "does not open {project}/inventories/home/group_vars/all/vault.yml"),
        (("home", *VAULT, "{home}/vault"), {"HEARTH_KIT_PASSPHRASE": "too short"}, "has 9 characters"),
    ],
)
def test_what_cannot_be_made_is_named(
    owner: Computer, words: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    def filled(text: str) -> str:
        return text.format(home=owner.home, project=owner.project)

    given = {"HEARTH_KIT_PASSPHRASE": PASSPHRASE, **{key: filled(value) for key, value in variables.items()}}
    done = owner.run("python", "-m", "tools.kit", "make", *map(filled, words), **given)
    assert (done.returncode, done.stdout) == (1, "")
    assert filled(said) in done.stderr
    assert not (owner.project / "build" / "kit").exists()


def test_the_vaults_password_is_taken_from_where_ansible_takes_it(owner: Computer) -> None:
    settings = {"HEARTH_KIT_PASSPHRASE": PASSPHRASE, "ANSIBLE_VAULT_PASSWORD_FILE": str(owner.home / "vault")}
    done = owner.run("python", "-m", "tools.kit", "make", "home", **settings)
    assert done.returncode == 0, done.stderr


def test_a_site_with_a_mistake_gets_no_kit(owner: Computer) -> None:
    more = owner.inventory / "group_vars" / "all" / "more.yml"
    more.write_text(
        'mail_relay: {host: smtp.isp.example, password: "{{ vault_gone }}"}\nmail_zzz: 1\n', encoding="utf-8"
    )
    done = owner.kit("make", "home", "--vault-password-file", str(owner.home / "vault"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "The site could not be deployed as it is, so no kit was made:" in done.stderr
    assert "mail_zzz: no such variable is known" in done.stderr
    assert "vault_gone" in done.stderr


def test_what_is_not_in_the_kit_is_told(owner: Computer) -> None:
    hosts = owner.inventory / "hosts.yml"
    text = hosts.read_text(encoding="utf-8")
    hosts.write_text(re.sub(".*private_key_file.*\n", "", text) + f"# {owner.home}/mine\n", encoding="utf-8")
    site = owner.inventory / "group_vars" / "all" / "site.yml"
    site.write_text(
        re.sub("^backup_", "# backup_", site.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8"
    )
    (owner.project / "README.md").write_text("changed", encoding="utf-8")
    done = owner.kit("make", "home", "--vault-password-file", str(owner.home / "vault"))
    for said in (
        "No backups are made of this site",
        "no ansible_ssh_private_key_file, so no SSH key is in the kit",
        "The project has changes that are in no commit",
        f"inventories/home/hosts.yml names {owner.home}/...",
        "copy it to a USB stick",
    ):
        assert said in done.stdout
    page = inside(next((owner.project / "build" / "kit").iterdir()))["READ-ME-FIRST.txt"].content.decode()
    assert "this kit has none" in page
    assert "the server comes back working and empty" in page


def test_a_kit_that_was_not_written_as_meant_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "home-2026-11-24.tar.gpg"
    path.write_bytes(b"yesterday's, which is good")
    encrypted = gpg.encrypt(archive.pack({"a": File(b"1")}), PASSPHRASE)
    for bad, said in ((encrypted, "not what was meant"), (encrypted[:-5], "damaged")):
        with pytest.raises(KitError, match=said):
            make._write(path, bad, {"a": File(b"2")}, PASSPHRASE)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {path.name: b"yesterday's, which is good"}


def tar(*entries: tuple[str, bytes | None]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as out:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            entry.size = len(content or b"")
            out.addfile(entry, io.BytesIO(content or b""))
    return packed.getvalue()


ABOUT = json.dumps({"format": 1, "site": "home", "made": "2026-11-24", "version": "0.1.0", "commit": "abc"}).encode()


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (b"no tar at all" * 100, "it opens, but"),
        (tar(("a", b"")), "does not say of which site"),
        (tar(("kit.json", ABOUT.replace(b'"format": 1', b'"format": 2'))), "git checkout abc"),
        (tar(("kit.json", ABOUT.replace(b'"home"', b'"../x"'))), "'../x' is no name of a site"),
        (tar(("kit.json", ABOUT), ("project/../../evil", b"")), "no file of a kit"),
        (tar(("kit.json", ABOUT), ("elsewhere/x", b"")), "no file of a kit"),
        (tar(("kit.json", ABOUT), ("project/link", None)), "project/link in it is no file"),
    ],
)
def test_what_is_encrypted_but_no_kit_is_refused(fresh: Path, tmp_path: Path, packed: bytes, said: str) -> None:
    kit = tmp_path / "kit"
    kit.write_bytes(gpg.encrypt(packed, PASSPHRASE))
    with pytest.raises(KitError) as refused:
        unpack.open_kit(kit, PASSPHRASE, Places(fresh, tmp_path))
    assert said in str(refused.value)
    assert not (fresh / "inventories" / "home").exists()
