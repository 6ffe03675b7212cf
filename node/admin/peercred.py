"""Who is on the other end of the admin socket, told by the kernel, and what that user may do."""

import contextvars
import grp
import os
import pwd
import socket
import struct
from typing import Final

from node.admin.method import PERMISSIONS, Permission
from node.config import Admin

_CREDENTIALS: Final = struct.Struct("3i")

PEER: Final[contextvars.ContextVar[int | None]] = contextvars.ContextVar("peer", default=None)
"""The uid of the connection that the current task serves; None: not known, nothing is allowed."""


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process that connected (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def permissions(uid: int | None, admin: Admin) -> frozenset[Permission]:
    """What a user may do: root and the daemon's own user all, others what their groups may."""
    if uid is None:
        return frozenset()
    if uid in (0, os.geteuid()):
        return frozenset(PERMISSIONS)
    groups = groups_of(uid)
    named = (admin.read, admin.operate, admin.govern)
    levels = [level for level, group in enumerate(named) if group is not None and group in groups]
    return frozenset(PERMISSIONS[: max(levels) + 1]) if levels else frozenset()


def groups_of(uid: int) -> frozenset[str]:
    """The names of the groups of a user; none if the user is not known."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(
        group.gr_name
        for gid in os.getgrouplist(user.pw_name, user.pw_gid)
        if (group := _group(gid)) is not None
    )


def _group(gid: int) -> "grp.struct_group | None":
    try:
        return grp.getgrgid(gid)
    except KeyError:
        return None
