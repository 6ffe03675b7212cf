"""What comes home: proofs of what each run did with the share, own results, the receipt file."""

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from node.vault.callers import GatewayCall
from node.vault.checks import Dossier
from node.vault.contents import Participation, Result, Use
from node.vault.steps import told_of
from node.vault.vault import Vault
from protocol import keys, limits, merkle, shape
from protocol.audit import receipt
from protocol.errors import Refused
from protocol.kinds.agreement import AgreementOpening
from protocol.kinds.run import Delivery, Run, SealedOutput
from protocol.record import Record
from protocol.sealing import wrap

RUNS: Final = 1000
"""Runs of one agreement that a vault keeps proofs of."""


MAIL: Final = 20
"""Pages of a mailbox that one visit empties: a gateway could go on for ever."""


async def fetch_uses(vault: Vault, call: GatewayCall, dossier: Dossier) -> None:
    """Prove for each new run whether it used the share, by its leaves and the own secret.

    A run whose leaves nobody has is left for the next time; so is one whose leaves are wrong.
    """
    known = {use.number for use in vault.participation(dossier.id).uses}
    runs = dossier.machine.runs
    for number, (signed, run) in runs.committed().items():
        certificate = runs.certificate(number)
        if number in known or certificate is None or len(known) >= RUNS:
            continue
        try:
            leaves = await _leaves(call, dossier, run)
        except Refused as error:
            vault.note("proof missing", dossier.id, f"run {number}: {error.code}")
            continue
        use = _use(vault, dossier.id, signed, run, certificate, leaves)
        vault.change(
            dossier.id,
            _with_use(use),
            "used" if use.used else "not used",
            f"run {number}, {run.outcome}",
        )


def _with_use(use: Use) -> Callable[[Participation], Participation]:
    return lambda part: replace(part, uses=(*part.uses, use))


async def _leaves(call: GatewayCall, dossier: Dossier, run: Run) -> bytes:
    """The leaves of a run, held against its record. Raises Refused (run.proof)."""
    leaves = await call.blob(dossier.id, run.leaves) if run.leaf_count else b""
    found = merkle.split(leaves)
    if merkle.root(found) != run.leaves or len(found) != run.leaf_count:
        raise Refused("run.proof", "the leaves do not match the run record")
    return leaves


def _use(
    vault: Vault, agreement: bytes, signed: Record, run: Run, certificate: bytes, leaves: bytes
) -> Use:
    secret = vault.participation(agreement).keys.secret
    leaf = merkle.person_leaf(secret, agreement, run.number)
    return Use(
        number=run.number,
        run=signed.id,
        outcome=run.outcome,
        used=leaf in merkle.split(leaves),
        certificate=vault.blobs.put(certificate),
        leaves=vault.blobs.put(leaves),
        at=int(time.time()),
    )


async def fetch_results(vault: Vault, call: GatewayCall, dossier: Dossier, gateway: bytes) -> None:
    """Empty the mailbox at the gateway (a did) that `call` talks to: keep each result that
    verifies, say in the diary which did not.
    """
    part = vault.participation(dossier.id)
    if not part.given:
        return
    await call.open_mail(gateway, part.keys.signing)
    after = 0
    for _ in range(MAIL):
        items = await call.mail(after)
        for item in items:
            if item.number <= after:
                vault.note("mail refused", dossier.id, f"item {item.number} after item {after}")
                return
            if not await _take(vault, call, dossier, item.number):
                return
            after = item.number
        if not items:
            return
        await call.acknowledge(after)


