"""Import only the parts of libp2p that are used here.

`import libp2p` loads every transport, the DHT, TLS and discovery: 25 MB and 0.3 s for parts that
we never start. These packages are entered without running their `__init__`; their submodules stay
what they are. Whoever imported the whole of libp2p before keeps it.
"""

import importlib.util
import sys
from types import ModuleType

_UNRUN = (
    "libp2p",
    "libp2p.identity",
    "libp2p.identity.identify",
    "libp2p.network",
    "libp2p.security",
    "libp2p.transport",
    "libp2p.transport.quic",
)


def _enter(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{name} is not installed: run `make setup`")
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules[name] = package


for _name in _UNRUN:
    _enter(_name)
