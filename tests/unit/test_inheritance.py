"""The lineage survives the enclaves that had it: handed on without a run, made anew when all died.
Where that fails, each later number ends and says why. Against hosts that hide, swap and replay.

The enclaves are real; what they would compute in the sandbox is played.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from enclave_host import computation, environment, lineage
from enclave_host import enclave as enclave_module
from enclave_host.computation import Finding, Task
from enclave_host.contributors import Contributor
from protocol import enclave_wire as wire
from protocol import kinds, record, shape
from protocol.errors import Refused
from protocol.kinds.run import Bequest, Lost, RunCertificate
from tests.enclave_drive import Door, Host, body_of, booted, refused
from tests.enclave_rig import Patient, Rig, rows_of
from tests.sealed_rig import SealedRig

ANN = Patient("row-101")


@dataclass
class Code:
    """What the approved code does: the same for the same inputs, until a test says otherwise."""

    text: bytes = b"{}"
    failed: Refused | None = None
    state: bool = False
    log: bool = False
    seen: list[computation.Lineage] = field(default_factory=list)

    def compute(self, task: Task) -> Finding:
        self.seen.append(task.lineage)
        people = {
            one.held.share.id[:16]: Contributor(organizations=frozenset({one.held.share.owner}))
            for one in task.used
        }
        rows = len(task.used)
        logs = tuple(computation._whole(task, self._output(task, "model"), b"log"))[:1]
        logs = tuple(replace(one, name="log") for one in logs) if self.log else ()
        if self.failed is not None:
            return Finding(rows, people, people, logs=logs, failed=self.failed)
        leaving = tuple(computation._whole(task, self._output(task, "model"), self.text))
        states = ()
        if self.state:
            rests = computation.state.consents_of(one.held for one in task.used)
            written = {"weights": self.text}
            states = computation.state.write(
                written, task.asked.number, task.salts, task.parties.id, rests
            )
        return Finding(rows, people, people, leaving=leaving, states=states, logs=logs)

    @staticmethod
    def _output(task, name):
        return next(one for one in task.parties.document.outputs if one.name == name)


@pytest.fixture
def code(monkeypatch):
    made = Code()
    monkeypatch.setattr(enclave_module, "compute", made.compute)
    monkeypatch.setattr(enclave_module, "_until_quantum", lambda *_: None)
    return made


@pytest.fixture
def start(tmp_path):
    with booted(tmp_path) as boot:
        yield boot


class Village:
    """Enclaves that come and go, and the hosts' memory: shares, certificates, blobs, wraps."""

    def __init__(self, start, kind=Rig, **changes):
        self.start, self.changes = start, changes
        self.rig = kind(environment.digest(start.folder), **changes)
        self.term, self.hosts = 0, []
        self.shares, self.orders = {}, {}

    def boot(self):
        """One more enclave, that holds nothing."""
        who = self.rig.host_1 if len(self.hosts) % 2 == 0 else self.rig.host_2
        host = Host(self.rig, who, Door(self.start())).join()
        self.hosts.append(host)
        return host

    def office(self, host, *standbys, before=None):
        """The next term, with what the host before had."""
        self.term += 1
        host.take_office(self.term, tuple(one.candidacy for one in standbys))
        for who, numbers in ((self.rig.a, (1, 2, 3)), (self.rig.b, (4, 5, 6))):
            if who.name not in self.shares:
                self.shares[who.name] = self.rig.share(who, rows_of(*numbers), host.keys)
            share = self.shares[who.name]
            host.begin(share, stored=True, rewraps=(self.rig.rewrap(who, share, host.keys),))
            host.stored[share.id] = share.frames
        if before is not None:
            host.take_over(before)
        return host

    def again(self, host, number, before, **changes):
        """An ended number in the present term: statements show its record."""
        raw = shape.decode(RunCertificate, host.runs[number - 1]).run
        earlier = body_of(raw)
        shown = wire.Predecessor(certificate=before.certificate, host=before.candidacy.raw)
        order = self.orders.setdefault(number, changes.pop("order", None) or self.rig.order())
        summons = host.summon(number, order)
        one = self.rig.statement(self.rig.a, summons, accepted=raw)
        answers = (one, *self.rig.statements(summons, **changes.pop("says", {}))[1:])
        asked = {"terms": (shown,), "runs": tuple(host.runs[: number - 1])} | changes
        prepared = host.prepare(number, answers, **asked)
        host.load(number, prepared)
        host.concluded = host.conclude(number)
        said = body_of(host.concluded.run)
        assert said.order == earlier.order
        return said

    def commit_again(self, host, number):
        """The votes for a number that ended before: its newest record counts."""
        later = host.runs[number:]
        host.runs = host.runs[: number - 1]
        deliveries = host.commit()
        host.runs += later
        return deliveries


