"""The light peer: acts for one vault. It verifies everything itself, then does what it is told.

Each act dials a gateway under the PeerId of that agreement alone, so that no gateway can link a
person's agreements by keys.
"""

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import trio

from node import people_wire as pw
from node.net.transport import Transport, TransportError
from node.share_upload import Parcel
from node.store import StoreError
from node.vault import callers, checks, envelope, results
from node.vault.callers import Connect
from node.vault.checks import Check, Dossier, Enclave
from node.vault.contents import Enrolment, Given, Participation, SentShare
from node.vault.rows import to_arrow
from node.vault.standing import Standing, standing
from node.vault.steps import (
    Material,
    Visit,
    all_stopped,
    check_receipt,
    election_checks,
    fetch_material,
    is_longer,
    is_with,
    newest_share,
    next_window,
    quorum_of,
    standing_of,
    told_of,
    unfinished,
    verify_host,
    with_receipts,
    with_share,
    with_taken,
    wrapped_to,
)
from node.vault.vault import Vault
from protocol import keys, limits, token, topic
from protocol.errors import ProtocolError, Refused
from protocol.identity import History, Participant, learn, open_identity
from protocol.kinds.agreement import Agreement
from protocol.kinds.identity import PersonCredential
from protocol.machines.election import Elected

T = TypeVar("T")

ATTEMPTS: Final = 3
"""How often one act tries an upload."""

PAUSE: Final = 1.0
"""Seconds between two attempts."""

BUSY: Final = frozenset({"share.busy", "door.busy", "host.unreachable"})
"""Refusals that pass by themselves."""

FAULTS: Final = (ProtocolError, trio.TooSlowError, OSError)
"""What can go wrong between a vault and the world."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything a person should see before a yes or no. `enclaves` is empty while no host is
    elected; `standing` is None before the first consent.
    """

    dossier: Dossier
    material: Material
    enclaves: tuple[Enclave, ...]
    term: int | None
    checks: tuple[Check, ...]
    window: tuple[int, int]
    standing: Standing | None


