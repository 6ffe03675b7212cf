"""The steps of an act, each usable alone: challenge enclaves, fetch material, read what is kept."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from node import challenge as node_challenge
from node import wire
from node.connectors.contract import read_contract
from node.vault import callers, checks, envelope
from node.vault.callers import GatewayCall
from node.vault.checks import Check, Dossier, Enclave
from node.vault.contents import Given, Participation, SentShare
from node.vault.standing import Standing, confirmed, standing
from protocol import decision, kinds, limits, record, token
from protocol.errors import Refused
from protocol.identity import History
from protocol.kinds.algorithm import Bundle
from protocol.kinds.consent import Consent, Notice
from protocol.kinds.share import Receipt, Share
from protocol.machines.election import Elected


@dataclass(frozen=True, slots=True)
class Visit:
    """One conversation with a gateway about one agreement, whose dossier verified.

    `gateway` is the participant at `address`, as its identity in the agreement proves.
    """

    call: GatewayCall
    dossier: Dossier
    part: Participation
    gateway: bytes
    address: str

    @property
    def person(self) -> envelope.Secrets:
        """The person's secrets under this agreement."""
        return secrets_of(self.part)


@dataclass(frozen=True, slots=True)
class Material:
    """What the agreement names by digest, fetched and compared."""

    notice: Notice
    bundle: Bundle
    contract: bytes
    categories: tuple[str, ...]


async def verify_host(visit: Visit) -> tuple[Elected, tuple[Enclave, ...]]:
    """Challenge the elected enclave and each standby by own nonces; the host's comes first.

    The host's must hold, a standby that does not is left out. Raises Refused.
    """
    found = checks.elected(visit.dossier, visit.part.term)
    host = await challenge(visit, found.appointment.candidacy, found.term)
    enclaves = [host]
    for candidacy in found.appointment.standbys:
        try:
            enclaves.append(await challenge(visit, candidacy, found.term))
        except Refused:
            continue
    return found, tuple(enclaves)


async def challenge(visit: Visit, candidacy: bytes, term: int) -> Enclave:
    """Challenge one enclave and appraise its answer. Raises Refused (evidence.*, host.*)."""
    own, person = callers.nonce(), visit.person.key
    expected = checks.expected_binding(
        visit.dossier, candidacy, person=person, term=term, nonce=own
    )
    question = wire.Challenge(agreement=visit.dossier.id, requester=person, term=term, nonce=own)

    async def ask(question: wire.Challenge, _: float) -> wire.Evidence:
        return await visit.call.evidence(candidacy, question)

    asked = time.monotonic()
    answer = await node_challenge.challenge(ask, expected.technology, question)
    if answer is None:
        raise Refused("host.unreachable")
    if time.monotonic() - asked > limits.NONCE:
        raise Refused("evidence.stale", "the answer came after the nonce had died")
    now = int(time.time())
    activated = answer.activated is True
    return checks.verify_enclave(visit.dossier, answer.bundle, expected, now, activated=activated)


async def fetch_material(visit: Visit) -> Material:
    """Notice, code and data contract, each compared with its digest. Raises Refused."""
    dossier = visit.dossier
    document, dataset = dossier.document, dossier.dataset
    notice = checks.check_notice(
        await visit.call.blob(dossier.id, dossier.people.notice), dossier.people
    )
    bundle = checks.check_bundle(
        await visit.call.blob(dossier.id, document.algorithm.shown), document
    )
    contract = await visit.call.blob(dossier.id, dataset.contract)
    checks.check_digest(contract, dataset.contract, "the data contract")
    columns = [one.name for one in read_contract(contract).columns if one.name != dataset.person]
    return Material(notice, bundle, contract, tuple(columns))


def election_checks(
    dossier: Dossier, found: Elected, enclaves: tuple[Enclave, ...]
) -> tuple[Check, ...]:
    """The lines about host and enclaves."""
    votes = len(dossier.machine.election.ballots[found.term].yes(found.subject))
    who = dossier.name(found.appointment.host)
    parties = len(dossier.document.parties)
    lines = [Check("host", f"{votes} of {parties} parties elected {who}, term {found.term}")]
    lines += [
        checks.enclave_check(dossier, one, standby=place > 0) for place, one in enumerate(enclaves)
    ]
    return tuple(lines)