async def _take(vault: Vault, call: GatewayCall, dossier: Dossier, number: int) -> bool:
    """Keep or refuse one item. False if it must wait: the proof of its run is not here yet."""
    try:
        delivery = await call.delivery(number)
        if _is_early(vault, dossier, delivery.number):
            return False
        output = open_result(vault.participation(dossier.id), dossier, delivery)
    except Refused as error:
        # A host can put anything into the mailbox; what is no result of ours must not block it.
        vault.note("mail refused", dossier.id, f"item {number}: {error.code}")
        return True
    part = vault.participation(dossier.id)
    if any((one.number, one.name) == (delivery.number, output.name) for one in part.results):
        return True  # what an earlier term released is the same
    result = Result(
        number=delivery.number,
        run=output.run,
        name=output.name,
        blob=vault.blobs.put(output.content),
        at=int(time.time()),
    )
    vault.change(
        dossier.id,
        lambda p: replace(p, results=(*p.results, result)),
        "result",
        f"run {result.number}, {result.name}",
    )
    return True


def _is_early(vault: Vault, dossier: Dossier, number: int) -> bool:
    proven = {use.number for use in vault.participation(dossier.id).uses}
    return number in dossier.machine.runs.committed() and number not in proven


def open_result(part: Participation, dossier: Dossier, delivery: Delivery) -> SealedOutput:
    """Open an own result and hold it against its committed run. Raises Refused.

    The run record names what goes to people only all together: that this part is of it rests on the
    enclave, which alone knew salt and key.
    """
    person = keys.public(part.keys.signing)
    committed = dossier.machine.runs.decided(delivery.run)
    if committed is None or (delivery.number, "released") != _ending(committed[1]):
        raise Refused("run.votes", f"run {delivery.number} was not released")
    promised = {(one.name, one.to) for one in committed[1].outputs}
    if delivery.to != person or (delivery.name, dossier.id) not in promised:
        raise Refused("gate.recipient", "not an output for this person")
    binding = (delivery.run, delivery.name.encode(), person)
    plain = wrap.open_(delivery.sealed, part.keys.sealing, "output", *binding)
    output = shape.decode(SealedOutput, plain, limits.OUTPUT + limits.RECORD)
    if (output.run, output.name) != (delivery.run, delivery.name):
        raise Refused("audit.altered", "the output is of another run")
    if not any(use.used for use in part.uses if use.number == delivery.number):
        raise Refused("audit.altered", "a result of a run that did not use the share")
    return output


def _ending(run: Run) -> tuple[int, str]:
    return run.number, run.outcome


async def ask_for_missing(vault: Vault, call: GatewayCall, dossier: Dossier) -> None:
    """Say which own results never came, where the enclave that had them is gone."""
    part, document = vault.participation(dossier.id), dossier.document
    own = {output.name for output in document.outputs if output.subject}
    here = {one.number for one in part.results}
    if not part.given or not told_of(part.given[-1]):
        return
    for use in part.uses:
        if not use.used or use.number in here:
            continue
        if dossier.machine.runs.releasable(use.number, dossier.id) is None or not own:
            continue
        vault.note("result missing", dossier.id, f"run {use.number}: its host is gone")
        await call.lacking(dossier.id, use.number)


def build_receipt(vault: Vault, agreement: bytes, chosen: Collection[int] = ()) -> bytes:
    """The person's receipt over the chosen runs, or else over all that were fetched.

    Raises Refused (consent.missing, run.proof).
    """
    part = vault.participation(agreement)
    if not part.given:
        raise Refused("consent.missing", "there is no consent to prove anything about")
    uses = [use for use in part.uses if not chosen or use.number in chosen]
    if not uses or not {use.number for use in uses}.issuperset(chosen):
        raise Refused("run.proof", "no such run is known yet: fetch first")
    opening = shape.decode(AgreementOpening, vault.blobs.get(part.opening), limits.FRAME)
    runs = [
        (vault.blobs.get(use.certificate), vault.blobs.get(use.leaves))
        for use in sorted(uses, key=lambda use: use.number)
    ]
    stops = [one.stop for one in part.given if one.stop is not None]
    return receipt.build(
        opening.document, runs, [one.consent for one in part.given], stops, part.identities
    )
