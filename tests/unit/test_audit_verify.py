"""One fault at a time: what insiders sign with real keys, and what others do to the bytes."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol import codec, keys, kinds, record, shape
from protocol.audit import bundle
from protocol.audit.bundle import TopicMaterial
from protocol.audit.examine import examine
from protocol.audit.findings import Check, Report
from protocol.audit.report import as_json, lines
from protocol.audit.runs import is_lost
from protocol.audit.verify import verify
from protocol.errors import RULES, Refused
from protocol.kinds.agreement import AgreementOpening, Runs, Suspension
from protocol.kinds.common import Refusal, Vote
from protocol.kinds.identity import Claims, Credential
from protocol.kinds.run import (
    Charge,
    GateCheck,
    Order,
    OutputDigest,
    Run,
    Started,
    Statement,
    StateUse,
)
from protocol.kinds.space import Commitment
from protocol.record import Place, Record
from tests import agreements
from tests.audit_rig import (
    AT,
    CAST,
    ENCLAVES,
    NOW,
    PARTIES,
    SPONSOR,
    A,
    Actor,
    B,
    C,
    Story,
    seed,
)

STORY = Story().tell()
FILE = STORY.export()


def found(report: Report) -> set[tuple[Check, str]]:
    return {(finding.check, finding.code) for finding in report.findings}


def audit(story: Story) -> Report:
    return verify(story.export(), NOW)


def on(who: str, kind: str, change: Callable[..., object], **where: object) -> Story:
    """The history in which `who` (or anybody, "") signs another document of a kind."""

    def alter(author: str, its_kind: str, body: object) -> object:
        if its_kind != kind or who not in ("", author):
            return body
        fits = all(getattr(body, name) == value for name, value in where.items())
        return change(body) if fits else body

    return Story(alter=alter).tell()


def changed(**values: object) -> Callable[..., object]:
    return lambda body: replace(body, **values)


def dropped(body: object) -> None:
    return None


REFUSAL = Refusal(code="run.order", about="run 9", set_by="protocol", detail="", fix="", at=AT)
CLAIMS = Claims(legal_name="B", country="NL")
STARTED = Started(
    number=9, term=1, shares=0, organizations=0, people=0, consents=0, signatures=0, digests=0
)


# --- the true history -------------------------------------------------------------------------


def test_a_true_history_has_no_finding() -> None:
    report = verify(FILE, NOW)
    assert report.findings == ()
    assert report.headline == (
        "lung-survival-2026: complete up to run 2; the tail rests on hospital-b's word"
    )
    assert all(tick.looked_at for tick in report.checks)
    assert [tick.check.value for tick in report.checks] == list(range(1, 20))
    assert examine(FILE, NOW) == report


def test_a_true_history_with_an_adopted_record_has_no_finding() -> None:
    assert audit(Story(adopting=True).tell()).findings == ()


def test_an_undecided_run_is_a_limit_and_no_finding() -> None:
    story = Story(
        alter=lambda who, kind, body: None if _votes_for(body, "run/2/2") else body
    ).tell()
    report = audit(story)
    assert report.findings == ()
    assert "complete up to run 1" in report.headline
    assert any(limit.startswith("Run 2 is not decided: 0 of 4") for limit in report.limits)


def _votes_for(body: object, slot: str) -> bool:
    return isinstance(body, Vote) and body.slot == slot


def test_order_in_the_file_does_not_matter() -> None:
    shuffled = random.Random(5)  # noqa: S311 (not for secrets)
    topics = []
    for topic in STORY.topics():
        feeds = {one.key: [] for one in topic.records}
        for one in topic.records:
            feeds[one.key].append(one.raw)
        order = list(feeds.values())
        shuffled.shuffle(order)
        records = tuple(raw for feed in order for raw in feed)
        topics.append(TopicMaterial(opening=topic.opening, records=records))
    assert verify(exported(topics), NOW).findings == ()


def exported(topics: list[TopicMaterial]) -> bytes:
    return bundle.build(
        topics,
        evidence=STORY.evidence,
        leaves=STORY.leaves.values(),
        seed=B.signing,
        identity=B.participant.raw,
        at=NOW,
    )


def test_nothing_sealed_is_in_the_file() -> None:
    topics = bundle.read(FILE).topics
    parsed = [record.parse(raw) for topic in topics for raw in topic.records]
    shares = [one for one in parsed if one.kind == "share"]
    assert len(shares) == 2
    assert all(one.body is None for one in shares)
    assert b"sealed" not in b"".join(one.raw for one in parsed)


def test_redacted_records_are_limits_and_the_rest_still_verifies() -> None:
    topics = [
        replace(
            topic.material(),
            records=tuple(
                record.redact(one.raw) if one.kind in ("order", "review") else one.raw
                for one in topic.records
            ),
        )
        for topic in STORY.topics()
    ]
    report = verify(exported(topics), NOW)
    assert found(report) == {(Check.AGREEMENT, "algorithm.review")}
    assert "The order of run 1 was redacted." in report.limits


# --- what insiders sign -----------------------------------------------------------------------

OTHER = seed("other")


def output(**values: object) -> Callable[[Run], Run]:
    def change(run: Run) -> Run:
        first = OutputDigest(name="model", to=SPONSOR.did, digest=OTHER, size=900)
        return replace(run, outputs=(replace(first, **values),))

    return change


def statements(first: int, last: int, *more: bytes) -> Callable[[Run], Run]:
    return lambda run: replace(run, statements=(*run.statements[first:last], *more))


UNFIT = changed(eligible=False, reasons=("host.unreachable",))
FALSE_NO = changed(eligible=False, reasons=("evidence.measurement",))
LAX = replace(agreements.DOCUMENT.rules, min_contributors=1)
HELD = changed(outcome="held", refusal_code="gate.min-change")
CHARGED = Charge(dataset="lung-v1", to=SPONSOR.did, amount=1)
LOGGED = OutputDigest(name="log", to=SPONSOR.did, digest=OTHER, size=9)
STATE = StateUse(name="weights", number=1, digest=OTHER, used=True)
FAILED = changed(gate=(GateCheck(rule="min_change", limit=1, measured=0, passed=False),))

INSIDERS = [
    ("hospital-a", "vote", {"slot": "charter"}, dropped, Check.CHARTER, "decision.quorum"),
    ("", "review", {}, dropped, Check.AGREEMENT, "algorithm.review"),
    ("hospital-b", "proposal", {}, dropped, Check.AGREEMENT, "agreement.version"),
    ("hospital-a", "verdict", {}, FALSE_NO, Check.VERDICTS, "audit.verdict"),
    ("hospital-a", "verdict", {}, changed(nonce=OTHER), Check.VERDICTS, "audit.verdict"),
    ("hospital-a", "verdict", {}, changed(nonce=OTHER), Check.VERDICTS, "evidence.stale"),
    ("hospital-a", "verdict", {}, changed(policy=OTHER), Check.VERDICTS, "evidence.policy"),
    ("hospital-a", "verdict", {}, changed(candidacy=OTHER), Check.VERDICTS, "audit.incomplete"),
    ("", "verdict", {"term": 2}, UNFIT, Check.ELECTIONS, "election.certificate"),
    ("", "verdict", {"term": 2}, dropped, Check.ELECTIONS, "audit.incomplete"),
    ("", "lapse", {}, dropped, Check.ELECTIONS, "audit.incomplete"),
    ("", "vote", {"slot": "host/2"}, dropped, Check.TERMS, "election.certificate"),
    ("", "run", {}, changed(appointment=OTHER), Check.ELECTIONS, "election.certificate"),
    ("", "run", {}, changed(technology="tdx"), Check.ELECTIONS, "evidence.technology"),
    ("", "run", {}, changed(order=OTHER), Check.ORDERS, "run.order"),
    ("", "run", {}, changed(parameters="{}"), Check.ORDERS, "run.order"),
    ("sponsor", "order", {}, changed(entry="dump"), Check.ORDERS, "run.order"),
    ("", "statement", {}, changed(nonce=OTHER), Check.STATEMENTS, "run.statements"),
    ("", "summons", {}, dropped, Check.STATEMENTS, "run.statements"),
    ("", "run", {}, statements(0, 3), Check.STATEMENTS, "run.statements"),
    ("", "run", {}, statements(1, 5), Check.STATEMENTS, "run.statements"),
    ("", "run", {}, statements(0, 5, OTHER), Check.STATEMENTS, "audit.incomplete"),
    ("", "run", {}, changed(shares=(OTHER,)), Check.STATEMENTS, "run.share-missing"),
    ("", "receipt", {}, changed(verdict="person"), Check.STATEMENTS, "share.contract"),
    ("", "run", {"term": 2}, changed(stops=()), Check.STOPS, "run.hidden-stop"),
    ("sponsor", "statement", {"term": 2}, changed(stops=()), Check.STOPS, "run.hidden-stop"),
    ("sponsor", "statement", {}, changed(stops=(OTHER,)), Check.STOPS, "run.hidden-stop"),
    ("sponsor", "statement", {}, changed(suspended=True), Check.STOPS, "agreement.ended"),
    ("", "run", {}, changed(bundle=OTHER), Check.AGREED, "run.code"),
    ("", "run", {}, changed(environment=OTHER), Check.AGREED, "run.environment"),
    ("", "run", {}, changed(rules=LAX), Check.AGREED, "audit.run"),
    ("", "started", {}, dropped, Check.AGREED, "audit.run"),
    ("", "run", {}, changed(at=AT + 10**9), Check.AGREED, "agreement.ended"),
    ("", "run", {}, FAILED, Check.GATE, "audit.run"),
    ("", "run", {}, HELD, Check.GATE, "audit.run"),
    ("", "run", {}, changed(contributors=3), Check.GATE, "gate.min-contributors"),
    ("", "run", {}, output(to=C.did), Check.GATE, "gate.recipient"),
    ("", "run", {}, output(name="rows"), Check.GATE, "gate.recipient"),
    ("", "run", {}, output(size=10**6), Check.GATE, "gate.quota"),
    ("", "run", {}, changed(charges=(CHARGED,)), Check.GATE, "gate.budget"),
    ("", "run", {}, changed(logs=(LOGGED,)), Check.GATE, "gate.recipient"),
    ("", "run", {}, changed(logs=(LOGGED,), lineage=None), Check.GATE, "gate.min-contributors"),
    ("", "run", {}, changed(states=(STATE,)), Check.GATE, "audit.run"),
    ("", "vote", {"slot": "run/1/1"}, dropped, Check.VOTES, "run.votes"),
    ("", "vote", {"slot": "run/1/1"}, dropped, Check.NUMBERS, "audit.incomplete"),
    ("", "run", {"term": 2}, changed(number=7), Check.VOTES, "run.slot"),
    ("", "run", {}, changed(leaf_count=99), Check.LEAVES, "run.proof"),
    ("", "run", {}, changed(leaves=OTHER), Check.LEAVES, "run.proof"),
]


@pytest.mark.parametrize(("who", "kind", "where", "change", "check", "code"), INSIDERS)
def test_what_an_insider_signs_is_found(
    who: str,
    kind: str,
    where: dict[str, object],
    change: Callable[..., object],
    check: Check,
    code: str,
) -> None:
    report = audit(on(who, kind, change, **where))
    assert (check, code) in found(report)
    assert not report.clean


def test_nobody_writes_before_it_is_admitted() -> None:
    def alter(who: str, kind: str, body: object) -> object:
        return None if isinstance(body, Vote) and body.slot.startswith("admit/") else body

    assert {(Check.ADMISSIONS, "space.member"), (Check.AGREEMENT, "space.member")} <= found(
        audit(Story(alter=alter).tell())
    )


def test_a_decided_run_record_is_missing() -> None:
    story = Story().begin()
    story.agreement.records = [one for one in story.agreement.records if one.kind != "run"]
    story.leaves.clear()
    assert found(audit(story)) == {(Check.VOTES, "audit.incomplete")}


def test_a_lost_lineage_is_no_excuse_where_no_number_was_computed_again() -> None:
    lost = {"outcome": "refused", "refusal_code": "gate.lineage", "rows": 0, "outputs": ()}

    def alter(who: str, kind: str, body: object) -> object:
        if kind == "started":
            return None
        return replace(body, **lost) if isinstance(body, Run) else body

    assert (Check.AGREED, "audit.run") in found(audit(Story(alter=alter).tell()))


def test_a_number_that_ends_for_a_lost_lineage_has_no_start() -> None:
    (one, *_) = (one for one in Story().tell().agreement.records if one.kind == "run")
    first = replace(kinds.read(Run, one), number=1, term=2, adopts=one.id)
    lost = replace(first, number=2, adopts=None, outcome="refused",
                   refusal_code="gate.lineage", rows=0)  # fmt: skip
    assert is_lost(lost, [first, lost])
    assert not is_lost(lost, [replace(first, term=1), lost])
    assert not is_lost(lost, [replace(first, adopts=None), lost])
    assert not is_lost(lost, [replace(first, number=3), lost])
    assert not is_lost(replace(lost, rows=1), [first, lost])
    assert not is_lost(replace(lost, refusal_code="gate.quota"), [first, lost])


def test_an_order_is_used_once() -> None:
    orders: list[bytes] = []

    def alter(who: str, kind: str, body: object) -> object:
        if not isinstance(body, Run):
            return body
        orders.append(body.order)
        return replace(body, order=orders[0])

    assert (Check.ORDERS, "run.order") in found(audit(Story(alter=alter).tell()))


def test_the_agreed_number_of_runs_and_attempts() -> None:
    few = Runs(by=(SPONSOR.did,), at_most=1, attempts=3)
    story = Story(base=replace(agreements.DOCUMENT, runs=few)).tell()
    assert found(audit(story)) == {(Check.AGREED, "run.budget")}
    once = replace(few, at_most=12, attempts=1)
    story = Story(base=replace(agreements.DOCUMENT, runs=once)).tell()
    assert found(audit(story)) == {(Check.AGREED, "run.attempts")}


def test_an_earlier_record_must_be_adopted_as_it_is() -> None:
    def without(who: str, kind: str, body: object) -> object:
        return replace(body, adopts=None) if isinstance(body, Run) else body

    def other(who: str, kind: str, body: object) -> object:
        return replace(body, inputs=OTHER) if isinstance(body, Run) and body.adopts else body

    for alter in (without, other):
        story = Story(alter=alter, adopting=True).tell()
        assert found(audit(story)) == {(Check.STATEMENTS, "run.adopted")}


def test_a_voter_cannot_hide_its_vote_of_an_earlier_term() -> None:
    def hide(who: str, kind: str, body: object) -> object:
        return replace(body, accepted=None) if isinstance(body, Statement) else body

    story = Story(alter=hide, adopting=True).tell()
    assert (Check.STATEMENTS, "term.promise") in found(audit(story))


# --- what insiders sign besides ---------------------------------------------------------------


def test_somebody_without_the_right_writes() -> None:
    story = Story().begin()
    story.space.write(A, "credential", Credential(subject=B.did, claims=CLAIMS, until=AT))
    story.agreement.write(A, "order", Order(entry="fit", parameters="{}"))
    story.agreement.write(CAST["registrar"], "refusal", REFUSAL)
    story.agreement.write(ENCLAVES["host-2"], "started", STARTED)
    assert found(audit(story)) == {
        (Check.ADMISSIONS, "credential.issuer"),
        (Check.AUTHORS, "run.order"),
        (Check.AUTHORS, "record.author"),
        (Check.TERMS, "election.certificate"),
    }


def test_a_second_yes_in_one_slot() -> None:
    story = Story().begin()
    story.agreement.vote(A, "run/1/1", OTHER)
    report = audit(story)
    assert found(report) == {(Check.VOTES, "decision.exclusive")}
    assert "hospital-a said yes to two subjects in run/1/1" in report.findings[0].sentence


def test_an_old_term_is_answered_after_a_newer_one() -> None:
    story = Story().tell()
    story.agreement.vote(A, "run/3/1", OTHER)
    assert found(audit(story)) == {(Check.STATEMENTS, "term.promise")}


def test_a_vote_while_the_own_suspension_is_in_force() -> None:
    story = Story()

    def alter(who: str, kind: str, body: object) -> object:
        if kind == "summons":
            story.agreement.write(C, "suspension", Suspension(reason="stop"))
        return body

    story.alter = alter
    report = audit(story.begin())
    assert found(report) == {(Check.STOPS, "agreement.ended")}
    assert len(report.findings) == 2  # the statement hides it, the vote ignores it


def test_two_records_for_one_place() -> None:
    story = Story().begin()
    key = A.participant.vote_key
    last = story.agreement.places[key]
    story.agreement.places[key] = Place(seq=1, prev=_second(story, key))
    story.agreement.write(A, "refusal", REFUSAL)
    story.agreement.places[key] = last
    report = audit(story)
    assert (Check.FEEDS, "record.equivocation") in found(report)
    assert "hospital-a wrote both as number 1" in report.findings[0].sentence


def _second(story: Story, key: bytes) -> bytes:
    return next(one.id for one in story.agreement.records if one.key == key)


def test_a_quoted_record_forks_the_feed_of_its_author() -> None:
    story = Story().begin()
    story.negotiation.records.pop()  # the sponsor's vote, which the opening quotes
    key = SPONSOR.participant.vote_key
    story.negotiation.places[key] = Place(seq=1, prev=_first(story.negotiation.records, key))
    story.negotiation.write(SPONSOR, "refusal", REFUSAL)
    assert (Check.FEEDS, "record.equivocation") in found(audit(story))


def _first(records: list[Record], key: bytes) -> bytes:
    return next(one.id for one in records if one.key == key)


def test_a_vote_of_the_certificate_is_missing_in_the_negotiation() -> None:
    story = Story().begin()
    story.negotiation.records.pop()
    assert found(audit(story)) == {(Check.AGREEMENT, "audit.incomplete")}


# --- what is done to the file -----------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], object]) -> Report:
    value = codec.decode(FILE, len(FILE))
    change(value)
    return verify(codec.encode(value), NOW)


def test_an_altered_record_is_named() -> None:
    def alter(value: dict[str, Any]) -> None:
        raw = bytearray(value["topics"][2]["records"][0])
        raw[-1] ^= 1
        value["topics"][2]["records"][0] = bytes(raw)

    number = 1 + len(STORY.space.records) + len(STORY.negotiation.records)
    finding = edited(alter).findings[0]
    assert (finding.check, finding.code) == (Check.RECORDS, "record.body")
    assert finding.sentence.startswith(
        f"record {number} altered (it claims to be a candidacy by host-1)"
    )


def test_records_are_taken_out() -> None:
    def last(value: dict[str, Any]) -> None:
        value["topics"][2]["records"].pop()

    def middle(value: dict[str, Any]) -> None:
        del value["topics"][2]["records"][-1]
        del value["topics"][2]["records"][5]

    def topic(value: dict[str, Any]) -> None:
        del value["topics"][0]

    assert found(edited(last)) == {(Check.HEADS, "audit.incomplete")}
    assert (Check.FEEDS, "record.gap") in found(edited(middle))
    assert found(edited(topic)) == {(Check.HEADS, "audit.incomplete")}


def test_records_are_put_in() -> None:
    def twice(value: dict[str, Any]) -> None:
        value["topics"][2]["records"].append(value["topics"][2]["records"][-1])

    def elsewhere(value: dict[str, Any]) -> None:
        value["topics"][1]["records"].append(value["topics"][2]["records"][-1])

    def topic_twice(value: dict[str, Any]) -> None:
        value["topics"].append(value["topics"][1])

    assert found(edited(twice)) == {(Check.FEEDS, "audit.altered")}
    assert found(edited(elsewhere)) == {(Check.RECORDS, "audit.altered")}
    assert (Check.FILE, "audit.malformed") in found(edited(topic_twice))


def test_records_after_the_signed_heads() -> None:
    longer = Story().tell()
    longer.agreement.write(A, "refusal", REFUSAL)
    longer.agreement.write(CAST["host-1"], "refusal", REFUSAL)
    added = [one.raw for one in longer.agreement.records[-2:]]
    report = edited(lambda value: value["topics"][2]["records"].extend(added))
    assert found(report) == {(Check.HEADS, "audit.altered")}


def test_a_party_s_signature_is_taken_out() -> None:
    def unsign(value: dict[str, Any]) -> None:
        opening = shape.decode(AgreementOpening, value["topics"][2]["opening"], 10**6)
        fewer = replace(opening, votes=opening.votes[1:])
        value["topics"][2]["opening"] = shape.encode(fewer)

    codes = found(edited(unsign))
    assert (Check.FILE, "agreement.certificate") in codes
    assert (Check.AGREEMENT, "audit.incomplete") in codes


def test_the_manifest_must_be_there_and_by_a_known_participant() -> None:
    assert found(edited(lambda value: value.pop("manifest"))) == {(Check.FILE, "audit.manifest")}
    stranger = agreements.actor("stranger")
    assert found(verify(STORY.export(stranger), NOW)) == {(Check.FILE, "audit.manifest")}
    forged = replace(B, signing=seed("another key"))
    assert found(verify(STORY.export(forged), NOW)) == {(Check.FILE, "audit.manifest")}


def test_time_of_the_export() -> None:
    assert found(verify(FILE, NOW - 10_000)) == {(Check.FILE, "record.clock")}
    assert (Check.HEADS, "record.clock") in found(verify(STORY.export(at=AT - 1_000), NOW))


def test_evidence_and_leaves_are_taken_out_or_put_in() -> None:
    blobs = (Check.FILE, "audit.altered")
    assert found(edited(lambda value: value["evidence"].pop())) == {blobs}
    assert found(edited(lambda value: value["leaves"].pop())) == {blobs}
    more = edited(lambda value: value["evidence"].append(b"more"))
    assert found(more) == {blobs, (Check.VERDICTS, "audit.altered")}
    assert found(edited(lambda value: value["leaves"].append(bytes(32)))) == {
        blobs,
        (Check.LEAVES, "run.proof"),
    }
    assert (Check.LEAVES, "run.proof") in found(
        edited(lambda value: value["leaves"].append(bytes(33)))
    )


def test_a_file_without_agreement_proves_nothing() -> None:
    report = verify(exported([STORY.space.material()]), NOW)
    assert (Check.AGREEMENT, "audit.incomplete") in found(report)


@pytest.mark.parametrize(
    "value",
    [{}, [], {"type": "audit"}, {"type": "audit", "topics": 1, "evidence": [], "leaves": []}],
)
def test_another_file_is_refused(value: object) -> None:
    report = examine(codec.encode(value), NOW)
    assert {finding.code for finding in report.findings} == {"audit.malformed"}


def test_a_file_that_would_unfold_in_memory_is_refused_before() -> None:
    report = verify(b"\x9a\x00\x30\x00\x00" + b"\x80" * 0x300000, NOW)
    assert found(report) == {(Check.FILE, "codec.too-large")}


def test_build_refuses_material_that_is_not_its_own() -> None:
    wrong = replace(STORY.space.material(), opening=STORY.negotiation.opening)
    with pytest.raises(Refused, match=r"topic\.unknown"):
        exported([wrong])


# --- bits, and the report ---------------------------------------------------------------------


def test_every_flipped_bit_is_found() -> None:
    small = Story().begin().export()
    chance = random.Random(2026)  # noqa: S311 (not for secrets)
    for _ in range(200):
        at = chance.randrange(len(small) * 8)
        flipped = bytearray(small)
        flipped[at // 8] ^= 1 << at % 8
        assert verify(bytes(flipped), NOW).findings, f"bit {at}"


def test_every_code_has_a_rule_and_the_report_is_readable() -> None:
    report = audit(on("", "run", changed(bundle=OTHER)))
    assert {finding.code for finding in report.findings} <= RULES.keys()
    text = "\n".join(lines(report))
    assert "run 1 ran another bundle" in text
    assert RULES["run.code"].fix in text
    assert "15 x  code, environment, rules" in text
    value = as_json(report)
    assert json.loads(json.dumps(value)) == value
    assert value["findings"][0]["code"] == "run.code"
    assert value["clean"] is False


def test_commitments_of_the_parties_are_looked_for() -> None:
    def committed(*silent: Actor, digest: bytes | None = None) -> Report:
        story = Story().begin()
        for party in PARTIES:
            if party not in silent:
                own = keys.digest("commitment", story.agreement.id, party.did)
                story.space.write(party, "commitment", Commitment(digest=digest or own))
        return audit(story)

    report = committed()
    assert report.clean
    assert any("by a commitment" in proof for proof in report.proofs)
    silent = PARTIES[0]
    for report in (committed(silent), committed(*PARTIES[1:])):
        assert report.clean
        assert not any("by a commitment" in proof for proof in report.proofs)
    assert any(
        f"No commitment in the space by {silent.name}:" in x for x in committed(silent).limits
    )
    wrong = committed(digest=bytes(32))
    assert any(limit.startswith("No commitment in the space by") for limit in wrong.limits)
