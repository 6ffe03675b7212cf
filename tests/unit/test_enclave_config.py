"""The enclave's configuration, its private memory, its data contracts, its command line."""

import json
import mmap
import os
import time

import pytest
import yaml

from enclave_host import config, main, private
from enclave_host.cage import memory
from enclave_host.config import ConfigError
from enclave_host.contract import read_contract
from enclave_host.private import Room, shown
from protocol.errors import Refused
from tests.enclave_rig import PROJECT
from tests.enclave_vitals import CONTRACT

GOOD = """\
[enclave]
socket = "run/enclave.sock"
environments = ["environment"]

[attestation]
technology = "simulated"

[limits]
data = "1 GiB"
wall = 30
"""


def load(tmp_path, text):
    (tmp_path / "environment").mkdir(exist_ok=True)
    file = tmp_path / "enclave.toml"
    file.write_text(text)
    return config.load(file)


def test_paths_are_relative_to_the_file_or_to_the_state(tmp_path):
    found = load(tmp_path, GOOD)
    assert found.socket == tmp_path / "run/enclave.sock"
    assert (found.data, found.ceilings.wall, found.tier) == (2**30, 30, None)
    state = tmp_path / "state"
    (state / "environment").mkdir(parents=True)
    assert config.load(tmp_path / "enclave.toml", state).environments == (state / "environment",)


def test_every_error_comes_at_once_with_its_line(tmp_path):
    text = GOOD.replace("simulated", "none").replace('"1 GiB"', '"lots"').replace("30", "0")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text + "disk = 1\n[more]\n")
    lines = str(caught.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "enclave.toml:6:", "enclave.toml:9:", "enclave.toml:10:", "enclave.toml:11:",
        "enclave.toml:12:",
    ]  # fmt: skip
    assert ["technology" in lines[0], "data" in lines[1], "more" in lines[4]] == [True] * 3


def test_where_evidence_comes_from(tmp_path):
    found = load(tmp_path, GOOD).source
    assert (found.technology, found.collateral, found.ek_certificate) == ("simulated", None, None)
    assert found.tcti == "device:/dev/tpmrm0"
    said = (
        'technology = "tpm"\ncollateral = "kept"\ntpm = "swtpm:path=/x"\nek_certificate = "ek.der"'
    )
    found = load(tmp_path, GOOD.replace('technology = "simulated"', said)).source
    assert found.technology == "tpm"
    assert found.tcti == "swtpm:path=/x"
    assert found.collateral == tmp_path / "kept"
    assert found.ek_certificate == tmp_path / "ek.der"


@pytest.mark.parametrize(
    "line", ["tpm = 1", 'tpm = ""', "collateral = 1", "ek_certificate = []", "root = 1", "nsm = 1"]
)
def test_a_wrong_line_about_evidence_is_refused(tmp_path, line):
    """Also one that would move a device: places are arguments of the code, for tests."""
    text = GOOD.replace('technology = "simulated"', f'technology = "simulated"\n{line}')
    with pytest.raises(ConfigError, match=rf"7: attestation\.{line.split()[0]}"):
        load(tmp_path, text)


def test_technology_must_be_named(tmp_path):
    with pytest.raises(ConfigError, match=r"attestation\.technology: one of auto, nitro"):
        load(tmp_path, GOOD.replace('technology = "simulated"', ""))


@pytest.mark.parametrize("text", ["", "[enclave", "enclave = 1", "\udcff"])
def test_what_is_no_configuration_is_refused(tmp_path, text):
    file = tmp_path / "enclave.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError):
        config.load(file)


def test_the_configurations_of_the_demo_are_sound(tmp_path):
    (tmp_path / "environments/scientific").mkdir(parents=True)
    demo = PROJECT / "configs/demo"
    first, second = (config.load(demo / f"enclave-host-{n}.toml", tmp_path) for n in (1, 2))
    assert first.source.technology == "simulated"
    assert first.socket != second.socket


# --- memory --------------------------------------------------------------------------------------


@pytest.fixture
def room():
    found = Room(2 * private.SMALL)
    yield found
    found.close()


