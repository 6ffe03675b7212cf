"""A node's configuration: problems, readers of values, the table of sections, loading."""

from node.config.loading import FILE, LINE, load, parse
from node.config.problems import PROBLEMS, ConfigError, Invalid, Problem
from node.config.readers import QUERY, Address, Read, parse_duration, parse_size
from node.config.sections import (
    Admin,
    Config,
    Console,
    Described,
    Enclave,
    Keys,
    Limits,
    Network,
    Node,
    Policy,
    Registrar,
    Source,
    describe,
)

__all__ = [
    "FILE",
    "LINE",
    "PROBLEMS",
    "QUERY",
    "Address",
    "Admin",
    "Config",
    "ConfigError",
    "Console",
    "Described",
    "Enclave",
    "Invalid",
    "Keys",
    "Limits",
    "Network",
    "Node",
    "Policy",
    "Problem",
    "Read",
    "Registrar",
    "Source",
    "describe",
    "load",
    "parse",
    "parse_duration",
    "parse_size",
]
