"""A configuration is accepted whole, or refused with every error, its line and a fix."""

import dataclasses
from pathlib import Path

import pytest

from node import config
from node.config import Address, Config, ConfigError, Invalid, parse, parse_duration, parse_size
from node.config.readers import Bulk
from node.net.proxy import Proxy
from node.store.keystore import Prompt, SecretFile, SystemdCredential

BASE = Path("/etc/village")
SMALLEST = '[node]\nname = "hospital-b"\nstate = "state"\n'
WHOLE = """
[node]
name  = "hospital-b"          # petname
state = "/var/lib/village"
log   = "debug"

[keys]
unlock = "systemd-creds:village-keystore"
root   = "offline"

[network]
dial      = "both"
listen    = ["/ip4/0.0.0.0/tcp/4150", "/ip6/::1/tcp/0/ws"]
bulk      = "stream"
proxy     = "http://village:p%40ss@proxy.example:3128"
bootstrap = [
  "/dns4/peer.example/tcp/4150/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
]

[admin]
socket  = "/run/village/admin.sock"
read    = "village-read"
operate = "village-ops"
govern  = "village-dpo"

[console]
listen = "127.0.0.1:8080"

[policy]
file = "policy.toml"

[sources.lung]
contract = "contracts/lung-v1.odcs.yaml"
file     = "/data/onco.csv"
exclude  = "/data/objections.csv"
query = "SELECT * FROM source"

[limits]
disk  = "10 GiB"
peers = 50

[enclave]
socket     = "/run/village/enclave.sock"
technology = "simulated"
operator   = "University"
region     = "NL"

[registrar]
enabled = true
"""


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse(text.encode() if isinstance(text, str) else text, BASE)
    return caught.value.problems


def refused(section, line):
    """The one problem of a small configuration with one more line; its key and its line."""
    (found,) = problems(f"{SMALLEST}[{section}]\n{line}\n")
    assert found.line == 5
    return found


def test_a_whole_configuration_is_read():
    read = parse(WHOLE.encode(), BASE)
    assert read.node == config.Node(name="hospital-b", state=Path("/var/lib/village"), log="debug")
    assert read.keys == config.Keys(unlock=SystemdCredential("village-keystore"), root="offline")
    assert read.network.listen == ("/ip4/0.0.0.0/tcp/4150", "/ip6/::1/tcp/0/ws")
    assert len(read.network.bootstrap) == 1
    assert read.network.proxy == Proxy("proxy.example", 3128, "village:p@ss")
    assert read.admin.govern == "village-dpo"
    assert read.console.listen == Address("127.0.0.1", 8080)
    assert read.policy.file == BASE / "policy.toml"
    assert read.sources["lung"].contract == BASE / "contracts/lung-v1.odcs.yaml"
    assert read.sources["lung"].file == Path("/data/onco.csv")
    assert read.limits == config.Limits(disk=10 * 2**30, peers=50)
    assert read.enclave is not None
    assert read.enclave.technology == "simulated"
    assert read.registrar.enabled


def test_everything_is_off_unless_it_stands_there():
    read = parse(SMALLEST.encode(), BASE)
    assert read.node.state == BASE / "state"
    assert read.keys == config.Keys(unlock=Prompt(), root="keystore")
    assert read.network == config.Network(
        dial="outbound", listen=(), bulk=Bulk(dials=True), proxy=None, bootstrap=()
    )
    assert read.admin.socket == Path("/run/village/admin.sock")
    assert (read.admin.read, read.admin.operate, read.admin.govern) == (None, None, None)
    assert (read.console.listen, read.policy.file, read.enclave) == (None, None, None)
    assert dict(read.sources) == {}
    assert read.limits == config.Limits(disk=50 * 2**30, peers=200)
    assert not read.registrar.enabled