def only(made, kind, document):
    (one,) = made
    assert one.kind == kind
    return kinds.read(document, one)


def named(bequest):
    return {one.enclave for one in bequest.wraps}


# --- handed on -----------------------------------------------------------------------------------


def test_two_fail_overs_without_a_release_between_lose_nothing(start, code):
    village = Village(start)
    first, second, third = (village.boot() for _ in range(3))
    village.office(first, second)
    ran = first.compute(1)
    first.commit()
    village.office(second, third, before=first)
    bequest = only(second.inherit(), "bequest", Bequest)
    assert (bequest.term, bequest.lineage) == (2, ran.lineage), "the record pins it as before"
    assert named(bequest) == {second.id, third.id}
    assert second.inherit()[0].raw == second.inherit()[0].raw, "once, however often it is asked"
    village.office(third, before=second)
    assert third.compute(2).outcome == "released"
    assert [one.number for one in code.seen[-1].results] == [1]


def test_a_run_hands_the_key_on_before_its_record_is_there(start, code):
    village = Village(start)
    first, second = village.boot(), village.boot()
    village.office(first, second)
    first.compute(1)
    feed = first.door.enclave.sessions[village.rig.id].feed.signed
    assert [record.parse(raw).kind for raw in feed[-2:]] == ["bequest", "run"]
    assert feed[-2] == first.concluded.bequest
    assert named(kinds.read(Bequest, record.parse(feed[-2]))) == {first.id, second.id}


def test_before_anything_left_there_is_nothing_to_inherit(start, code):
    village = Village(start)
    host = village.office(village.boot())
    assert host.inherit() == []


def test_only_the_enclave_in_office_is_asked_and_only_with_certified_runs(start, code):
    village = Village(start)
    first, second = village.boot(), village.boot()
    village.office(first)
    first.compute(1)
    first.commit()
    second.take_over(first)
    refused("election.certificate", second.inherit)
    refused("run.slot", first.inherit, runs=tuple(first.runs * 2))


# --- a host that lies ----------------------------------------------------------------------------


@pytest.fixture
def heir(start, code):
    """A standby in office that could open the lineage of two runs, if its host let it."""
    village = Village(start)
    first, second = village.boot(), village.boot()
    village.office(first, second)
    first.compute(1)
    first.commit()
    old = (first.lineage, first.bequests)
    first.compute(2)
    first.commit()
    village.office(second, before=first)
    return village, first, second, old


def refuses_all(host, number=3):
    summons = host.summon(number)
    refused("gate.lineage", host.prepare, number, host.rig.statements(summons))


def test_a_host_that_hides_the_blob_gets_no_run_and_no_second_word(heir):
    _, _, second, _ = heir
    kept, second.lineage = second.lineage, None
    assert only(second.inherit(), "lost", Lost) == Lost(term=2, above=0)
    refuses_all(second)
    second.lineage = kept
    assert second.prepare(3, second.rig.statements(second.summon(3))).started, "it came after all"


def test_an_old_lineage_is_no_lineage_and_says_from_where_to_go_on(heir):
    _, _, second, (blob, bequests) = heir
    second.lineage, second.bequests = blob, bequests
    assert only(second.inherit(), "lost", Lost) == Lost(term=2, above=1)
    refuses_all(second)


@pytest.mark.parametrize("lie", ["stripped", "another enclave", "another key", "an older wrap"])
def test_a_host_that_strips_or_swaps_the_wraps_opens_nothing(heir, lie):
    village, first, second, (_, old) = heir
    pinned = lineage.digest(second.lineage)
    key = lineage.wraps(bytes(32), pinned, village.rig.id, [second.keys])[0].sealed
    wraps = {
        "stripped": (),
        "another enclave": first.wraps,
        "another key": (key,),
        "an older wrap": tuple(
            one.sealed for one in old[0].wraps if one.enclave == second.id
        ),
    }[lie]  # fmt: skip
    made = second.inherit(wraps=wraps)
    assert only(made, "lost", Lost).above == 0
    summons = second.summon(3)
    refused("gate.lineage", second.prepare, 3, village.rig.statements(summons), wraps=wraps)