def check_receipt(raw: bytes, dossier: Dossier, found: Elected, share: bytes) -> None:
    """The enclave that was elected took this share. Raises Refused (share.*, record.*)."""
    signed = record.parse(raw)
    by = (signed.topic, signed.kind, signed.key)
    if by != (dossier.id, "receipt", found.candidacy.enclave.signing):
        raise Refused("share.binding", "this is no receipt by the elected enclave")
    receipt = kinds.read(Receipt, signed)
    if receipt.share != share:
        raise Refused("share.binding", "the receipt is for another share")
    if receipt.verdict != "kept":
        raise Refused("share.contract", receipt.verdict)


def next_window(dossier: Dossier) -> tuple[int, int]:
    """The runs that a consent given now covers. Raises Refused (run.budget)."""
    first = dossier.machine.runs.next_number
    at_most = dossier.document.runs.at_most
    if first > at_most:
        raise Refused("run.budget", "no run is left")
    return first, min(first + dossier.people.window - 1, at_most)


def secrets_of(part: Participation) -> envelope.Secrets:
    """The person's secrets under an agreement."""
    own = part.keys
    return envelope.Secrets(own.signing, own.sealing, own.secret)


def standing_of(given: Given, dossier: Dossier) -> Standing:
    """Where a consent stands under a verified agreement."""
    machine = dossier.machine
    parties = {did: machine.histories[did] for did in machine.parties}
    return standing(given, parties, dossier.quorum)


def quorum_of(parties: dict[bytes, History]) -> int:
    """How many receipts make a withdrawal binding."""
    return decision.quorum(len(parties))


def told_of(given: Given) -> bool:
    """Whether this consent asks for the own result."""
    return token.open_(given.consent, "consent", Consent).body.told


def is_with(given: Given, found: Elected, told: bool) -> bool:
    """Whether this consent is in force, and its share with the enclave of the newest term."""
    if given.stop is not None or given.share is None or given.share.receipt is None:
        return False
    return told_of(given) == told and found.appointment.enclave in wrapped_to(given.share)


def is_longer(given: Given, dossier: Dossier) -> bool:
    """Whether a consent given now would cover runs that this one does not."""
    return next_window(dossier)[1] > token.open_(given.consent, "consent", Consent).body.last


def newest_share(part: Participation) -> bytes | None:
    """The last share of this agreement, under whatever consent: the one to replace."""
    shares = [one.share.id for one in part.given if one.share is not None]
    return shares[-1] if shares else None


def unfinished(given: Given, enclave: bytes) -> envelope.SealedShare | None:
    """The share under this consent whose upload to `enclave` broke off, if there is one.

    It must go on, not begin anew: the enclave may have taken it, and only the receipt got lost.
    """
    sent = given.share
    if sent is None or sent.receipt is not None or enclave not in wrapped_to(sent):
        return None
    if sent.key is None:
        return None  # its consent was withdrawn
    return envelope.SealedShare(sent.id, sent.token, sent.header, sent.key)


def wrapped_to(sent: SentShare) -> set[bytes]:
    """The enclaves that can open a share."""
    return {one.enclave for one in token.open_(sent.token, "share", Share).body.wraps}


def with_share(given: tuple[Given, ...], ordinal: int, share: SentShare) -> tuple[Given, ...]:
    """The consents, with this share under the one of `ordinal`."""
    return tuple(replace(one, share=share) if one.ordinal == ordinal else one for one in given)


def with_taken(given: tuple[Given, ...], ordinal: int, share: SentShare) -> tuple[Given, ...]:
    """The consents, with this share that the enclave took; the keys of those that it replaces are
    gone.
    """
    return tuple(
        replace(one, share=replace(one.share, key=None))
        if one.share is not None and one.ordinal != ordinal
        else one
        for one in with_share(given, ordinal, share)
    )


def all_stopped(part: Participation) -> Participation:
    """The participation with a signed withdrawal of every consent, and no share key any more."""
    own, right = secrets_of(part), part.right or b""

    def stopped(one: Given) -> Given:
        if one.stop is not None:
            return one
        stop = envelope.make_stop(part.agreement, one.consent, own, right)
        share = replace(one.share, key=None) if one.share is not None else None
        return replace(one, stop=stop, share=share)

    return replace(part, given=tuple(map(stopped, part.given)))


def with_receipts(
    given: Given, receipts: Iterable[bytes], parties: Mapping[bytes, History]
) -> Given:
    """A consent with those receipts of its withdrawal that verify and say something new."""
    if given.stop is None:
        return given
    kept = list(given.stop_receipts)
    for raw in receipts:
        before = confirmed(given.stop, kept, parties)
        if confirmed(given.stop, [*kept, raw], parties) != before:
            kept.append(raw)
    return replace(given, stop_receipts=tuple(kept))
