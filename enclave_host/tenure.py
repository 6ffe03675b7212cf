"""Terms of office: which enclave a quorum of the parties appointed, and who stands by."""

import hashlib
from dataclasses import dataclass

from enclave_host.parties import Parties
from protocol import decision, kinds, limits, shape
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.kinds.host import Appointment, Candidacy, ElectionCertificate, EnclaveKeys


@dataclass(frozen=True, slots=True)
class Tenure:
    """One decided term: `id` is the appointment's digest, `keys` those of the elected enclave."""

    id: bytes
    appointment: Appointment
    keys: EnclaveKeys
    standbys: tuple[EnclaveKeys, ...]

    @property
    def term(self) -> int:
        """The term of the election."""
        return self.appointment.term


def read_tenure(
    parties: Parties, certificate: bytes, host: bytes, standbys: tuple[bytes, ...] = ()
) -> Tenure:
    """Verify an election certificate with the raw candidacies that it names.

    `standbys` may be left out, then none is known. Raises Refused (election.certificate, record.*,
    decision.*).
    """
    appointment, subject = _decided(parties, certificate)
    elected = _candidate(parties, host, appointment.candidacy)
    if (elected[0], enclave_id(elected[1])) != (appointment.host, appointment.enclave):
        raise Refused("election.certificate", "the candidacy is of another host or enclave")
    if standbys and len(standbys) != len(appointment.standbys):
        raise Refused("election.certificate", "not all standbys are shown")
    waiting = zip(standbys, appointment.standbys[: len(standbys)], strict=True)
    keys = tuple(_candidate(parties, raw, wanted)[1] for raw, wanted in waiting)
    return Tenure(subject, appointment, elected[1], keys)


def _decided(parties: Parties, raw: bytes) -> tuple[Appointment, bytes]:
    certificate = shape.decode(ElectionCertificate, raw, limits.FRAME)
    appointment = shape.decode(Appointment, certificate.appointment, limits.DOCUMENT)
    subject = hashlib.sha256(certificate.appointment).digest()
    if appointment.agreement != parties.id:
        raise Refused("election.certificate", "of another agreement")
    decision.verify(
        certificate.votes,
        topic=parties.id,
        subject=subject,
        slot=f"host/{appointment.term}",
        rule=parties.rule,
        histories=parties.histories,
    )
    return appointment, subject


def _candidate(parties: Parties, raw: bytes, wanted: bytes) -> tuple[bytes, EnclaveKeys]:
    """The host and the enclave keys of the candidacy with id `wanted`."""
    found = parties.of_host(raw, "candidacy")
    if found.id != wanted:
        raise Refused("election.certificate", "a candidacy that the appointment does not name")
    return found.author, kinds.read(Candidacy, found).enclave