def test_a_lineage_sealed_by_the_host_is_not_the_pinned_one(heir):
    village, _, second, _ = heir
    forged, key = lineage.seal(lineage.Lineage(), village.rig.id)
    wraps = lineage.wraps(key, lineage.digest(forged), village.rig.id, [second.keys])
    second.lineage = forged
    assert only(second.inherit(wraps=(wraps[0].sealed,)), "lost", Lost).above == 0
    summons = second.summon(3)
    answers = village.rig.statements(summons)
    refused("gate.lineage", second.prepare, 3, answers, wraps=(wraps[0].sealed,))


def test_an_older_certificate_of_a_number_is_no_way_back(heir):
    """The host shows run 1 alone, as if run 2 had not been: its number is not free."""
    village, _, second, (blob, bequests) = heir
    second.runs, second.lineage, second.bequests = second.runs[:1], blob, bequests
    assert only(second.inherit(), "bequest", Bequest).lineage == lineage.digest(blob)
    summons = second.summon(3)
    refused("run.slot", second.prepare, 3, village.rig.statements(summons))


# --- made anew -----------------------------------------------------------------------------------


def test_what_no_enclave_can_open_is_computed_again_in_order(start, code):
    village = Village(start)
    first = village.office(village.boot())
    ran = [first.compute(1), (first.commit(), first.compute(2))[1]]
    first.commit()
    known = first.open_lineage()
    second = village.office(village.boot(), before=first)
    assert only(second.inherit(), "lost", Lost) == Lost(term=2, above=0)
    second.lineage, second.bequests = None, []
    for number in (1, 2):
        again = village.again(second, number, first)
        assert again.outputs == ran[number - 1].outputs
        assert again.lineage not in (None, ran[number - 1].lineage)
        assert len(village.commit_again(second, number)) == 2, "who lacks it gets it"
    assert second.open_lineage() == known, "people, numbers and all"
    assert second.compute(3).outcome == "released"
    assert code.seen[-1] == known


def test_only_what_is_behind_the_last_known_lineage_is_computed_again(start, code):
    village = Village(start)
    first, second = village.boot(), village.boot()
    village.office(first, second)
    first.compute(1)
    first.commit()
    old, bequests = first.lineage, first.bequests
    other = village.office(village.boot(), before=first)
    other.bequests, other.lineage = [], None
    other.inherit()
    village.again(other, 1, first)
    village.commit_again(other, 1)
    other.compute(2)
    other.commit()
    del other
    village.office(second, before=first)
    second.lineage, second.bequests = old, bequests
    made = second.inherit()
    assert only(made, "bequest", Bequest).lineage == lineage.digest(old)


def consented(start, **changes):
    """Run 1 rests on a person's consent, and its enclave is gone."""
    village = Village(start, **changes)
    consent = village.rig.consent(ANN)
    first, second = village.boot(), village.boot()
    village.office(first)
    person = village.rig.person_share(ANN, rows_of(101), first.keys, second.keys, consent_=consent)
    first.keep(person)
    first.compute(1)
    first.commit()
    village.office(second, before=first)
    second.keep(person)
    second.bequests = []
    second.inherit()
    return village, first, second, consent


def test_a_withdrawal_leaves_a_gap_and_each_later_number_ends_and_says_so(start, code):
    village, first, second, consent = consented(start)
    stops = second.show(village.rig.stop(ANN, consent))
    leaves = first.concluded.leaves
    again = village.again(second, 1, first, says={"stops": stops}, leaves=leaves)
    assert again.withheld == "consent.withdrawn"
    assert village.commit_again(second, 1) == ()
    for number in (2, 3):
        order = village.rig.order()
        summons = second.summon(number, order)
        prepared = second.prepare(number, village.rig.statements(summons, stops=stops))
        assert (prepared.shares, prepared.started) == ((), b"")
        second.concluded = second.conclude(number)
        body = body_of(second.concluded.run)
        assert (body.outcome, body.refusal_code) == ("refused", "gate.lineage")
        assert body.order == order.id
        assert body.refusal_detail == "run 1 cannot be computed again (consent.withdrawn)"
        assert (body.shares, body.outputs, body.rows, body.lineage) == ((), (), 0, None)
        assert second.commit() == ()


