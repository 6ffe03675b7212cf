"""States and the lineage that holds them: who is counted, who may open it, what is dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import contributors, lineage, state
from enclave_host.contributors import Contributor
from enclave_host.lineage import Lineage
from enclave_host.people import Consents
from enclave_host.state import Reading
from protocol import limits, shape
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.kinds.consent import Stop
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.run import StateUse, output_digest
from protocol.sealing import wrap
from protocol.token import Token
from tests.enclave_rig import seed, sha256

AGREEMENT = seed("agreement")
CONSENT, KEY = seed("consent"), seed("person")


def keys_of(name):
    return EnclaveKeys(signing=seed(name), sealing=wrap.public_key(seed(f"sealing {name}")))


def people(*numbers, content=b"c", organization="a"):
    return {
        bytes([number]) * 16: Contributor(
            organizations=frozenset({seed(organization)}), content=content * 16
        )
        for number in numbers
    }


def written(name="weights", number=1, content=b"secret weights", consents=b""):
    (one,) = state.write({name: content}, number, seed("salts"), AGREEMENT, consents)
    return one


def with_run(known, number, who, states=(), reading=()):
    rests = known.behind(reading)
    return known.grown(lineage.result(number, "train", "{}", who, rests), states)


# --- sealing -------------------------------------------------------------------------------------


def sealed_for(known, *names):
    """The sealed lineage, and its wraps by name."""
    blob, key = lineage.seal(known, AGREEMENT)
    found = lineage.wraps(key, sha256(blob), AGREEMENT, [keys_of(name) for name in names])
    return blob, {name: one.sealed for name, one in zip(names, found, strict=True)}


def opened(blob, name, *wraps, agreement=AGREEMENT, pinned=None):
    pinned = sha256(blob) if pinned is None else pinned
    found, _ = lineage.open_(
        blob, pinned, wraps, agreement, seed(f"sealing {name}"), enclave_id(keys_of(name))
    )
    return found


def refuses(*arguments, **named):
    with pytest.raises(Refused, match=r"gate\.lineage"):
        opened(*arguments, **named)


def test_each_enclave_opens_it_and_nobody_else():
    known = with_run(Lineage(), 1, people(1, 2, 3), (written(),))
    blob, wraps = sealed_for(known, "one", "two")
    assert b"secret weights" not in blob
    for name in ("one", "two"):
        assert opened(blob, name, wraps[name]) == known
    refuses(blob, "three", *wraps.values())
    refuses(blob, "one", wraps["two"])
    refuses(blob, "one")
    refuses(blob, "one", wraps["one"], pinned=seed("another"))
    refuses(blob, "one", wraps["one"], agreement=seed("other agreement"))
    refuses(None, "one", wraps["one"], pinned=seed("another"))


def test_a_wrap_of_another_key_opens_nothing_and_takes_nothing_away():
    """Anybody can wrap: a liar's own key, the key of an older lineage, or any bytes."""
    old, older = sealed_for(with_run(Lineage(), 1, people(1)), "one")
    known = with_run(Lineage(), 1, people(1, 2))
    blob, wraps = sealed_for(known, "one")
    liar = lineage.wraps(seed("liar"), sha256(blob), AGREEMENT, [keys_of("one")])[0].sealed
    moved = lineage.wraps(seed("liar"), sha256(old), AGREEMENT, [keys_of("one")])[0].sealed
    lies = (liar, moved, older["one"], bytes(1168))
    refuses(blob, "one", *lies)
    assert opened(blob, "one", *lies, wraps["one"]) == known


def test_a_lineage_that_a_liar_sealed_is_not_the_one_that_is_pinned():
    """AES-GCM does not commit to its key; the record pins the bytes, and they are an enclave's."""
    blob, _ = sealed_for(with_run(Lineage(), 1, people(1)), "one")
    forged, wraps = sealed_for(with_run(Lineage(), 1, people(2)), "one")
    refuses(forged, "one", wraps["one"], pinned=sha256(blob))


def test_the_same_people_in_every_run_are_written_once():
    many = people(*range(200))
    once = with_run(Lineage(), 1, many)
    known = once
    for number in range(2, 40):
        known = with_run(known, number, many)
    other = with_run(known, 40, many | people(201))
    sizes = [len(lineage.seal(one, AGREEMENT)[0]) for one in (once, known, other)]
    assert sizes[1] < 1.5 * sizes[0]
    assert sizes[2] > 1.5 * sizes[0]
    blob, wraps = sealed_for(other, "one")
    assert opened(blob, "one", wraps["one"]) == other


def test_one_more_standby_costs_a_wrap_and_the_sealed_bytes_stay_as_they_are():
    known = with_run(Lineage(), 1, people(*range(200)), (written(content=bytes(50_000)),))
    blob, key = lineage.seal(known, AGREEMENT)
    (later,) = lineage.wraps(key, sha256(blob), AGREEMENT, [keys_of("later")])
    assert len(later.sealed) < 1300
    assert opened(blob, "later", later.sealed) == known


def test_the_same_lineage_is_sealed_anew_each_time():
    known = with_run(Lineage(), 1, people(1))
    assert len({lineage.seal(known, AGREEMENT)[0] for _ in range(2)}) == 2


def test_the_size_tells_little_of_a_state():
    sizes = {
        len(lineage.seal(with_run(Lineage(), 1, people(1), (written(content=bytes(n)),)),
                         AGREEMENT)[0])
        for n in (1, 7, 1000, 4096)
    }  # fmt: skip
    assert max(sizes) - min(sizes) < 16  # the CBOR heads of two byte strings


