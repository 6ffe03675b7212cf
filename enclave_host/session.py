"""All that the enclave holds for one agreement: who it is among, its term, shares, consents."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from enclave_host.checking import Checking
from enclave_host.confidential import CodeIntake, read_bundle
from enclave_host.contract import Contract, read_contract
from enclave_host.feed import Feed
from enclave_host.inputs import Checked, Datacage, check_together
from enclave_host.output_model import OutputModel
from enclave_host.parties import Parties
from enclave_host.people import Consents, registrar_keys
from enclave_host.private import Room
from enclave_host.shares import (
    Arrival,
    Held,
    Intake,
    OpenedShare,
    Shares,
    Vault,
    open_party_share,
    open_person_share,
)
from enclave_host.table_model import TableModel, read_table_model
from enclave_host.tenure import Tenure, read_tenure
from enclave_host.together import Together
from protocol import model_faults, token
from protocol.enclave_wire import Appoint, ShareBegin, ShareReady
from protocol.errors import Refused
from protocol.kinds.agreement import Dataset, events_of, models_of
from protocol.kinds.algorithm import CODE, Bundle
from protocol.kinds.host import Heartbeat
from protocol.kinds.share import Receipt


@dataclass(slots=True)
class Session:
    """One agreement. Every method is called under the enclave's lock."""

    parties: Parties
    vault: Vault
    room: Room
    feed: Feed
    technology: str
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    tenure: Tenure | None = None
    newest: int = 0
    evidence: bytes | None = None
    beats: int = 0
    sql_read: bool = False
    code: CodeIntake | None = None
    together: dict[str, Together] = field(default_factory=dict)
    consents: Consents = field(init=False)
    shares: Shares = field(init=False)

    def __post_init__(self) -> None:
        """Begin without anybody's consent or share."""
        self.consents = Consents(self.parties.id, registrar_keys(self.parties.document))
        self.shares = Shares(self.consents)

    # --- what the agreement names by digest ---------------------------------------------------

    def provide(self, blobs: tuple[bytes, ...]) -> None:
        """Take the bundle, contracts and output models; nothing else. Raises Refused (run.code)."""
        document = self.parties.document
        wanted = {document.algorithm.bundle} if document.algorithm.sealed is None else set()
        wanted |= {dataset.contract for dataset in document.datasets}
        wanted |= set(models_of(document))
        wanted |= set(events_of(document))
        found = {hashlib.sha256(blob).digest(): blob for blob in blobs}
        strange = found.keys() - wanted
        if strange:
            detail = f"{min(strange).hex()[:16]} is no digest that the parties agreed on"
            raise Refused("run.code", detail)
        self.blobs |= found

    def bundle(self) -> Bundle:
        """The approved code. Raises Refused (run.code, run.share-missing, algorithm.bundle)."""
        document = self.parties.document
        if document.algorithm.sealed is not None:
            return self._confidential()
        blob = self.blobs.get(document.algorithm.bundle)
        if blob is None:
            raise Refused("run.code", "the agreed bundle was not provided")
        return read_bundle(document, blob)

    def _confidential(self) -> Bundle:
        if self.code is None or self.code.bundle is None:
            name = self.parties.name(self.parties.document.algorithm.provider)
            raise Refused("run.share-missing", f"the confidential code of {name}", set_by=name)
        return self.code.bundle

    def contracts(self) -> dict[str, Contract]:
        """The contract of each dataset. Raises Refused (share.contract, agreement.document)."""
        found = {}
        for dataset in self.parties.document.datasets:
            if dataset.contract not in self.blobs:
                raise Refused("share.contract", f"the contract of {dataset.id} was not provided")
            found[dataset.id] = read_contract(self.blobs[dataset.contract], dataset.person)
        return found

    def models(self) -> dict[str, OutputModel]:
        """The model of each output. Raises Refused (gate.schema)."""
        found = {}
        for output in self.parties.document.outputs:
            if output.format != "json" or output.schema is None:
                continue
            if output.schema not in self.blobs:
                raise Refused("gate.schema", f"the model of {output.name} was not provided")
            found[output.name] = OutputModel(output.name, self.blobs[output.schema])
        return found

    def table_models(self) -> dict[str, TableModel]:
        """The model of each Arrow output. Raises Refused (gate.schema)."""
        found = {}
        for output in self.parties.document.outputs:
            if output.format != "arrow" or output.schema is None:
                continue
            if output.schema not in self.blobs:
                raise Refused("gate.schema", f"the model of {output.name} was not provided")
            found[output.name] = read_table_model(output.name, self.blobs[output.schema])
        return found

    def check_models(self) -> None:
        """Refuse (gate.schema) models that let out more than the agreement's noise allows."""
        found = model_faults.faults(self.parties.document, self.blobs)
        if found:
            raise Refused("gate.schema", "; ".join(found)[:500])

    # --- the term -----------------------------------------------------------------------------

    def appoint(self, request: Appoint) -> None:
        """Take office, or learn that somebody else did. Raises Refused (term.fenced,
        election.certificate, agreement.certificate, decision.*). A term only rises.
        """
        self.parties.check_signed()
        tenure = read_tenure(self.parties, request.certificate, request.host, request.standbys)
        if self.tenure is not None and self.tenure.id == tenure.id and self.newest == tenure.term:
            return
        if tenure.term <= self.newest:
            raise Refused("term.fenced", f"term {tenure.term}; known is term {self.newest}")
        mine = tenure.appointment.enclave == self.vault.id
        if mine and len(tenure.standbys) != len(tenure.appointment.standbys):
            raise Refused("election.certificate", "not all standbys are shown")
        self.newest = tenure.term
        if not mine:
            self.tenure = None
            self.shares = self.shares.emptied()
            self._keep_code(None)
            raise Refused("term.fenced", f"term {tenure.term} belongs to another enclave")
        self.tenure = tenure

    def in_office(self) -> Tenure:
        """The term that this enclave holds. Raises Refused (term.fenced, election.certificate)."""
        if self.tenure is None and self.newest:
            raise Refused("term.fenced", f"term {self.newest} belongs to another enclave")
        if self.tenure is None:
            raise Refused("election.certificate", "this enclave was not appointed")
        return self.tenure

    def beat(self, seed: bytes) -> bytes:
        """A heartbeat for the term in office."""
        tenure = self.in_office()
        self.beats += 1
        said = Heartbeat(agreement=self.parties.id, term=tenure.term, beat=self.beats)
        return token.sign(seed, "heartbeat", said)

    # --- shares -------------------------------------------------------------------------------

    def begin_share(
        self, request: ShareBegin, environments: Mapping[bytes, Datacage]
    ) -> ShareReady:
        """Open a share's key, and make ready to check what comes. A standby opens nothing before
        its own appointment.
        """
        self.in_office()
        if request.person:
            share = open_person_share(self.parties, self.vault, request.share)
        else:
            share = open_party_share(self.parties, self.vault, request.share, request.rewraps)
        # Code is not read at each run as rows are: the host shows all of it, and it stays.
        stored = request.stored and share.dataset != CODE
        held = self.shares.begin(share, stored=stored)
        if held.digest is None and not held.checking and not stored:
            # Always from the first frame: what the host's disk has by now, it shows again.
            if held.arrival is not None:
                held.arrival.checking.abandon()
            held.arrival = self._arrival(share, environments)
        opener = held.arrival.intake.opener if held.arrival else None
        return ShareReady(
            share=share.id,
            owner=share.owner,
            chunks=opener.chunks if opener else 0,
            chain=opener.chain if opener else held.digest or bytes(32),
        )

    def _arrival(self, share: OpenedShare, environments: Mapping[bytes, Datacage]) -> Arrival:
        if share.dataset == CODE:
            reading = CodeIntake(self.parties.document, self.room)
            return Arrival(Intake.begin(share, reading.write), reading)
        contract, dataset = self.contracts()[share.dataset], self.parties.dataset(share.dataset)
        if dataset is None:
            raise Refused("share.binding", "of another dataset or data contract")
        datacage = self.environment(environments)
        if share.person is None:
            checking = Checking(datacage, contract, dataset.person, None)
        else:
            together = self._together(datacage, contract, dataset)
            verdict = partial(together.verdict, share.id, share.person.value)
            checking = Checking(datacage, contract, dataset.person, share.person.value, verdict)
        return Arrival(Intake.begin(share, checking.write), checking)

    def _together(self, datacage: Datacage, contract: Contract, dataset: Dataset) -> Together:
        """Where small shares of people wait for their check."""
        if dataset.id not in self.together:
            check = partial(check_together, datacage, contract, dataset.person)
            self.together[dataset.id] = Together(check)
        return self.together[dataset.id]

    def arriving(self, share: bytes) -> Intake:
        """Where the frames of a share go. Raises Refused (share.chunk, enclave.*)."""
        self.in_office()
        held = self.shares.find(share)
        if held.arrival is None or held.checking:
            raise Refused("share.chunk", "the share is complete")
        return held.arrival.intake

    def end_share(self, share: bytes) -> Held:
        """All frames are in: a share whose check must end, or one with its receipt already."""
        self.in_office()
        held = self.shares.find(share)
        if held.receipt is not None:
            return held
        if held.arrival is None or held.checking:
            raise Refused("enclave.sequence", "the share is being checked, or was stored before")
        held.arrival.intake.opener.digest()  # refuses an unfinished stream
        held.checking = True
        return held

    def keep_share(self, held: Held, checked: Checked) -> bytes:
        """Count the share if it kept its contract; the receipt says either way what was found."""
        share, opener = held.share, held.arrival.intake.opener if held.arrival else None
        if opener is None:
            raise Refused("enclave.sequence")
        reading = held.arrival.checking if held.arrival else None
        held.arrival, held.checking = None, False
        held.checked, held.digest = checked, opener.digest()
        receipt = Receipt(
            share=share.id,
            chunks=opener.chunks,
            bytes=opener.size,
            rows=checked.rows,
            people=checked.people,
            excluded=opener.excluded,
            digest=held.digest,
            verdict=checked.verdict,
        )
        if held.usable:
            self.shares.count(held)
            if isinstance(reading, CodeIntake):
                self._keep_code(reading)
        else:
            self.shares.drop(held)
        held.receipt = self.feed.sign("receipt", receipt).raw
        return held.receipt

    def lacking(self, shares: Iterable[bytes]) -> tuple[bytes, ...]:
        """The shares that the host must show: this enclave has no key of them."""
        self.in_office()
        return self.shares.lacking(shares)

    def forget(self, shares: Sequence[bytes]) -> None:
        """Drop what the host erased: keys of shares, and confidential code."""
        held = [one for one in map(self.shares.held.get, shares) if one is not None]
        if any(one.share.dataset == CODE for one in held):
            self._keep_code(None)
        self.shares.forget(shares)

    def _keep_code(self, code: CodeIntake | None) -> None:
        if self.code is not None:
            self.code.abandon()
        self.code = code

    def give_back(self, held: Held) -> None:
        """The check could not be made: the owner sends the frames again."""
        held.checking = False
        held.arrival = None

    def environment(self, known: Mapping[bytes, Datacage]) -> Datacage:
        """The datacage with the agreed environment. Raises Refused (run.environment)."""
        wanted = self.parties.document.algorithm.environment
        if wanted not in known:
            raise Refused("run.environment", f"{wanted.hex()[:16]} is not on this machine")
        return known[wanted]
