"""What a user of the machine may do at the admin socket."""

import os
import socket

import pytest

from node.admin import peercred
from node.config import Admin

READ, OPERATE, GOVERN = (
    frozenset({"read"}),
    frozenset({"read", "operate"}),
    frozenset({"read", "operate", "govern"}),
)


def admin(**groups):
    return Admin(
        socket=None, four_eyes=None, **{"read": None, "operate": None, "govern": None, **groups}
    )


@pytest.mark.parametrize(
    ("groups", "of_user", "expected"),
    [
        ({}, {"staff"}, frozenset()),
        ({"read": "r"}, set(), frozenset()),
        ({"read": "r"}, {"r"}, READ),
        ({"read": "r", "operate": "o"}, {"r"}, READ),
        ({"read": "r", "operate": "o"}, {"o"}, OPERATE),
        ({"read": "r", "operate": "o", "govern": "g"}, {"r", "g"}, GOVERN),
        ({"govern": "g"}, {"g"}, GOVERN),
    ],
)
def test_groups_give_permissions_each_including_the_lower(monkeypatch, groups, of_user, expected):
    monkeypatch.setattr(peercred, "groups_of", lambda _uid: frozenset(of_user))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert peercred.permissions(4242, admin(**groups)) == expected


def test_root_and_the_daemons_user_may_all_and_nobody_known_nothing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert peercred.permissions(0, admin()) == GOVERN
    assert peercred.permissions(1000, admin()) == GOVERN
    assert peercred.permissions(None, admin(read="r")) == frozenset()


def test_a_uid_without_name_is_in_no_group():
    assert peercred.groups_of(2**31 - 7) == frozenset()


def test_the_kernel_tells_who_connected():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peercred.peer_uid(ours) == os.geteuid()