def test_an_altered_blob_does_not_open():
    blob, wraps = sealed_for(with_run(Lineage(), 1, people(1)), "one")
    for place in (len(blob) - 1, len(blob) // 2):
        bad = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        refuses(bad, "one", wraps["one"])
        refuses(bad, "one", wraps["one"], pinned=sha256(blob))


# --- who is counted ------------------------------------------------------------------------------


def test_people_behind_a_state_are_those_of_all_runs_that_led_to_it():
    known = with_run(Lineage(), 1, people(1, 2), (written(),))
    known = with_run(known, 2, people(3), (written(number=2),), reading=known.states)
    known = with_run(known, 3, people(4))
    assert known.behind(known.states) == ()  # the third run wrote none, and kept none
    known = with_run(known, 4, people(5), (written(number=2),))
    assert known.behind(known.states) == (1, 2)
    assert set(known.people(known.behind(known.states))) == set(people(1, 2, 3))


SETS = st.lists(
    st.dictionaries(
        st.integers(0, 9).map(lambda n: bytes([n]) * 16),
        st.builds(
            Contributor,
            organizations=st.frozensets(st.sampled_from([b"a", b"b"]), min_size=1),
            own=st.booleans(),
            content=st.sampled_from([b"x" * 16, b"y" * 16, b"z" * 16]),
        ),
    ),
    max_size=5,
)


@given(SETS, st.randoms(use_true_random=False))
def test_a_union_does_not_depend_on_order_or_repetition(sets, random):
    shuffled = [*sets, *sets[:2]]
    random.shuffle(shuffled)
    assert contributors.united(shuffled) == contributors.united(sets)


@given(SETS)
def test_nobody_gets_lost_in_a_union(sets):
    found = contributors.united(sets)
    assert found.keys() == {person for one in sets for person in one}
    for one in sets:
        for person, contributor in one.items():
            assert contributor.organizations <= found[person].organizations


def test_who_says_the_same_in_state_and_rows_is_unchanged():
    same = contributors.united([people(1, 2), people(1, 2)])
    assert contributors.smallest_change(people(1, 2), same) == 0
    other = contributors.united([people(1, 2), people(1, 2, content=b"d")])
    assert contributors.smallest_change(people(1, 2), other) > 0


# --- what a run reads and writes -----------------------------------------------------------------


def consents(*ended):
    found = Consents(AGREEMENT, ())
    for id_, key in ended:
        stop = Stop(agreement=AGREEMENT, what="withdrawal", consent=id_, right=b"")
        found.stops[id_] = Token(id_, key, stop, b"")
    return found


def test_a_run_reads_what_its_entry_names():
    known = Lineage(states=(written("a"), written("b")))
    reading = state.choose(known, ("b", "c"), consents())
    assert reading.contents() == {"b": b"secret weights"}
    (use,) = reading.uses()
    digest = output_digest(known.states[1].salt, b"secret weights")
    assert use == StateUse(name="b", number=1, digest=digest, used=True)


@pytest.mark.parametrize("ended", [(CONSENT, KEY), (seed("other"), KEY), (CONSENT, seed("liar"))])
def test_a_withdrawn_consent_drops_each_state_that_rests_on_it(ended):
    rests = b"".join(sorted([CONSENT + KEY, seed("x") + seed("y")]))
    known = Lineage(states=(written("a", consents=rests), written("b")))
    reading = state.choose(known, ("a", "b"), consents(ended))
    gone = ended == (CONSENT, KEY)  # by its own key, and no other
    assert [one.name for one in reading.dropped] == (["a"] if gone else [])
    assert {one.name: one.used for one in reading.uses()} == {"a": not gone, "b": True}
    left = state.in_force(known, reading, ())
    assert [one.name for one in left] == (["b"] if gone else ["a", "b"])


def test_an_adopted_record_is_repeated_with_the_same_states_only():
    known = Lineage(states=(written("a", consents=CONSENT + KEY),))
    before = state.choose(known, ("a",), consents())
    state.require_same(before, before.uses())
    with pytest.raises(Refused, match=r"consent\.withdrawn"):
        state.require_same(state.choose(known, ("a",), consents((CONSENT, KEY))), before.uses())


def test_all_states_together_are_bounded():
    half = limits.STATE // 2
    known = Lineage(states=(written("a", content=bytes(half)),))
    second = (written("b", content=bytes(half)),)
    assert len(state.in_force(known, Reading(), second)) == 2
    with pytest.raises(Refused, match=r"gate\.quota"):
        state.in_force(known, Reading(), (*second, written("c", content=b"1")))
    replaced = (written("a", content=bytes(limits.STATE)),)
    assert state.in_force(known, Reading(), replaced) == replaced


def test_a_record_tells_no_size_and_a_digest_that_nobody_can_guess():
    (one,) = state.commitments([written(content=b"1")], AGREEMENT)
    assert (one.to, one.size) == (AGREEMENT, 0)
    assert one.digest not in {sha256(b"1"), output_digest(bytes(32), b"1")}
    (other,) = state.write({"weights": b"1"}, 1, seed("other salts"), AGREEMENT, b"")
    assert output_digest(other.salt, other.content) != one.digest


def test_what_a_state_rests_on_grows_with_each_state_read():
    first = written(consents=CONSENT + KEY)
    reading = Reading(read=(first,))
    (second,) = state.write(
        {"b": b""}, 2, seed("salts"), AGREEMENT, CONSENT + KEY + reading.consents()
    )
    assert second.consents == CONSENT + KEY
    assert shape.decode(lineage.State, shape.encode(second), limits.BLOB) == second
