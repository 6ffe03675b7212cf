import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.address import Address, parse
from node.net.peer_id import peer_id_of, public_key_of
from node.net.transport import Unreachable

PEER = peer_id_of(b"\1" * 32)


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_holds_its_key(key):
    assert public_key_of(peer_id_of(key)) == key
    assert peer_id_of(key).startswith("12D3KooW")


@given(st.binary(min_size=32, max_size=32))
def test_agrees_with_libp2p(key):
    from libp2p.crypto.ed25519 import Ed25519PublicKey

    from node.net.libp2p.stock import ID, PublicKey  # noqa: F401

    assert peer_id_of(key) == str(ID.from_pubkey(Ed25519PublicKey.from_bytes(key)))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_other_key_lengths_are_our_mistake(length):
    with pytest.raises(ValueError, match="32 bytes"):
        peer_id_of(bytes(length))


@given(st.text(max_size=80))
def test_any_text_is_a_peer_id_or_refused(text):
    try:
        key = public_key_of(text)
    except Unreachable:
        return
    assert peer_id_of(key) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/ip4/127.0.0.1/tcp/0", Address("ip4", "127.0.0.1", 0)),
        ("/ip6/::1/tcp/4001/ws", Address("ip6", "::1", 4001, websocket=True)),
        (f"/dns/a-b.example/tcp/1/p2p/{PEER}", Address("dns", "a-b.example", 1, False, PEER)),
        (f"/ip4/1.2.3.4/tcp/65535/ws/p2p/{PEER}", Address("ip4", "1.2.3.4", 65535, True, PEER)),
    ],
)
def test_addresses_round_trip(text, address):
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1/udp/4001/quic-v1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/\u0661",
        "/ip4/::1/tcp/1",
        "/ip4/127.0.0.1/tcp/1/wss",
        "/ip4/127.0.0.1/tcp/1/p2p/Qm",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit",
        "/dns/-a/tcp/1",
        "/dns/" + "a" * 400 + "/tcp/1",
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(Unreachable):
        parse(text)


@given(st.text(max_size=120))
def test_any_text_is_an_address_or_refused(text):
    try:
        assert parse(str(parse(text))) == parse(text)
    except Unreachable:
        return
