"""A restic for tests: the documented interface of 0.14 and 0.18, over a folder that holds plain copies.

Strict: a command or option that this version does not have is an error. `$FAKES/restic.log` gets each command;
`$FAKES/restic.fail` holds {command: {"code": 1, "stderr": "..."}}: how the real one fails.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

FAKES = Path(os.environ["FAKES"])
VERSION = tuple(map(int, (FAKES / "restic.version").read_text().split(".")))
# Options: how many words follow, and since which version.
OPTIONS: dict[str, dict[str, tuple[int, tuple[int, int]]]] = {
    "": {"-o": (1, (0, 9)), "--retry-lock": (1, (0, 16))},
    "version": {},
    "init": {},
    "unlock": {},
    "prune": {},
    "backup": {
        "--json": (0, (0, 9)),
        "--host": (1, (0, 9)),
        "--tag": (1, (0, 9)),
        "--exclude": (1, (0, 9)),
        "--group-by": (1, (0, 16)),
    },
    "snapshots": {"--json": (0, (0, 9)), "--host": (1, (0, 9)), "--tag": (1, (0, 9))},
    "stats": {"--json": (0, (0, 9)), "--mode": (1, (0, 9))},
    "restore": {
        "--target": (1, (0, 9)),
        "--include": (1, (0, 9)),
        "--json": (0, (0, 16)),
        "--overwrite": (1, (0, 17)),
    },
    "check": {"--read-data-subset": (1, (0, 9))},
    "repair": {"--forget": (0, (0, 16))},
    "forget": {
        "--json": (0, (0, 9)),
        "--host": (1, (0, 9)),
        "--tag": (1, (0, 9)),
        "--group-by": (1, (0, 9)),
        **{f"--keep-{one}": (1, (0, 9)) for one in ("hourly", "daily", "weekly", "monthly")},
    },
}


def fail(code: int, text: str) -> NoReturn:
    if code in (10, 11, 12) and VERSION < (0, 17):
        code = 1
    print(text, file=sys.stderr)
    sys.exit(code)


def parse(words: list[str]) -> tuple[str, dict[str, list[str]], list[str]]:
    command, options, rest = "", {}, []
    while words:
        word = words.pop(0)
        if word == "--":
            return command, options, rest + words
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            known = {**OPTIONS[""], **OPTIONS[command]}
            if name not in known or known[name][1] > VERSION:
                fail(1, f"unknown flag: {name}")
            if known[name][0]:
                options.setdefault(name, []).append(value if equals else words.pop(0))
            else:
                options[name] = []
        elif not command:
            if word not in OPTIONS:
                fail(1, f'unknown command "{word}" for "restic"')
            command = word
        else:
            rest.append(word)
    return command, options, rest


def copy(source: Path, target: Path, unwanted: list[str], wanted: list[str]) -> tuple[int, int]:
    files = size = 0
    if any(fnmatch.fnmatch(str(source), pattern) for pattern in unwanted):
        return 0, 0
    if source.is_dir() and not source.is_symlink():
        target.mkdir(parents=True, exist_ok=True)
        for child in sorted(source.iterdir()):
            more = copy(child, target / child.name, unwanted, wanted)
            files, size = files + more[0], size + more[1]
        shutil.copystat(source, target)
    else:
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
        files, size = 1, source.lstat().st_size
    if not target.is_symlink():
        os.chown(target, source.lstat().st_uid, source.lstat().st_gid)
    return files, size


def snapshots(repository: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in repository.glob("*.json")]
    return sorted(found, key=lambda one: one["time"])


def main() -> None:
    command, options, rest = parse(sys.argv[1:])
    with (FAKES / "restic.log").open("a") as log:
        log.write(json.dumps(sys.argv[1:]) + "\n")
    if command == "version":
        print(f"restic {VERSION[0]}.{VERSION[1]}.0 compiled with go1.19 on linux/amd64")
        return
    assert Path(os.environ["RESTIC_PASSWORD_FILE"]).name
    failures = FAKES / "restic.fail"
    if failures.exists():
        how = json.loads(failures.read_text()).get(command)
        if how and "stdout" in how:
            print(how["stdout"])
        if how and how["code"] != 3:
            fail(how["code"], how["stderr"])
    else:
        how = None
    name = os.environ["RESTIC_REPOSITORY"]
    repository = Path(name) if name.startswith("/") else FAKES.parent / "repository"
    if command == "init":
        if (repository / "config").exists():
            fail(1, f"Fatal: create repository at {repository} failed: config file already exists")
        repository.mkdir(parents=True, exist_ok=True)
        (repository / "config").touch()
        return
    if not (repository / "config").exists():
        where = f"unable to open config file: Stat: stat {repository}/config: no such file or directory"
        said = "repository does not exist: " if VERSION >= (0, 17) else ""
        fail(10, f"Fatal: {said}{where}\nIs there a repository at the following location?\n{repository}")
    if command == "backup":
        name = os.urandom(32).hex()
        files = size = 0
        for path in map(Path, rest):
            more = copy(path, repository / name / path.relative_to("/"), options.get("--exclude", []), [])
            files, size = files + more[0], size + more[1]
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}Z"
        when = FAKES / "restic.time"
        meta: dict[str, Any] = {
            "id": name,
            "time": when.read_text() if when.exists() else at,
            "hostname": options["--host"][0],
            "tags": options["--tag"],
            "paths": rest,
        }
        if VERSION >= (0, 17):
            meta["summary"] = {"total_files_processed": files, "total_bytes_processed": size}
        (repository / f"{name}.json").write_text(json.dumps(meta))
        print(json.dumps({"message_type": "status", "percent_done": 0.5, "files_done": 1, "total_files": files}))
        counts = {"files_new": files, "files_changed": 0, "files_unmodified": 0, "data_added": size}
        total = {"total_files_processed": files, "total_bytes_processed": size, "snapshot_id": name}
        print(json.dumps({"message_type": "summary", **counts, **total}))
        if how:
            fail(how["code"], how["stderr"])
    elif command == "snapshots":
        hosts = options["--host"]
        print(json.dumps([one for one in snapshots(repository) if one["hostname"] in hosts]))
    elif command == "stats":
        print(json.dumps({"total_size": 1, "total_file_count": 1, "snapshots_count": 1}))
    elif command == "restore":
        tree, target = repository / rest[0], Path(options["--target"][0])
        for pattern in options.get("--include") or ["/"]:
            source = tree / pattern.lstrip("/")
            if source.exists():
                copy(source, target / pattern.lstrip("/"), [], [])
    elif command == "forget":
        assert any(name.startswith("--keep-") for name in options)
        print(json.dumps([{"host": "x", "keep": [], "remove": [{"id": "a"}, {"id": "b"}]}]))
    elif command == "repair":
        if VERSION < (0, 16):
            fail(1, 'unknown command "repair" for "restic"')
        assert rest[0] in ("index", "packs", "snapshots")
        (FAKES / "restic.fail").unlink(missing_ok=True)
