"""TCB levels of Intel: how good processor, quoting enclave and TDX module are, as Intel states.

A level says which security versions are the least for it; the first one that all versions reach is
the machine's (Intel PCS documentation, "TCB info"). The library merges all into one status and says
nothing when it finds another fault; here every part is named.
"""

import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final

from protocol.attestation.collateral import Collateral
from protocol.attestation.quote import Quote
from protocol.errors import Refused

NONE: Final = "no level"
"""Where no level is reached."""

_STATEMENT: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def statuses(given: Collateral, read: Quote, cpu_svn: bytes, pce_svn: int) -> dict[str, str]:
    """Part -> its TCB status. Raises Refused (evidence.collateral) if a statement is malformed."""
    try:
        return _statuses(given, read, cpu_svn, pce_svn)
    except _STATEMENT as error:
        detail = f"a statement without its levels: {type(error).__name__}: {error}"
        raise Refused("evidence.collateral", detail) from error


def _statuses(given: Collateral, read: Quote, cpu_svn: bytes, pce_svn: int) -> dict[str, str]:
    tcb, qe_svn = given.tcb.content, int.from_bytes(read.qe_report[258:260], "little")
    tee_svn = read.body[:16] if read.tdx else b""
    own = 2 if any(tee_svn[1:2]) else 0  # a module since 1.5 has levels of its own, see below
    found = {
        "processor": _first(
            level
            for level in tcb["tcbLevels"]
            if _reached(level["tcb"], "sgxtcbcomponents", cpu_svn)
            and pce_svn >= level["tcb"]["pcesvn"]
            and (not read.tdx or _reached(level["tcb"], "tdxtcbcomponents", tee_svn, own))
        ),
        "quoting enclave": _by_svn(given.qe.content["tcbLevels"], qe_svn),
    }
    if own:
        module = f"TDX_{tee_svn[1]:02X}"
        named = [one for one in tcb["tdxModuleIdentities"] if one["id"].upper() == module]
        found["TDX module"] = _by_svn(named[0]["tcbLevels"], tee_svn[0]) if named else NONE
    return found


def _reached(level: Mapping[str, Any], components: str, svn: bytes, start: int = 0) -> bool:
    least = [component["svn"] for component in level[components]]
    return len(least) == len(svn) and all(map(operator.ge, svn[start:], least[start:]))


def _by_svn(levels: Iterable[Mapping[str, Any]], svn: int) -> str:
    return _first(level for level in levels if svn >= level["tcb"]["isvsvn"])


def _first(levels: Iterable[Mapping[str, Any]]) -> str:
    level = next(iter(levels), None)
    return NONE if level is None else str(level["tcbStatus"])[:40]