def test_an_heir_of_a_later_term_goes_on_where_another_could_not(start, code):
    """A gap is one enclave's: the record still pins what others may open."""
    village, first, second, consent = consented(start)
    third = village.boot()
    stops = second.show(village.rig.stop(ANN, consent))
    again = village.again(second, 1, first, says={"stops": stops}, leaves=first.concluded.leaves)
    assert again.lineage == lineage.digest(first.lineage)
    village.commit_again(second, 1)
    key = first.door.enclave.conducts[village.rig.id].inheritance
    session = first.door.enclave.sessions[village.rig.id]
    _, secret = key._open(again, first.lineage, first.wraps)
    wraps = lineage.wraps(secret, again.lineage, session.parties.id, [third.keys])
    village.office(third, before=second)
    third.lineage = first.lineage
    third.bequests = [Bequest(term=1, lineage=again.lineage, wraps=wraps)]
    assert only(third.inherit(), "bequest", Bequest).lineage == again.lineage
    stops = third.show(village.rig.stop(ANN, consent))
    summons = third.summon(2)
    third.load(2, third.prepare(2, village.rig.statements(summons, stops=stops)))
    assert body_of(third.conclude(2).run).outcome == "released"


def test_a_share_that_is_late_is_waited_for_and_then_no_more(start, code):
    village = Village(start, runs={"within": 1000})
    first, second = village.boot(), village.boot()
    village.office(first)
    first.keep(village.rig.person_share(ANN, rows_of(101), first.keys))
    first.compute(1)
    first.commit()
    village.office(second, before=first)
    second.inherit(wraps=())
    leaves = first.concluded.leaves
    found = refused("run.share-missing", village.again, second, 1, first, leaves=leaves)
    assert "1 people" in found.detail
    attempt = second.door.enclave.conducts[village.rig.id].attempt
    attempt.since -= 900
    again = village.again(second, 1, first, leaves=leaves)
    assert again.withheld == "run.share-missing"


# --- code that is not the same twice -------------------------------------------------------------


def test_of_code_that_answers_otherwise_the_people_are_known_all_the_same(start, code):
    village = Village(start)
    first = village.office(village.boot())
    first.compute(1)
    first.commit()
    known = first.open_lineage()
    second = village.office(village.boot(), before=first)
    second.bequests = []
    second.inherit()
    code.text = b'{"other":1}'
    again = village.again(second, 1, first)
    assert again.withheld == "run.adopted"
    assert village.commit_again(second, 1) == ()
    assert second.open_lineage() == known
    assert second.compute(2).outcome == "released"


def test_a_state_that_comes_out_otherwise_is_gone_and_nothing_rests_on_it(start, code):
    village = Village(start, SealedRig)
    first = village.office(village.boot())
    code.state = True
    first.compute(1, village.rig.order("train", {}))
    first.commit()
    second = village.office(village.boot(), before=first)
    second.bequests = []
    second.inherit()
    code.text = b"otherwise"
    again = village.again(second, 1, first, order=village.rig.order("train", {}))
    assert (again.withheld, again.lineage) == ("run.adopted", lineage.digest(first.lineage))
    village.commit_again(second, 1)
    summons = second.summon(2, village.rig.order("train", {}))
    second.prepare(2, village.rig.statements(summons))
    assert body_of(second.conclude(2).run).refusal_code == "gate.lineage"


def test_a_failure_is_tried_again_until_it_is_late(start, code):
    village = Village(start, runs={"within": 1000})
    first = village.office(village.boot())
    first.compute(1)
    first.commit()
    second = village.office(village.boot(), before=first)
    second.bequests = []
    second.inherit()
    code.failed = Refused("run.failed", "limit")
    refused("run.adopted", village.again, second, 1, first)
    second.door.enclave.conducts[village.rig.id].attempt.since -= 900
    again = village.again(second, 1, first)
    assert (again.outcome, again.withheld) == ("released", "run.adopted")


def test_a_failed_run_of_which_a_log_left_is_counted_again(start, code):
    village = Village(start)
    first = village.office(village.boot())
    code.failed, code.log = Refused("run.failed", "ended as failed"), True
    ran = first.compute(1)
    assert (ran.outcome, ran.lineage is not None) == ("failed", True)
    first.commit()
    known = first.open_lineage()
    second = village.office(village.boot(), before=first)
    second.bequests = []
    second.inherit()
    again = village.again(second, 1, first)
    assert (again.outcome, again.withheld, again.logs) == ("failed", None, ())
    assert village.commit_again(second, 1) == ()
    assert second.open_lineage() == known
    code.failed, code.log = None, False
    assert second.compute(2).outcome == "released"


def test_a_lineage_that_grew_too_large_ends_the_number(start, code, monkeypatch):
    village = Village(start)
    host = village.office(village.boot())
    monkeypatch.setattr(lineage, "limits", SimpleNamespace(BLOB=100))
    body = host.compute(1)
    assert (body.outcome, body.refusal_code, body.lineage) == ("refused", "gate.lineage", None)
    assert host.commit() == ()
