"""Answers libp2p's imports of fastecdsa, so that no compiler is needed to install it.

libp2p uses fastecdsa for the P-256 keys of its SECIO transport only. Village offers Noise with
Ed25519 keys and nothing else, so each operation here refuses instead of computing.
"""

import sys
from types import ModuleType
from typing import NoReturn


class Curve:
    """The type that libp2p's annotations name; no curve exists."""


class Point:
    """The type that libp2p's annotations name; no point exists."""


def refuse(*_: object, **__: object) -> NoReturn:
    """Raise NotImplementedError, as libp2p itself does for a curve that it does not support."""
    raise NotImplementedError("P-256 keys and SECIO are not offered: Noise and Ed25519 only")


class SEC1Encoder:
    """The point encoder of SEC 1, section 2.3; both directions refuse."""

    encode_public_key = staticmethod(refuse)
    decode_public_key = staticmethod(refuse)


class PEMEncoder:
    """The private key encoder of RFC 5915; it refuses."""


def _module(name: str, **names: object) -> ModuleType:
    module = ModuleType(name, "Stand-in of Village: every operation refuses.")
    module.__dict__.update(names)
    return module


def _modules() -> list[ModuleType]:
    curve = _module("fastecdsa.curve", Curve=Curve, P256=None)
    keys = _module(
        "fastecdsa.keys",
        PEMEncoder=PEMEncoder,
        export_key=refuse,
        gen_keypair=refuse,
        gen_private_key=refuse,
        get_public_key=refuse,
    )
    point = _module("fastecdsa.point", Point=Point)
    sec1 = _module("fastecdsa.encoding.sec1", SEC1Encoder=SEC1Encoder)
    util = _module("fastecdsa.encoding.util", int_bytelen=refuse)
    encoding = _module("fastecdsa.encoding", __path__=[], sec1=sec1, util=util)
    root = _module("fastecdsa", __path__=[], curve=curve, encoding=encoding, keys=keys, point=point)
    return [root, curve, keys, point, encoding, sec1, util]


def install() -> None:
    """Put the stand-in where ``import fastecdsa`` looks first; a second call changes nothing."""
    if "fastecdsa" not in sys.modules:
        sys.modules.update({module.__name__: module for module in _modules()})


install()
