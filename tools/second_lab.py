"""A second lab on the same machine, at the same time: names and addresses of a lab are fixed, so the machine is split.

The second one has network, mounts and processes of its own (namespaces(7)). Podman keeps its containers apart and takes
the images of the first; `build` is another folder; the way to Debian's archive is slirp4netns, so nothing of the
machine's own network or firewall is touched. When whoever made it ends, however, the kernel ends all that is in it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).resolve().parent.parent
# Its containers and the like. Kept: Debian's packages are in it.
STATE = PROJECT / "build/second"
# What it finds as the project's `build`.
BUILD = STATE / "build"

# Arguments: the project, the folder of its state, podman's folder of images and containers. It ends, and with it all,
# when nobody holds the other end of its input.
SET_UP = """
project=$1 state=$2 store=$3
ip link set lo up
for folder in /run/containers /run/libpod /run/netns /dev/shm; do
  mkdir -p "$folder"
  mount -t tmpfs second "$folder"
done
mkdir -p /etc/containers/networks "$HOME/.ansible"
mount --bind "$state/networks" /etc/containers/networks
mount --bind "$state/ansible" "$HOME/.ansible"
mount --bind "$state/resolv.conf" /etc/resolv.conf
mount --bind "$store" "$state/build/images"
mount --bind "$state/storage" "$store"
# What Python compiled is the same for both.
mount --bind "$project/build/pyc" "$state/build/pyc"
mount --rbind "$state/build" "$project/build"
echo ready
exec cat
"""
# slirp4netns's own name server (slirp4netns(1)), which asks the machine's: that may be one on its loopback.
RESOLV_CONF = "nameserver 10.0.2.3\n"
WAY_OUT = "One scenario by hand needs none: .venv/bin/molecule test -s rebuild"
STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{store}"
runroot = "/run/containers/storage"
[storage.options]
additionalimagestores = ["{images}"]
"""


class SecondLab:
    """A place for a second lab, from `__enter__` to `__exit__`. Needs root, podman and slirp4netns."""

    def __init__(self, state: Path = STATE) -> None:
        """Have none yet."""
        self._state = state
        self._pid = 0
        self._holder: subprocess.Popen[str] | None = None
        self._uplink: subprocess.Popen[bytes] | None = None
        self._uplink_held = -1

    def __enter__(self) -> SecondLab:
        """Make the place.

        :raises OSError: when the machine does not let us; what was said is printed.
        """
        store = subprocess.run(
            ["podman", "info", "--format", "{{.Store.GraphRoot}}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("networks", "ansible", "storage", "build/images", "build/pyc"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        (PROJECT / "build/pyc").mkdir(exist_ok=True)
        (self._state / "resolv.conf").write_text(RESOLV_CONF)
        # Podman 4 takes CNI when it finds images and no word about its networks.
        (self._state / "storage/defaultNetworkBackend").write_text("netavark")
        (self._state / "build/storage.conf").write_text(
            STORAGE_CONF.format(store=store, images=PROJECT / "build/images")
        )
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        self._holder = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-euc", SET_UP, "second-lab", str(PROJECT), str(self._state), store],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for those who run in it
        )
        try:
            if self._holder.stdout is None or self._holder.stdout.readline() != "ready\n":
                raise OSError(f"No second lab: this machine refused namespaces or mounts (see above). {WAY_OUT}")
            children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
            self._pid = int(children[0])
            (self._state / "pid").write_text(f"{self._pid}\n")  # for people
            self._connect()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End all that is in it."""
        self._end()

    def inside(self, command: Sequence[str]) -> list[str]:
        """Give the command line that runs a command in the second lab, in the project's folder."""
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--net", "--pid"]
        settings = [f"--chdir={PROJECT}", f"CONTAINERS_STORAGE_CONF={PROJECT}/build/storage.conf"]
        return [*enter, "env", *settings, *command]

    def _connect(self) -> None:
        """Give it a way to the world."""
        ready, says = os.pipe()
        # It ends when nobody holds the other end, as after a SIGKILL for us.
        goes_on, self._uplink_held = os.pipe()
        files = [f"--ready-fd={says}", f"--exit-fd={goes_on}"]
        options = ["--configure", "--mtu=65520", "--disable-host-loopback", *files]
        self._uplink = subprocess.Popen(
            ["slirp4netns", *options, str(self._pid), "tap0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # not its errors: they say why it could not
            pass_fds=[says, goes_on],
            start_new_session=True,
        )
        os.close(says)
        os.close(goes_on)
        with os.fdopen(ready, "rb") as answer:
            if answer.read(1) != b"1":
                raise OSError(f"slirp4netns could not connect the second lab (see above). {WAY_OUT}")

    def _end(self) -> None:
        if self._holder:
            self._holder.communicate()
        if self._uplink:
            os.close(self._uplink_held)
            self._uplink.wait()
