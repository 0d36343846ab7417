"""Starting programs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Characters of an error output that are kept: the end says why.
KEPT = 200_000
# Seconds between two looks at what a program says of its errors.
LOOK = 0.5
# Set for our own commands when a fragment starts them: their parent holds the lock.
LOCK_HELD = "HEARTH_BACKUP_LOCK_HELD"


@dataclass(frozen=True)
class Result:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last lines that say something, on one line."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines() if line.strip()]
        return "; ".join(lines[-3:])[:600] or f"exit code {self.code}"


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    keep_open: Sequence[int] = (),
    folder: Path | None = None,
    each_line: Callable[[str], bool] | None = None,
    is_hopeless: Callable[[str], bool] | None = None,
) -> Result:
    """Run a program to its end.

    :param environment: added to ours.
    :param keep_open: file descriptors that it inherits: a lock lives as long as one of them is open.
    :param folder: where it runs.
    :param each_line: is given each line of its output; those for which it returns True are not kept.
    :param is_hopeless: is given each line of its errors while it runs; where it returns True the program is killed.
    :raises FileNotFoundError: when there is no such program.
    """
    out: list[str] = []
    # Files, not pipes: what a program leaves running keeps them open, and must not keep us waiting.
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if each_line else output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            pass_fds=tuple(keep_open),
            cwd=folder,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        with process, _watched(process, errors.fileno(), is_hopeless):
            try:
                for line in process.stdout or ():
                    if each_line is None or not each_line(line):
                        out.append(line)
                process.wait()
            except BaseException:
                # We are being ended: what we started ends too.
                process.terminate()
                raise
        output.seek(0)
        out.append(output.read().decode("utf-8", "replace"))
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - KEPT))
        said = errors.read().decode("utf-8", "replace")
    return Result(process.returncode, "".join(out), said)


@contextmanager
def _watched(process: subprocess.Popen[str], errors: int, is_hopeless: Callable[[str], bool] | None) -> Iterator[None]:
    """Kill a program that goes on although it is hopeless."""
    ended = threading.Event()

    def watch(judge: Callable[[str], bool]) -> None:
        place = 0
        while not ended.wait(LOOK):
            # The program writes at the place where a plain read would go on.
            found = os.pread(errors, KEPT, place)
            whole = found.rpartition(b"\n")[0]
            place += len(whole)
            if any(judge(line) for line in whole.decode("utf-8", "replace").splitlines()):
                process.kill()
                return

    if is_hopeless is None:
        yield
        return
    thread = threading.Thread(target=watch, args=(is_hopeless,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_ours(argv: Sequence[str]) -> bool:
    """Whether a fragment's command is one of this program."""
    return argv[0] == "hearth-backup"


def resolve(argv: Sequence[str]) -> list[str]:
    """Let a fragment's `hearth-backup` be the file that runs now, wherever PATH leads."""
    own = Path(sys.argv[0])
    if is_ours(argv) and own.name == "hearth-backup" and own.is_file():
        return [str(own.absolute()), *argv[1:]]
    return list(argv)


def run_fragment_command(argv: Sequence[str], lock: int) -> str:
    """Run a command of a fragment.

    :param lock: the lock's descriptor. Our own commands inherit it; others do not, as what they start may live on.
    :returns: why it failed; empty when it did not.
    """
    ours = is_ours(argv)
    try:
        result = run(resolve(argv), environment={LOCK_HELD: "1"} if ours else None, keep_open=(lock,) if ours else ())
    except OSError as error:
        return f"{error.strerror}: {argv[0]}"
    return "" if result.code == 0 else result.last_words
