"""Running other programs, never for longer than they were given."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

# A service of systemd has no PATH of a person.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
MISSING, TOO_LONG = 127, 124


@dataclass(frozen=True)
class Done:
    """How a program ended: `code` as shells give it, 124 when its time was up, 127 when it does not exist."""

    code: int
    out: str
    errors: str

    @property
    def said(self) -> str:
        """The last line that it wrote, for a message."""
        lines = (self.errors.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else f"exit code {self.code}, without a word"


def run(argv: list[str], timeout: float = 10, given: str = "") -> Done:
    """Run a program; it is killed when its time is up.

    :param timeout: in seconds.
    :param given: its standard input.
    """
    try:
        done = subprocess.run(
            argv,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=ENVIRONMENT,
        )
    except subprocess.TimeoutExpired:
        return Done(TOO_LONG, "", f"no answer within {timeout:.0f} s")
    except OSError as error:
        return Done(MISSING, "", f"{argv[0]} cannot be run: {error.strerror}")
    return Done(done.returncode, done.stdout, done.stderr)