class LightPeer:
    """Acts for `vault` over networks that `connect` opens."""

    def __init__(self, vault: Vault, connect: Connect) -> None:
        self.vault = vault
        self.connect = connect

    # --- being known ----------------------------------------------------------------------------

    async def enrol(self, code: str, registrar: str) -> Enrolment:
        """Use the one-time code of a letter at the registrar's address. Idempotent.

        Raises Refused (enrolment.code, credential.*), TransportError, trio.TooSlowError.
        """
        base = self.vault.base

        async def act(transport: Transport) -> tuple[Participant, bytes]:
            return await callers.enrol(transport, registrar, code, base)

        who, credential = await self._dial(self.vault.node, act)
        found = Enrolment(
            registrar=who.did, identity=who.raw, address=registrar, credential=credential
        )
        self.vault.enrol(found)
        return found

    # --- looking --------------------------------------------------------------------------------

    async def offers(self, gateway: str) -> tuple[pw.Offer, ...]:
        """What a gateway offers; nothing of it is verified. A throw-away PeerId asks."""

        async def act(transport: Transport) -> tuple[pw.Offer, ...]:
            async with callers.gateway_call(transport, gateway) as call:
                return await call.offers()

        return await self._dial(callers.nonce(), act)

    async def show(self, agreement: bytes, gateway: str | None = None) -> Shown:
        """Verify an agreement and its host, and return what the person should see.

        Raises Refused with the first check that does not hold, TransportError.
        """
        return await self._visit(agreement, gateway, self._show)

    async def _show(self, visit: Visit) -> Shown:
        material = await fetch_material(visit)
        enclaves: tuple[Enclave, ...] = ()
        term, lines = None, visit.dossier.checks
        if visit.dossier.machine.election.elected() is not None:
            found, enclaves = await verify_host(visit)
            term = found.term
            lines += election_checks(visit.dossier, found, enclaves)
        last = visit.part.given[-1] if visit.part.given else None
        return Shown(
            dossier=visit.dossier,
            material=material,
            enclaves=enclaves,
            term=term,
            checks=lines,
            window=next_window(visit.dossier),
            standing=standing_of(last, visit.dossier) if last else None,
        )

    # --- deciding -------------------------------------------------------------------------------

    async def give(
        self, agreement: bytes, gateway: str | None = None, *, told: bool = False
    ) -> Standing:
        """Say yes: verify, be admitted, sign, seal, send, and wait until the enclave took it.

        `told` asks for the own result. Safe to repeat: it goes on where it broke off, and after a
        withdrawal it makes a new consent. Raises Refused, StoreError, SourceError, TransportError.
        """
        return await self._visit(agreement, gateway, partial(self._give, told=told))

    async def renew(self, agreement: bytes, gateway: str | None = None) -> Standing:
        """Say yes again, for the runs that come: a new consent takes the place of the one in force,
        which then ends with its own window. Safe to repeat.

        Raises Refused (consent.missing; else as `give`), StoreError, SourceError, TransportError.
        """
        return await self._visit(agreement, gateway, self._renew)

    async def _renew(self, visit: Visit) -> Standing:
        last = visit.part.given[-1] if visit.part.given else None
        if last is None or last.stop is not None:
            raise Refused("consent.missing", "there is no consent to renew")
        return await self._give(visit, told_of(last), renew=True)

    async def _give(self, visit: Visit, told: bool, renew: bool = False) -> Standing:
        found, enclaves = await verify_host(visit)
        last = visit.part.given[-1] if visit.part.given else None
        there = last is not None and is_with(last, found, told)
        renew = renew and there and last is not None and is_longer(last, visit.dossier)
        if last is not None and there and not renew:
            return standing_of(last, visit.dossier)
        material = await fetch_material(visit)
        visit = await self._admitted(visit)
        row = self.vault.row(visit.dossier.dataset.id)
        data = self.vault.blobs.get(row.blob)
        plain = await to_arrow(row, data, material.contract, visit.dossier.dataset)
        visit = self._consented(visit, material, told, renew)
        return await self._send(visit, found, enclaves, plain)

    async def _admitted(self, visit: Visit) -> Visit:
        """Have the registrar's admission for this agreement's key; ask for it once."""
        dossier, person, now = visit.dossier, visit.person, int(time.time())
        if visit.part.admission is not None and visit.part.right is not None:
            checks.check_admission(visit.part.admission, dossier, person.key, now)
            return visit
        enrolment = self.vault.enrolment
        category = token.open_(enrolment.credential, "person", PersonCredential).body.category
        checks.check_credential(
            dossier.people, enrolment.registrar, enrolment.credential, category, now
        )
        request = pw.AdmissionRequest(
            registrar=enrolment.registrar, agreement=dossier.id, key=person.key
        )

        async def act(transport: Transport) -> pw.Admitted:
            return await callers.admit(
                transport, enrolment.address, enrolment.credential, request, self.vault.base
            )

        made = await self._dial(self.vault.node, act)
        checks.check_admission(made.admission, dossier, person.key, now)
        checks.check_right(made.right, dossier, person.key)
        part = self._change(
            visit,
            lambda p: replace(p, admission=made.admission, right=made.right),
            "admitted",
            "",
        )
        return replace(visit, part=part)

    def _consented(self, visit: Visit, material: Material, told: bool, renew: bool) -> Visit:
        """Sign a consent and keep it before it is sent; one that was not sent yet is used again."""
        given = visit.part.given
        last = given[-1] if given else None
        if last is not None and last.stop is None and told_of(last) == told and not renew:
            return visit
        if len(given) >= limits.STOPS_OF_ONE:
            raise Refused("consent.scope", "so many consents to one agreement cannot be withdrawn")
        people = visit.dossier.people
        first, end = next_window(visit.dossier)
        terms = envelope.Terms(
            ordinal=last.ordinal + 1 if last else 1,
            first=first,
            last=end,
            told=told,
            categories=material.categories,
            gateway=visit.gateway,
        )
        document = visit.dossier.document
        raw = envelope.make_consent(visit.dossier.id, document, people, terms, visit.person)
        made = Given(ordinal=terms.ordinal, consent=raw, at=int(time.time()))
        part = self._change(
            visit,
            lambda p: replace(
                p,
                given=(*p.given, made),
                refused=None,
                gateway=visit.gateway,
                address=visit.address,
            ),
            "consent signed",
            f"consent #{terms.ordinal}, runs {first} to {end}",
        )
        return replace(visit, part=part)

    async def _send(
        self, visit: Visit, found: Elected, enclaves: tuple[Enclave, ...], plain: bytes
    ) -> Standing:
        """Seal the share to the verified enclaves, send it, and keep the enclave's receipt."""
        part, dossier = visit.part, visit.dossier
        given = part.given[-1]
        share = unfinished(given, enclaves[0].id)
        if share is None:
            made = [one.keys for one in enclaves]
            replaces = newest_share(part)
            share = envelope.seal_share(
                dossier.id, dossier.dataset, visit.person, made, replaces=replaces
            )
        sent = SentShare(id=share.id, key=share.key, header=share.header, token=share.token)
        part = self._change(
            visit,
            lambda p: replace(
                p, term=max(p.term, found.term), given=with_share(p.given, given.ordinal, sent)
            ),
            "share sealed",
            f"for the enclave of term {found.term} and {len(enclaves) - 1} standbys",
        )
        targets = [one.keys for one in enclaves if one.id in wrapped_to(sent)]
        admission = part.admission or b""
        person = envelope.seal_envelopes(
            dossier.id, visit.person, share, admission, given.consent, targets
        )
        receipt = await self._upload(visit, envelope.make_parcel(share, person, plain))
        check_receipt(receipt, dossier, found, share.id)
        done = replace(sent, receipt=receipt)
        part = self._change(
            visit,
            lambda p: replace(p, given=with_taken(p.given, given.ordinal, done)),
            "share taken",
            f"by the enclave of term {found.term}{_replacing(part)}",
        )
        return standing_of(part.given[-1], dossier)

    async def _upload(self, visit: Visit, parcel: Parcel) -> bytes:
        """Send a share; where the road is busy or breaks, go on a little later."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await visit.call.upload(parcel)
            except TransportError:
                await trio.sleep(PAUSE)
            except Refused as error:
                if error.code not in BUSY:
                    raise
                await trio.sleep(PAUSE)
        return await visit.call.upload(parcel)

    async def refuse(self, agreement: bytes, gateway: str | None = None) -> Participation:
        """Say no. Nothing is sent to anyone. Raises StoreError (vault.consent) after a yes."""
        if not self.vault.knows(agreement):
            await self._visit(agreement, gateway, _nothing)
        part = self.vault.participation(agreement)
        if part.given and part.given[-1].stop is None:
            detail, fix = "You consented to this agreement.", "village consent withdraw"
            raise StoreError("vault.consent", detail, fix)
        if part.refused is not None:
            return part
        now = int(time.time())
        return self.vault.change(agreement, lambda p: replace(p, refused=now), "refused", "")

    async def withdraw(self, agreement: bytes, gateway: str | None = None) -> Standing:
        """End every consent for ever and tell all parties; again, to gather more receipts. An older
        one was replaced, not ended: a host could show it to an enclave that knows no newer.

        It rests on the agreement that the vault holds, not on what a gateway says now. Raises
        Refused (consent.missing), TransportError.
        """
        part = self.vault.participation(agreement)
        if not part.given:
            raise Refused("consent.missing", "there is no consent to withdraw")
        if any(one.stop is None for one in part.given):
            open_ones = ", ".join(f"#{one.ordinal}" for one in part.given if one.stop is None)
            part = self.vault.change(
                agreement, all_stopped, "withdrawal signed", f"consent {open_ones}"
            )
        stops = [one.stop for one in reversed(part.given) if one.stop is not None]

        receipts: list[bytes] = []

        async def act(transport: Transport) -> None:
            async with callers.gateway_call(transport, gateway or part.address) as call:
                for stop in stops:
                    receipts.extend(await call.stop(stop))

        try:
            await self._dial(part.keys.node, act)
        finally:
            state = self._confirmed(agreement, receipts)
        return state

    def _confirmed(self, agreement: bytes, receipts: list[bytes]) -> Standing:
        """Keep the receipts that verify and say something new."""
        part = self.vault.participation(agreement)
        parties = self._parties(part)
        told = tuple(with_receipts(one, receipts, parties) for one in part.given)
        state = standing(told[-1], parties, quorum_of(parties))
        self.vault.change(agreement, lambda p: replace(p, given=told), state.state, state.words)
        return state

    # --- keeping --------------------------------------------------------------------------------

    async def fetch(self, agreement: bytes, gateway: str | None = None) -> Participation:
        """Bring home what is new: what runs did with the share, and own results.

        Raises Refused, TransportError. A run whose leaves nobody has yet is asked for next time.
        """
        return await self._visit(agreement, gateway, self._fetch)

    async def _fetch(self, visit: Visit) -> Participation:
        await results.fetch_uses(self.vault, visit.call, visit.dossier)
        await results.fetch_results(self.vault, visit.call, visit.dossier, visit.gateway)
        await results.ask_for_missing(self.vault, visit.call, visit.dossier)
        return self.vault.participation(visit.dossier.id)

    def receipt(self, agreement: bytes, runs: Collection[int] = ()) -> bytes:
        """The receipt file: for each of `runs`, or of all that were fetched, proof of use or
        absence, under each consent.

        Raises Refused (consent.missing, run.proof).
        """
        return results.build_receipt(self.vault, agreement, runs)

    def standings(self, agreement: bytes) -> list[Standing]:
        """Where each consent to an agreement stands, oldest first, by what the vault holds."""
        part = self.vault.participation(agreement)
        parties = self._parties(part)
        return [standing(one, parties, quorum_of(parties)) for one in part.given]

    # --- the road -------------------------------------------------------------------------------

    async def _visit(
        self, agreement: bytes, gateway: str | None, act: Callable[[Visit], Awaitable[T]]
    ) -> T:
        """Dial, fetch the dossier, verify it, take up the agreement, act."""
        own = self.vault.keys(agreement)
        address = gateway or self.vault.participation(agreement).address
        known = (
            self.vault.participation(agreement).identities if self.vault.knows(agreement) else ()
        )

        async def visit(transport: Transport) -> T:
            async with callers.gateway_call(transport, address) as call:
                pile = await call.pile(agreement)
                examine = partial(
                    checks.examine,
                    person=keys.public(own.signing),
                    now=int(time.time()),
                    known=known,
                )
                dossier = await trio.to_thread.run_sync(examine, pile, agreement)
                who = dossier.party_with(callers.node_key(address))
                asked = Participation(
                    agreement=agreement,
                    name=dossier.document.name,
                    gateway=who,
                    address=address,
                    keys=own,
                    opening=self.vault.blobs.put(dossier.opening.raw),
                )
                part = self.vault.begin(asked)
                renewed = dossier.renewed()
                if renewed != part.identities:
                    part = self.vault.put(
                        replace(part, identities=renewed), "keys", dossier.document.name
                    )
                return await act(Visit(call, dossier, part, who, address))

        return await self._dial(own.node, visit)

    async def _dial(self, seed: bytes, act: Callable[[Transport], Awaitable[T]]) -> T:
        """Act on a network of its own. A network's nursery would hand faults on in groups."""
        fault: BaseException | None = None
        async with self.connect(seed) as transport:
            try:
                return await act(transport)
            except FAULTS as error:
                fault = error
        raise fault

    def _change(
        self, visit: Visit, how: Callable[[Participation], Participation], event: str, why: str
    ) -> Participation:
        return self.vault.change(visit.dossier.id, how, event, why)

    def _parties(self, part: Participation) -> dict[bytes, History]:
        opening = topic.read_opening(self.vault.blobs.get(part.opening))
        if not isinstance(opening.document, Agreement):
            raise Refused("topic.opening")
        parties = {one.did for one in opening.document.parties}
        known = [*opening.participants.values(), *map(open_identity, part.identities)]
        found: dict[bytes, History] = {}
        for one in known:
            if one.did in parties:
                learn(found, one)
        return found


def _replacing(part: Participation) -> str:
    """What the diary says of the shares that the newest takes the place of."""
    gone = sum(one.share is not None and one.share.key is not None for one in part.given[:-1])
    return "; the key of the share before it is destroyed" if gone else ""


async def _nothing(_: Visit) -> None:
    """Only look: the visit itself takes up the agreement."""