def test_a_configuration_does_not_change():
    read = parse(WHOLE.encode(), BASE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.node.name = "other"
    with pytest.raises(TypeError):
        read.sources["other"] = read.sources["lung"]


def test_all_errors_come_at_once_with_line_and_fix():
    found = problems(
        '[node]\nname = "Hospital B"\nlog = "loud"\n\n[netwrok]\n\n[limits]\ndisk = 50\n'
        "peers = true\npers = 3\n"
    )
    assert [(p.line, p.key) for p in found] == [
        (1, "node.state"),
        (2, "node.name"),
        (3, "node.log"),
        (5, "netwrok"),
        (8, "limits.disk"),
        (9, "limits.peers"),
        (10, "limits.pers"),
    ]
    assert found[3].fix == "Did you mean network?"
    assert found[6].fix == "Did you mean peers?"
    assert all(p.detail and p.fix for p in found)


def test_the_message_is_one_line_per_problem():
    with pytest.raises(ConfigError) as caught:
        parse(b"[node]\nname = 3\n", BASE, "b.toml")
    assert caught.value.code == "config.refused"
    first, second = sorted(str(caught.value).splitlines())
    assert first.startswith("b.toml:1: node.state: The key is missing.")
    assert second.startswith("b.toml:2: node.name: This is not a text.")


@pytest.mark.parametrize(
    ("section", "line", "key"),
    [
        ("admin", 'four_eyes = ["agreement.accept"]', "admin.four_eyes"),
        ("admin", "four_eyes = []", "admin.four_eyes"),
        ("keys", 'unlock = "pkcs11:token"', "keys.unlock"),
    ],
)
def test_what_is_not_supported_yet_is_refused_and_says_so(section, line, key):
    found = refused(section, line)
    assert found.key == key
    assert "not supported yet" in found.detail
    assert found.fix


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("stream", Bulk(dials=False)),
        ("dial", Bulk(dials=True)),
        ("0.0.0.0:7702", Bulk(dials=True, listen=Address("0.0.0.0", 7702))),  # noqa: S104
    ],
)
def test_lanes_are_forbidden_dialled_or_offered(value, read):
    text = f'{SMALLEST}[network]\nbulk = "{value}"\n'
    assert parse(text.encode(), BASE).network.bulk == read


@pytest.mark.parametrize("value", ["auto", "127.0.0.1", "127.0.0.1:65536", ":7702", ""])
def test_a_bulk_lane_is_an_address_and_a_port(value):
    assert refused("network", f'bulk = "{value}"').key == "network.bulk"


def test_a_source_may_have_a_query():
    text = f'{SMALLEST}[sources.lung]\ncontract = "c"\nfile = "f.db"\nquery = """\nSELECT 1\n"""\n'
    assert parse(text.encode(), BASE).sources["lung"].query == "SELECT 1\n"


@pytest.mark.parametrize("query", ['""', '"  "', "1"])
def test_what_is_no_query_is_refused(query):
    (found,) = problems(f'{SMALLEST}[sources.lung]\ncontract = "c"\nfile = "f"\nquery = {query}\n')
    assert (found.line, found.key) == (7, "sources.lung.query")


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("keys", 'unlock = "password123"'),
        ("keys", 'root = "here"'),
        ("network", 'dial = "in"'),
        ("network", 'proxy = "proxy.example:3128"'),
        ("network", 'proxy = "http://proxy.example"'),
        ("network", 'proxy = "https://proxy.example:3128"'),
        ("network", 'proxy = "http://user@proxy.example:3128"'),
        ("network", 'proxy = "http://proxy.example:3128/path"'),
        ("network", 'proxy = "http://proxy.example:99999"'),
        ("network", 'listen = "/ip4/127.0.0.1/tcp/4150"'),
        ("network", "listen = [3]"),
        ("network", 'bootstrap = ["/ip4/192.0.2.7/tcp/4150"]'),
        ("network", 'bootstrap = ["/ip4/192.0.2.7/tcp/0/p2p/12D3KooWEyopp"]'),
        ("network", 'bootstrap = ["/ip4/192.0.2.777/tcp/1/p2p/12D3KooWEyopp"]'),
        ("network", 'bootstrap = ["/ip6/192.0.2.7/tcp/1/p2p/12D3KooWEyopp"]'),
        ("network", 'bootstrap = ["/dns4/-a/tcp/1/p2p/12D3KooWEyopp"]'),
        ("network", 'bootstrap = ["/ip4/192.0.2.7/udp/1/quic-v1/p2p/12D3KooWEyopp"]'),
        ("admin", 'read = "Root Group"'),
        ("admin", f'socket = "/{"s" * 120}"'),
        ("admin", 'socket = "a\\u0000b"'),
        ("console", 'listen = "0.0.0.0:8080"'),
        ("console", 'listen = "localhost:8080"'),
        ("console", 'listen = "127.0.0.1"'),
        ("console", 'listen = "127.0.0.1:99999"'),
        ("console", 'listen = "127.0.0.1:\u0663"'),
        ("policy", "file = true"),
        ("policy", 'file = ""'),
        ("limits", 'disk = "50 GB"'),
        ("limits", 'disk = "-1 GiB"'),
        ("limits", "peers = 0"),
        ("limits", "peers = 1.5"),
        ("registrar", 'enabled = "yes"'),
    ],
)
def test_each_wrong_value_is_refused_where_it_stands(section, line):
    found = refused(section, line)
    assert found.key == f"{section}.{line.partition(' ')[0]}"


