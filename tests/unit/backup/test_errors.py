"""What restic 0.14 and 0.18 say when something is wrong, and what we make of it. Texts: their cmd/restic."""

from __future__ import annotations

import pytest

from hearthmail.backup import restic_errors
from hearthmail.backup.restic import escape, packs_in

OLD, NEW = (0, 14), (0, 18)
# 0.18 at an S3 server.
WRONG_KEY = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
RETRY = "Stat(<config/>) returned error, retrying after 704.426867ms: Stat: "
NO_CONFIG = (
    "unable to open config file: Stat: stat /mnt/disk/x/config: no such file or directory\nIs there a repository"
)


@pytest.mark.parametrize(
    ("version", "code", "text", "kind"),
    [
        (OLD, 1, "Fatal: wrong password or no key found", "password"),
        (NEW, 12, "Fatal: wrong password or no key found", "password"),
        (
            NEW,
            12,
            '{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}',
            "password",
        ),
        (OLD, 1, f"Fatal: {NO_CONFIG}", "missing"),
        (OLD, 1, "Fatal: unable to open config file: <config/> does not exist\nIs there a repository at", "missing"),
        (OLD, 1, "Fatal: unable to open config file: Lstat: file does not exist", "missing"),
        (OLD, 1, "Fatal: unable to open config file: client.StatObject: The specified key does not exist.", "missing"),
        (NEW, 10, f"Fatal: repository does not exist: {NO_CONFIG}", "missing"),
        (OLD, 1, "unable to create lock in backend: repository is already locked by PID 7 on x by root", "locked"),
        (NEW, 11, "repo already locked, waiting up to 2m0s for the lock", "locked"),
        (OLD, 11, "something else", "other"),
        (
            OLD,
            1,
            "Fatal: unable to open config file: Head https://x/config: dial tcp: connection refused",
            "unreachable",
        ),
        (NEW, 1, "Fatal: unable to open config file: dial tcp: lookup x: no such host", "unreachable"),
        (
            OLD,
            1,
            "Fatal: unable to open repository at sftp:x: unable to start the sftp session, error: EOF",
            "unreachable",
        ),
        (OLD, 1, "Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized", "refused"),
        (OLD, 1, f"Fatal: unable to open config file: Stat: {WRONG_KEY}\nIs there a repository at", "refused"),
        (NEW, -9, f"{RETRY}{WRONG_KEY}", "refused"),
        (
            OLD,
            1,
            "Fatal: unable to open config file: Stat: The AWS Access Key Id you provided does not exist in our records",
            "refused",
        ),
        (NEW, 1, "unable to open S3 backend: Secret ($AWS_SECRET_ACCESS_KEY) is empty", "refused"),
        (NEW, -9, f"{RETRY}The specified bucket does not exist.", "missing"),
        (NEW, 1, "blob not removed, server response: 403 Forbidden (403)", "refused"),
        (OLD, 1, "Fatal: unable to save snapshot: write /r/tmp: no space left on device", "full"),
        (NEW, 1, "Save(<data/ab>) failed: server response unexpected: 507 Insufficient Storage (507)", "full"),
        (NEW, 1, "sftp: disk quota exceeded", "full"),
        (NEW, 1, "Fatal: client.PutObject: Cannot upload files, storage cap exceeded.", "full"),
        (NEW, 1, "Fatal: client.PutObject: Data byte limit exceeded for this tenant.", "full"),
        (NEW, 1, "Fatal: unable to save snapshot: client.PutObject: Please reduce your request rate.", "busy"),
        (NEW, 1, "server response unexpected: 503 Service Unavailable (503)", "busy"),
        (OLD, 1, "Load(<index/ab>, 0, 0): ciphertext verification failed", "damaged"),
        (NEW, 1, '{"message_type":"exit_error","code":1,"message":"Fatal: repository contains errors"}', "damaged"),
        (NEW, 1, "Fatal: something new", "other"),
    ],
)
def test_causes(version: tuple[int, int], code: int, text: str, kind: str) -> None:
    assert restic_errors.kind_of(version, code, text) == kind
    error = restic_errors.explain(version, code, text, "/mnt/disk/x")
    assert error.kind == kind
    assert "/mnt/disk/x" in str(error)
    assert kind == "other" or error.way_out, "each cause has a way out"


@pytest.mark.parametrize("why", [WRONG_KEY, "Access Denied.", "The specified bucket does not exist."])
def test_what_restic_tries_again_in_vain_is_seen(why: str) -> None:
    assert restic_errors.is_hopeless(f"{RETRY}{why}")
    assert not restic_errors.is_hopeless(f"Save(<data/abcdef0123>) returned error, retrying after 1s: {why}")
    assert not restic_errors.is_hopeless(f"Fatal: unable to open config file: {why}")


def test_what_may_pass_is_tried_again() -> None:
    for why in ("dial tcp 192.0.2.1:80: connect: connection refused", "We encountered an internal error."):
        assert not restic_errors.is_hopeless(f"{RETRY}{why}")


def test_what_was_to_be_tried_again_is_no_part_of_the_message() -> None:
    said = str(restic_errors.explain(NEW, -9, f"{RETRY}{WRONG_KEY}", "x"))
    assert f"at x: Stat: {WRONG_KEY}" in said


def test_a_busy_server_may_be_a_full_one() -> None:
    said = "Fatal: unable to save snapshot: client.PutObject: Please reduce your request rate."
    error = restic_errors.explain(NEW, 1, said, "s3:x")
    assert "The server of the repository s3:x turns us away for now" in error.problem
    assert "no room left" in error.way_out


def test_the_password_s_variable_is_named() -> None:
    assert "backup_password" in str(restic_errors.explain(OLD, 1, "wrong password or no key found", "x"))


def test_a_full_disk_while_restoring_is_this_box_s() -> None:
    assert "--target" in str(restic_errors.explain(NEW, 1, "no space left on device", "x", restoring=True))


def test_a_new_repository_is_never_meant_by_a_refusal() -> None:
    for text in (
        "Fatal: unable to open config file: unexpected HTTP response (403): 403 Forbidden",
        "connection refused",
    ):
        assert restic_errors.kind_of(OLD, 1, text) != "missing"


def test_damaged_packs_are_named() -> None:
    one, two, three = "ab" * 32, "cd" * 32, "ef" * 32
    said = f"""pack {one}: does not exist
error: Pack ID does not match, want {two}, got {three}
load <data/abababab>: invalid data returned
pack {one} contains 2 errors: [blob {three}: hash mismatch]
restic repair packs {one} {two}
Fatal: repository contains errors"""
    assert packs_in(said) == [one, two]


def test_a_pattern_fits_only_itself() -> None:
    assert escape("/a/[b]*?\\c") == "/a/\\[b]\\*\\?\\\\c"


def test_a_blob_is_not_taken_for_a_pack() -> None:
    pack, blob, other = "70ab2d7b" * 8, "735b0fcf" * 8, "d7a7e276" * 8
    said = (
        f"pack {pack} contains 2 errors: [blob {blob}: decrypting blob <data/735b0fcf> from 70ab2d7b failed: "
        f"ciphertext verification failed unexpected pack id {other}]\n"
        f"restic repair packs {pack}\nrestic repair snapshots --forget\nFatal: repository contains errors\n"
    )
    assert packs_in(said) == [pack]
