"""The three ways to build the sandbox's outer walls: commands and views, nothing is started here.

A  bubblewrap with a user namespace; the process outside is a dedicated, unprivileged user.
B  bubblewrap as root without a user namespace; the shim drops to the dedicated user.
C  no namespace at all: Landlock, seccomp and resource limits, all set by the shim.

The inner walls (shim.py, seccomp.py) are the same in each tier.
"""

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, assert_never

from enclave_host.cage.job import Job

Tier = Literal["A", "B", "C"]
TIERS: Final[tuple[Tier, ...]] = ("A", "B", "C")
"""In the order in which they are tried: strongest first."""

BWRAP: Final = "/usr/bin/bwrap"
PYTHON: Final = "/usr/bin/python3.11"
LIBRARIES: Final = ("/usr/lib", "/usr/lib64")
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom")
OWN_CGROUP: Final = "/proc/self/cgroup"
CGROUP_BOUNDS: Final = {
    "": ("cpu.max", "memory.max"),
    "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
    "memory": ("memory.limit_in_bytes",),
}
"""Controller (none in version 2) -> the files that bound what the processes in a cgroup may use."""
LANDLOCK_ABI: Final = 6  # the first that also stops abstract unix sockets and signals (Linux 6.12)

SHIM: Final = (Path(__file__).parent / "shim.py").read_text("utf-8")
"""The shim travels as text, so that it needs no path that the sandbox's user could not enter."""

FIRST_USER: Final = 60800  # 60706-61183 is set aside by no distribution (systemd: UIDS-GIDS)
USERS: Final = 256
GROUP: Final = FIRST_USER
"""Root runs each job as one of these users, all in this group; nothing else uses them."""

ENVIRON: Final = {
    "PATH": "/nonexistent",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    # One thread for each library: the same result on every machine, and no surprise in the limits.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    # malloc gives memory back, and does not reserve address space by the gigabyte.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    # Python needs /dev/shm for these.
    "JOBLIB_MULTIPROCESSING": "0",
}
"""All that the sandbox's environment says; nothing of the enclave's own gets in."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the process in the sandbox finds things, and all that Landlock lets it touch."""

    environment: str | None
    scratch: str | None  # the one writable directory
    more: tuple[str, ...] = ()  # further files that may be read

    @property
    def readable(self) -> list[str]:
        """Files and directories that may be read."""
        libraries = [path for path in LIBRARIES if Path(path).is_dir()]
        environment = [self.environment] if self.environment else []
        return [*libraries, *DEVICES, *environment, *self.more]

    @property
    def writable(self) -> list[str]:
        """Files and directories that may be written."""
        return [self.scratch, "/dev/null"] if self.scratch else ["/dev/null"]


def view(tier: Tier, job: Job) -> View:
    """Return what the algorithm sees in this tier."""
    match tier:
        case "A" | "B":
            return View("/environment" if job.environment else None, "/tmp")  # noqa: S108
        case "C":
            environment = str(job.environment.resolve()) if job.environment else None
            return View(environment, None, _bounds() if job.kind == "sql" else ())
        case _:
            assert_never(tier)


def _bounds() -> tuple[str, ...]:
    """The files with the bounds of this process's cgroup (version 1 and 2), as far as they exist.

    DuckDB reads them when it starts, whatever it is told, and fails where that is forbidden; where
    namespaces hide them it goes on. Not the folder: beside them stands what the neighbours do.
    """
    found = [OWN_CGROUP]
    for line in Path(OWN_CGROUP).read_text("utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            place = Path("/sys/fs/cgroup", controller, path.lstrip("/"))
            found += [str(place / name) for name in CGROUP_BOUNDS.get(controller, ())]
    return tuple(path for path in found if Path(path).is_file())


class Obstacle(NamedTuple):
    """Why a tier does not hold on this machine, and what would change that."""

    reason: str
    fix: str


FIXES: Final[Mapping[Tier, str]] = {
    "A": "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0 and a user.max_user_namespaces above 0; in a "
    "container, a seccomp profile that allows unshare and mount",
    "B": "run the enclave as root with CAP_SYS_ADMIN, as in a virtual machine of its own",
    "C": "use Linux 6.12 or newer, with landlock among the names in /sys/kernel/security/lsm",
}
"""What to do about a tier that was tried and did not hold."""


def obstacle(tier: Tier) -> Obstacle | None:
    """Say why a tier cannot even be tried on this machine; None if it can."""
    if not os.access(PYTHON, os.X_OK):
        return Obstacle(f"{PYTHON} is missing", "install Python 3.11 of the system")
    if tier == "C":
        abi = ctypes.CDLL(None).syscall(444, None, 0, 1)  # landlock_create_ruleset, version
        if abi < LANDLOCK_ABI:
            return Obstacle(f"Landlock ABI {max(abi, 0)}, needs {LANDLOCK_ABI}", FIXES["C"])
        return None
    if not os.access(BWRAP, os.X_OK):
        return Obstacle(f"{BWRAP} is missing", "install bubblewrap")
    if tier == "B" and os.geteuid() != 0:
        return Obstacle("not root", "run the enclave as root, or allow user namespaces for tier A")
    return None


def command(tier: Tier, job: Job) -> list[str]:
    """Return the command line that builds this tier's walls and starts the shim in them."""
    python = [PYTHON, "-I", "-S", "-B", "-X", "utf8", "-c", SHIM]
    match tier:
        case "A":
            user = ["--unshare-user", "--uid", "65534", "--gid", "65534"]
            return [BWRAP, *user, *_walls(job), *_keep("SYS_ADMIN"), "--", *python]
        case "B":
            keep = _keep("SYS_ADMIN", "SETUID", "SETGID")
            return [BWRAP, *_walls(job), *keep, "--", *python]
        case "C":
            return python
        case _:
            assert_never(tier)


def _keep(*capabilities: str) -> list[str]:
    """What the shim needs until it has bounded /tmp and left root; then it drops everything."""
    return [word for name in capabilities for word in ("--cap-add", f"CAP_{name}")]


def _walls(job: Job) -> list[str]:
    """Namespaces, no capabilities, and a root that holds only what a run needs."""
    namespaces = ["pid", "net", "ipc", "uts", "cgroup-try"]
    binds = [(PYTHON, PYTHON)]
    if job.environment:
        binds.append((str(job.environment), "/environment"))
    return [
        *(f"--unshare-{name}" for name in namespaces),
        *("--hostname", "datacage", "--die-with-parent", "--cap-drop", "ALL"),
        *_flags("--dir", [("/usr",), ("/usr/bin",), ("/dev",)], mode="0755"),
        *_flags("--ro-bind-try", [(path, path) for path in LIBRARIES]),
        *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
        *_flags("--dev-bind", [(path, path) for path in DEVICES]),
        *_flags("--ro-bind", binds),
        *("--perms", "1777", "--size", str(job.limits.tmp), "--tmpfs", "/tmp"),  # noqa: S108
        *("--remount-ro", "/", "--chdir", "/"),
    ]


def _flags(flag: str, values: Sequence[tuple[str, ...]], mode: str = "") -> list[str]:
    """Repeat a flag of bwrap; `mode` sets the permissions of what it makes (root's umask)."""
    permissions = ["--perms", mode] if mode else []
    return [word for value in values for word in (*permissions, flag, *value)]