def test_sections_that_contradict_themselves_are_refused():
    listening = '[network]\nlisten = ["/ip4/127.0.0.1/tcp/4150"]\n'
    assert [p.key for p in problems(SMALLEST + listening)] == ["network.listen"]
    both = '[network]\ndial = "both"\n'
    assert [p.key for p in problems(SMALLEST + both)] == ["network.dial"]


def test_a_section_of_a_host_is_complete_or_absent():
    found = problems(SMALLEST + "[enclave]\n")
    assert {p.key for p in found} == {"enclave.socket", "enclave.technology"}
    assert {p.line for p in found} == {4}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("node = 3\n", 1),
        ("sources = 3\n" + SMALLEST, 1),
        (SMALLEST + "[sources]\nlung = 3\n", 5),
        (SMALLEST + '[sources."Big Lung"]\ncontract = "c"\nfile = "f"\n', 0),
    ],
)
def test_a_table_must_be_a_table_and_a_source_has_a_name(text, line):
    assert any(p.line == line for p in problems(text))


def test_inline_and_dotted_keys_have_lines_too():
    text = 'node = { name = "b", state = "s", logg = "x" }\nlimits.peers = -1\n'
    assert [(p.line, p.key) for p in problems(text)] == [(1, "node.logg"), (2, "limits.peers")]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"[node\n", 1),
        (b'[node]\nname = "b"\nname = "c"\n', 3),
        (b'[node]\nname = "\xff"\n', 2),
        (b"a = 1\nb = " + b"9" * 5000, 2),
        (b"a = " + b"[" * 2000, 0),
        (b"#" * (config.FILE + 1), 0),
    ],
)
def test_what_is_no_toml_is_one_problem(data, line):
    (found,) = problems(data)
    assert found.line == line
    assert found.fix


def test_a_hostile_key_is_shown_harmless_and_problems_are_bounded():
    text = SMALLEST + "".join(f'"\\u001b[31m{n}" = 1\n' for n in range(500))
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), BASE)
    assert "\x1b" not in str(caught.value)
    assert len(caught.value.problems) == config.PROBLEMS


def test_a_file_is_loaded_relative_to_itself(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(SMALLEST + '[keys]\nunlock = "file:secret"\n')
    read = config.load(file)
    assert isinstance(read, Config)
    assert read.node.state == tmp_path / "state"
    assert read.keys.unlock == SecretFile(tmp_path / "secret")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "none.toml")
    assert caught.value.problems[0].detail == "Cannot read: No such file or directory."


@pytest.mark.parametrize(
    ("text", "size"),
    [("1 B", 1), ("50 GiB", 50 * 2**30), ("50GiB", 50 * 2**30), ("3 TiB", 3 * 2**40)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("P30D", 2_592_000),
        ("PT10S", 10),
        ("P1Y", 31_536_000),
        ("P2W", 1_209_600),
        ("P1DT2H3M4S", 93_784),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "P1M", "30D", "-P1D", "P1.5D", "P\u0663D"])
def test_other_durations_are_refused(text):
    with pytest.raises(Invalid):
        parse_duration(text)


def test_every_key_has_its_sentence_and_stands_in_the_whole_example():
    described = config.describe()
    assert all(one.doc.endswith(".") and len(one.doc) > 15 for one in described)
    unsupported = {"four_eyes"}
    for one in described:
        assert (one.key in unsupported) or f"\n{one.key} " in WHOLE, one
    required = {f"{one.section}.{one.key}" for one in described if one.required}
    assert required == {
        "node.name",
        "node.state",
        "sources.NAME.contract",
        "sources.NAME.file",
        "enclave.socket",
        "enclave.technology",
    }