@pytest.mark.parametrize("size", [900, private.SMALL, private.SMALL + 1])
def test_a_spool_is_bounded_and_wiped(room, size):
    spool = room.spool()
    spool.write(b"x" * size)
    with pytest.raises(Refused, match=r"enclave\.full"):
        spool.write(b"x" * (2 * private.SMALL + 1 - size))
    with shown([spool]) as (inputs, (extent,)):
        assert extent.size == size
        still_open = memory.reader(inputs[extent.file])
    spool.wipe()
    assert not any(os.read(still_open, size))  # overwritten, not only forgotten
    os.close(still_open)
    assert (room.used, room.spools) == (0, set())
    spool.wipe()
    assert room.used == 0


def test_many_small_shares_need_one_file(room):
    contents = [bytes([n]) * n for n in range(100)] + [b"L" * (private.SMALL + 1)]
    spools = [room.spool() for _ in contents]
    for spool, content in zip(spools, contents, strict=True):
        spool.write(content[:7])
        spool.write(content[7:])
    with shown(spools) as (inputs, extents):
        assert len(inputs) == 2
        assert [os.pread(inputs[file], size, start) for file, start, size in extents] == contents


def test_what_is_handed_out_can_only_be_read(room):
    with memory.files({"row": b"row"}) as made:
        reader = memory.reader(made["row"])
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(reader, b"x")
        with pytest.raises(PermissionError):
            mmap.mmap(reader, 0)
        assert os.read(reader, 10) == b"row"
        os.close(reader)


def test_a_room_that_closes_wipes_what_is_open(room):
    room.spool().write(b"x" * (private.SMALL + 1))
    room.close()
    assert room.used == 0


# --- data contracts ------------------------------------------------------------------------------


def changed(**column):
    document = yaml.safe_load(CONTRACT)
    document["schema"][0]["properties"][2] |= column
    return yaml.safe_dump(document).encode()


def test_a_contract_says_columns_and_rows():
    found = read_contract(CONTRACT, "person")
    assert [column.name for column in found.columns] == ["person", "site", "value"]
    assert found.rows == (1, 1000)
    person = found.columns[0]
    assert (person.required, person.unique, person.max_length) == (True, True, 64)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\xff",
        b"[" * 2000,
        b"kind: DataContract",
        CONTRACT.replace(b"v3.0.2", b"v2.2.2"),
        CONTRACT.replace(b"rowCount", b"freshness"),
        changed(logicalType="array"),
        changed(logicalTypeOptions={"maxLength": 3}),
        changed(quality=[{"rule": "custom"}]),
        changed(name="site"),
        b"a: &a [1]\nb: *a\n",
    ],
)
def test_what_the_datacage_does_not_check_is_refused(blob):
    with pytest.raises(Refused) as caught:
        read_contract(blob, "person")
    assert caught.value.code == "agreement.document"


def test_a_string_of_format_binary_is_bytes():
    blob = changed(logicalType="string", logicalTypeOptions={"format": "binary", "maxLength": 3})
    column = read_contract(blob, "person").columns[2]
    assert (column.type, column.max_length) == ("binary", 3)
    with pytest.raises(Refused):
        read_contract(blob, "value")


@pytest.mark.parametrize(
    "options", [{"format": "email"}, {"format": "binary", "pattern": "a"}], ids=str
)
def test_a_format_that_is_not_checked_is_refused(options):
    with pytest.raises(Refused):
        read_contract(changed(logicalType="string", logicalTypeOptions=options), "person")


def test_the_person_column_is_a_required_text():
    for person in ("value", "nobody"):
        with pytest.raises(Refused):
            read_contract(CONTRACT, person)


def test_an_alias_bomb_is_refused_at_once():
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
    )
    before = time.monotonic()
    with pytest.raises(Refused):
        read_contract(bomb.encode(), "person")
    assert time.monotonic() - before < 30  # unfolded, it would not end


# --- command line --------------------------------------------------------------------------------


def test_measure_and_version_print_one_line(capsys):
    assert main.main(["measure"]) == 0
    assert len(capsys.readouterr().out.split()[1]) == 64
    assert main.main(["version"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_bad_configuration_is_a_usage_error(tmp_path, capsys):
    file = tmp_path / "enclave.toml"
    file.write_text("[enclave]\n")
    assert main.main(["run", "--config", str(file)]) == 2
    assert "enclave.socket" in capsys.readouterr().err


def test_doctor_says_what_holds(capsys):
    code = main.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    tiers = {one["tier"]: one["holds"] for one in report["tiers"]}
    assert set(tiers) == {"A", "B", "C"}
    assert report["fit"] is any(tiers.values())
    assert code == (0 if report["fit"] else 1)
