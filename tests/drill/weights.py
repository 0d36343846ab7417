"""What systemd does with a service's CPUWeight=idle on a real machine, done in its place where it cannot.

systemd weighs services by control groups. Below a kernel whose controllers are cgroup v1 (some virtual machines) a
container gets them read-only: all services of the box share one group, and only SCHED_IDLE is left of what
hearth-backup.service asks for. There the lab puts the service's processes into a group of their own, with cpu.idle,
which is what systemd sets for CPUWeight=idle (systemd.resource-control(5), cgroups(7)).
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.flow import lab

CPU = Path("/sys/fs/cgroup/cpu")
NAMES = Path("/sys/fs/cgroup/systemd")
# Seconds between two looks for new processes; their children are born where they are. The looks too cost processor
# time, and only in the busy half of the comparison.
LOOK = 0.2


def _group(name: str, controller: str) -> str:
    """Give a container's control group: the path below the controller's root."""
    for line in Path(f"/proc/{lab.pid_of(name)}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.strip("/").removesuffix("/init.scope")
    raise lab.LabError(f"{name} has no control group of {controller}")


def systemd_weighs(name: str) -> bool:
    """Tell whether systemd in a container can weigh its services."""
    return "cpu" in lab.run(name, "cat", "/sys/fs/cgroup/cgroup.controllers", check=False).stdout.split()


def _processes(group: Path) -> set[str]:
    """List the processes of a control group; none of one that is gone, or goes while it is read."""
    try:
        return set((group / "cgroup.procs").read_text().split())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return set()
        raise


def _move(service: Path, group: Path) -> int:
    """Move a service's new processes into a group; gives how many were moved."""
    moved = 0
    for pid in _processes(service) - _processes(group):
        with contextlib.suppress(ProcessLookupError):  # It has ended by itself.
            (group / "cgroup.procs").write_text(pid)
            moved += 1
    return moved


@contextlib.contextmanager
def idle(name: str, *services: str) -> Iterator[None]:
    """Weigh services of a container as their CPUWeight=idle says."""
    if systemd_weighs(name):
        yield
        return
    group = CPU / _group(name, "cpu") / "idle"
    slices = NAMES / _group(name, "name=systemd") / "system.slice"
    group.mkdir(exist_ok=True)
    (group / "cpu.idle").write_text("1")
    end = threading.Event()

    def weigh() -> int:
        count = 0
        while not end.wait(LOOK):
            count += sum(_move(slices / f"{service}.service", group) for service in services)
        return count

    with ThreadPoolExecutor(1) as pool:
        weighing = pool.submit(weigh)
        try:
            yield
        finally:
            end.set()
            moved = weighing.result()
            # The kernel removes no group that holds processes.
            lab.wait_for(lambda: not _processes(group), 60, "the services having ended")
            group.rmdir()
    if not moved:
        raise lab.LabError(f"no process of {', '.join(services)} was weighed")
