"""The vault on disk: what a passphrase opens, what a crash or a stranger leaves, who may act."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.admin.failure import Failure
from node.net.proxy import Proxy
from node.store import StoreError, StoreMissing, keystore
from node.vault import acts, settings
from node.vault.contents import Enrolment, Keys, Participation
from node.vault.keeper import Keeper, choose
from node.vault.vault import Vault
from tests.agreements import seed
from tests.people_story import PASSPHRASE, ROW

KEYS = Keys(signing=seed("1"), sealing=seed("2"), node=seed("3"), secret=seed("4"))


@pytest.fixture(autouse=True)
def _cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "MEMLIMIT", 2**20)


def participation(**changes: Any) -> Participation:
    made = Participation(
        agreement=seed("agreement"),
        name="lung",
        gateway=seed("gateway"),
        address="/ip4/127.0.0.1/tcp/1",
        keys=KEYS,
        opening=seed("opening"),
    )
    return replace(made, **changes)


def code(error: Any) -> str:
    return str(error.value.code)


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", "07", PASSPHRASE) as vault:
        vault.add_row("lung-v1", "own.csv", ROW)
        vault.begin(participation())
        base, contents = vault.base, vault.contents
    with Vault.open(tmp_path / "v", PASSPHRASE) as again:
        assert (again.base, again.contents) == (base, contents)
        assert again.blobs.get(again.row("lung-v1").blob) == ROW
        assert [line.event for line in contents.diary] == ["vault made", "data added", "asked"]


def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", "07", PASSPHRASE) as vault:
        vault.add_row("lung-v1", "own.csv", ROW)
        vault.begin(participation())
        secrets = (ROW, b"row-224", b"own.csv", b"lung", vault.base, *(seed(n) for n in "1234"))
    files = [file for file in (tmp_path / "v").rglob("*") if file.is_file()]
    assert len(files) >= 4
    for file in files:
        assert file.stat().st_mode & 0o077 == 0
        assert not any(secret in file.read_bytes() for secret in secrets)


def test_secrets_are_not_printed() -> None:
    shown = repr(participation())
    assert not any(repr(seed(n)) in shown for n in "1234")


def test_only_the_passphrase_opens_it(tmp_path: Path) -> None:
    Vault.create(tmp_path / "v", "07", PASSPHRASE).close()
    with pytest.raises(StoreError) as caught:
        Vault.open(tmp_path / "v", b"wrong passphrase")
    assert code(caught) == "keystore.passphrase"
    with pytest.raises(StoreError) as caught:
        Vault.create(tmp_path / "v", "07", PASSPHRASE)
    assert code(caught) == "keystore.exists"


def test_an_altered_or_foreign_file_is_refused_and_the_lock_is_free_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Vault.create(tmp_path / name, name, PASSPHRASE).close()
    file = tmp_path / "a" / "contents"
    whole = file.read_bytes()
    foreign = (tmp_path / "b" / "contents").read_bytes()
    flipped = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in (0, 20, 60, -1)]
    flipped[-1] = whole[:-1] + bytes([whole[-1] ^ 1])
    for bad in (*flipped, foreign, whole[:40], b""):
        file.write_bytes(bad)
        with pytest.raises(StoreError) as caught:
            Vault.open(tmp_path / "a", PASSPHRASE)
        assert code(caught) == "vault.damaged"
    file.write_bytes(whole)
    Vault.open(tmp_path / "a", PASSPHRASE).close()


def test_two_processes_cannot_have_it_open(tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", "07", PASSPHRASE):
        with pytest.raises(StoreError) as caught:
            Vault.open(tmp_path / "v", PASSPHRASE)
        assert code(caught) == "vault.in-use"


def test_the_same_contents_are_never_sealed_the_same(tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", "07", PASSPHRASE) as vault:
        first = (tmp_path / "v" / "contents").read_bytes()
        vault.save(vault.contents)
        second = (tmp_path / "v" / "contents").read_bytes()
    assert first[16:48] != second[16:48]


def test_what_is_missing_is_said_with_what_would_help(tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", "07", PASSPHRASE) as vault:
        for act, wanted in (
            (lambda: vault.row("lung-v1"), "vault.data"),
            (lambda: vault.enrolment, "vault.enrolment"),
            (lambda: vault.participation(seed("x")), "vault.agreement"),
        ):
            with pytest.raises(StoreMissing) as caught:
                act()
            assert code(caught) == wanted
            assert caught.value.fix
        vault.enrol(Enrolment(registrar=seed("r"), identity=b"i", address="/x", credential=b"c"))
        assert vault.enrolment.registrar == seed("r")


def test_keys_of_an_agreement_are_its_own_and_stay(tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", "07", PASSPHRASE) as vault:
        assert vault.keys(seed("a")) != vault.keys(seed("a"))
        begun = vault.begin(participation(agreement=seed("a")))
        moved = vault.begin(participation(agreement=seed("a"), address="/elsewhere"))
        assert moved == replace(begun, address="/elsewhere")
        assert vault.keys(seed("a")) == KEYS


# --- acts -----------------------------------------------------------------------------------------


async def do(keeper: Keeper, name: str, **given: object) -> Any:
    answer = await acts.call(keeper, name, given)
    json.dumps(answer)  # whatever it is, it is JSON
    return answer


def keeper(folder: Path) -> Keeper:
    return Keeper(connect=lambda _: pytest.fail("nothing here needs a network"), folder=folder)


async def test_acts_of_a_vault(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("correct horse battery")
    (tmp_path / "pass").chmod(0o600)
    (tmp_path / "own.csv").write_bytes(ROW)
    unlock = f"file:{tmp_path / 'pass'}"
    held = keeper(tmp_path / "vaults")
    made = await do(held, "vault.new", vault="07", unlock=unlock)
    assert made == {"vault": "07", "enrolled": False, "data": [], "agreements": [], "ends": []}
    added = await do(held, "vault.add", dataset="lung-v1", path=str(tmp_path / "own.csv"))
    assert added["data"][0]["file"] == "own.csv"
    await do(held, "vault.new", vault="08", unlock=unlock)
    assert [one["vault"] for one in await do(held, "vault.list")] == ["07", "08"]
    exported = await do(held, "vault.export", vault="07")
    assert exported["rows"] == {"lung-v1": ROW.decode()}
    held.close()
    assert await do(held, "vault.list") == []
    await do(held, "vault.open", vault="07", unlock=unlock)
    assert (await do(held, "vault.diary"))[1]["event"] == "data added"
    held.close()


async def test_wrong_calls_are_refused_in_words(tmp_path: Path) -> None:
    held = keeper(tmp_path)
    for name, given, wanted in (
        ("vault.burn", {}, "admin.method"),
        ("vault.new", {}, "admin.parameters"),
        ("vault.new", {"vault": "07", "colour": "red"}, "admin.parameters"),
        ("vault.new", {"vault": 7}, "admin.parameters"),
        ("vault.new", {"vault": "07"}, "admin.parameters"),
        ("vault.diary", {}, "id.unknown"),
        ("vault.diary", {"vault": "07"}, "id.unknown"),
    ):
        with pytest.raises((Failure, StoreError)) as caught:
            await acts.call(held, name, given)
        assert code(caught) == wanted, name
    (tmp_path / "p").write_text("correct horse battery")
    (tmp_path / "p").chmod(0o600)
    with pytest.raises(Failure) as caught:
        await acts.call(held, "vault.new", {"vault": "../x", "unlock": f"file:{tmp_path / 'p'}"})
    assert code(caught) == "admin.parameters"


def test_a_short_id_or_a_name_means_one_agreement() -> None:
    known = [(bytes.fromhex("ab" * 32), "lung"), (bytes.fromhex("abab" + "00" * 30), "heart")]
    assert choose("lung", known) == known[0][0]
    assert choose("ABAB00", known) == known[1][0]
    assert choose("ab" * 32, known) == known[0][0]
    assert choose("aba", known) is None
    assert choose("nothing", known) is None
    with pytest.raises(Failure) as caught:
        choose("abab", known)
    assert code(caught) == "id.ambiguous"


def test_settings_name_every_problem_at_once(tmp_path: Path) -> None:
    file = tmp_path / "vaults.toml"
    file.write_text(
        '[vaults]\nfolder = ""\ngateways = ["nowhere"]\nlog = "loud"\ncolour = 1\nunlock = "x"\n'
        'proxy = "socks://a:1"\n'
    )
    with pytest.raises(settings.ConfigError) as caught:
        settings.load(file)
    keys = {problem.key for problem in caught.value.problems}
    wanted = ("folder", "socket", "gateways", "log", "colour", "unlock", "proxy")
    assert keys == {f"vaults.{key}" for key in wanted}
    file.write_text('[vaults]\nfolder = "vaults"\nsocket = "v.sock"\n')
    found = settings.load(file)
    assert (found.folder, found.gateways, found.proxy) == (tmp_path / "vaults", (), None)
    file.write_text(
        '[vaults]\nfolder = "vaults"\nsocket = "v.sock"\nproxy = "http://u:p@proxy.example:3128"\n'
    )
    assert settings.load(file).proxy == Proxy("proxy.example", 3128, "u:p")
    for bad in ("[vaults", "\xff"):
        file.write_bytes(bad.encode("latin-1"))
        with pytest.raises(settings.ConfigError):
            settings.load(file)
