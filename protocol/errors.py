"""The one error tree of the protocol, and the one list of what may be refused and why.

Every refusal carries a stable code. `RULES` says for each code which rule was broken, in one
sentence for an operator, and what would fix it; docs/protocol.md cites the same codes.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code means: the rule in words, and what would make the refusal go away."""

    sentence: str
    fix: str


class ProtocolError(Exception):
    """Root of every error that this package raises on purpose; `code` is stable."""

    code: str = "protocol"


class Refused(ProtocolError):
    """A rule said no. `code` is a key of `RULES`; `set_by` names whose rule it is."""

    def __init__(self, code: str, detail: str = "", *, set_by: str = "protocol") -> None:
        """Refuse by `code`; `detail` says what was seen, without any data of a person."""
        self.code = code
        self.detail = detail
        self.set_by = set_by
        super().__init__(f"{code}: {detail or RULES[code].sentence}")

    @property
    def rule(self) -> Rule:
        """The rule behind the code."""
        return RULES[self.code]


class Misuse(Exception):
    """Our own code called a function wrongly: a bug, never a peer's fault."""


RULES: Final[dict[str, Rule]] = {
    # --- bytes -------------------------------------------------------------------------------
    "codec.too-large": Rule("A message is larger than its bound.", "Send less, or split it."),
    "codec.malformed": Rule(
        "The bytes are not CBOR of the allowed types.", "Encode as docs/protocol.md section 1 says."
    ),
    "codec.not-deterministic": Rule(
        "The bytes are not the one deterministic encoding of their value.",
        "Use RFC 8949 section 4.2.1.",
    ),
    "shape.mismatch": Rule(
        "A document does not have the shape of its kind.",
        "Compare with protocol/records.cddl; both sides may need the same version.",
    ),
    # --- records -----------------------------------------------------------------------------
    "record.algorithm": Rule(
        "A record must be signed with Ed25519 and name exactly that algorithm and its key.",
        "Sign with the protected header of docs/protocol.md.",
    ),
    "record.signature": Rule(
        "The signature does not verify over the exact signed bytes.",
        "Nothing can be fixed at the receiver: the sender's copy is altered or forged.",
    ),
    "record.body": Rule(
        "The body does not match the digest in the signed header.",
        "Ask another member for the record.",
    ),
    "record.version": Rule(
        "The record has a format version that this node does not know.", "Update the node."
    ),
    "record.kind": Rule(
        "The kind of record is unknown, or not allowed in this topic.",
        "Update the node, or send the record to its own topic.",
    ),
    "record.clock": Rule("The record is dated too far in the future.", "Set the sender's clock."),
    "record.author": Rule(
        "The author or its key is not known, or not valid, in this topic.",
        "The author must be admitted, and its key delegated by its identity record.",
    ),
    "record.gap": Rule(
        "A record came before its predecessor in the feed.",
        "None needed: sync brings the predecessor, then the record again.",
    ),
    "record.proof": Rule(
        "A proof of equivocation must hold two different headers by one key for one place.",
        "Nothing to do here; who sent it has a fault, or lies.",
    ),
    "record.equivocation": Rule(
        "Two different records hold one place in a feed.",
        "The author is barred until the members decide otherwise.",
    ),
    "record.policy": Rule(
        "The author has no right to publish this record.",
        "See the role that the charter or the agreement gives the author.",
    ),
    "topic.unknown": Rule(
        "The topic is not known here, and its opening was not given.",
        "Send the topic's opening first.",
    ),
    "topic.opening": Rule(
        "The opening does not define this topic, or is not signed as its rule asks.",
        "Send the exact opening document with its certificate.",
    ),
    # --- identity ----------------------------------------------------------------------------
    "identity.root": Rule(
        "An identity must be signed by the root key that it is about.",
        "Export the identity again on the machine that holds the root.",
    ),
    "identity.keys": Rule(
        "An identity must delegate exactly one voting key, within its validity.",
        "Renew the delegation with village key renew.",
    ),
    "identity.chain": Rule(
        "A root key signed two identities for one revision, or one that does not follow.",
        "Its participant must come back under a new root: members decide.",
    ),
    "identity.retired": Rule(
        "The key was taken back by its owner, and this record stands beyond its pinned head.",
        "The author signs with its new key; see village key show.",
    ),
    "identity.expired": Rule(
        "The delegation of the key had ended when the record was dated.",
        "Renew the delegation with village key renew.",
    ),
    "credential.issuer": Rule(
        "The credential's issuer is not a registrar that this space or agreement trusts.",
        "Get a credential from a trusted registrar.",
    ),
    "credential.expired": Rule(
        "The credential is expired or revoked.", "Ask the registrar to renew it."
    ),
    "credential.subject": Rule(
        "The credential is about another key.", "Present the credential issued to this key."
    ),
    "credential.claims": Rule(
        "A claim about an organization has not the form of its standard.",
        "Correct the country, LEI or VAT number, as the register shows it.",
    ),
    "enrolment.code": Rule(
        "The enrolment code is unknown, used or expired.", "Ask the registrar for a new letter."
    ),
    # --- decisions ---------------------------------------------------------------------------
    "decision.voter": Rule(
        "A vote is by someone who is no voter of this decision, or by a key that may not vote.",
        "Only the voters named by the rule count.",
    ),
    "decision.subject": Rule(
        "A vote is for another subject or slot.", "Collect votes for exactly this subject."
    ),
    "decision.quorum": Rule("Too few distinct voters said yes.", "Collect the missing votes."),
    "decision.exclusive": Rule(
        "A voter said yes to two subjects in one exclusive slot.",
        "The two votes prove who lied; the voter is barred.",
    ),
    # --- space -------------------------------------------------------------------------------
    "space.invite": Rule(
        "The invite is unknown, for another key or role, or expired.",
        "Ask a member for a new invite.",
    ),
    "space.recovery": Rule(
        "Only guardians whom the participant named recover it, and only its own keys veto.",
        "See the guardians with village key show.",
    ),
    "space.member": Rule(
        "The participant is not a member of the space.", "Join by invite, and be admitted by vote."
    ),
    "space.epoch": Rule(
        "The record names an epoch of the space that is not known here.",
        "None needed: sync brings the change that began it, then the record again.",
    ),
    "space.change": Rule(
        "A change of the space must name each voter of its epoch once: as staying, or as removed.",
        "Propose it again with village space change.",
    ),
    "space.removed": Rule(
        "Its author left the space or was removed, and this record stands after that.",
        "A member can invite the participant again, with a new voting key.",
    ),
    "space.credential": Rule(
        "The charter asks for a valid credential by a trusted registrar.",
        "Ask the registrar named in the charter.",
    ),
    # --- negotiation -------------------------------------------------------------------------
    "agreement.party": Rule(
        "The author is not a party of the agreement.", "Only parties may propose, counter and sign."
    ),
    "agreement.version": Rule(
        "Only the newest version of a proposal can be accepted.",
        "Fetch the newest version and look at the difference.",
    ),
    "agreement.document": Rule(
        "The agreement document is contradictory or incomplete.",
        "See the detail; correct the document and propose again.",
    ),
    "algorithm.bundle": Rule(
        "An algorithm bundle has paths, files or entry points that do not hold together.",
        "See the detail; `village algorithm check` names every fault with file and line.",
    ),
    "algorithm.sealed": Rule(
        "A sealed bundle is not the one that it says, or holds something else.",
        "Do not approve it; its author must publish it again.",
    ),
    "algorithm.reader": Rule(
        "This confidential algorithm was not sealed to this participant.",
        "Its author names reviewers: village algorithm publish --confidential --reviewers.",
    ),
    "algorithm.sql": Rule(
        "A query of an SQL algorithm does more than read its inputs, or is no SQL of DuckDB.",
        "See the detail: file, line, and what to write instead; `village algorithm check` too.",
    ),
    "agreement.context": Rule(
        "The JSON-LD context of an output is not of the part of JSON-LD that is used here.",
        "Map each property of the output model to an IRI or to null, inline, in one @context.",
    ),
    "agreement.certificate": Rule(
        "Not every party signed this digest.", "Collect the missing signatures."
    ),
    "agreement.ended": Rule(
        "The agreement is expired, suspended or terminated.",
        "Resume, renew or make a new agreement.",
    ),
    "rules.unknown": Rule(
        "An output rule has no declared direction, so it cannot be merged.",
        "Use the rules of protocol.terms.DIRECTIONS, or update the node.",
    ),
    "rules.incomplete": Rule(
        "Nobody named a value for an output rule.",
        "Name every rule under rules in the agreement.",
    ),
    "agreement.space": Rule(
        "The proposal is for another space, negotiation or set of members.",
        "Propose it in the negotiation that the document names.",
    ),
    "agreement.closed": Rule(
        "All parties signed a version: the negotiation is over.",
        "Amend the agreement, or open a new negotiation.",
    ),
    "policy.refused": Rule(
        "The node's acceptance policy does not allow this.",
        "Change the proposal, or the policy file of the party named.",
    ),
    "algorithm.review": Rule(
        "The algorithm has fewer independent reviews than the agreement or a policy asks.",
        "Ask a named reviewer for village algorithm review.",
    ),
    # --- attestation and election ------------------------------------------------------------
    "evidence.technology": Rule(
        "The attestation policy does not accept this technology.",
        "Use a host with a technology that the agreement names.",
    ),
    "evidence.malformed": Rule(
        "The evidence cannot be read.", "The host must send what its hardware produced, unaltered."
    ),
    "evidence.signature": Rule(
        "A signature in the evidence does not verify.",
        "The host must produce genuine evidence.",
    ),
    "evidence.chain": Rule(
        "The certificates do not lead to the vendor's pinned root, or are not valid now.",
        "The host must send the vendor's current certificates with its evidence.",
    ),
    "evidence.revoked": Rule(
        "The vendor revoked a certificate of this machine.",
        "Take the machine out of use and ask its vendor.",
    ),
    "evidence.collateral": Rule(
        "The vendor's collateral or revocation list is missing, out of date or altered.",
        "The host must fetch current collateral and send it with its evidence.",
    ),
    "evidence.tcb": Rule(
        "The machine's firmware or microcode is older than the policy allows.",
        "Update firmware and microcode of the host, or change the policy.",
    ),
    "evidence.debug": Rule(
        "The enclave runs in debug mode: its host can read its memory.",
        "Start the enclave without debug mode.",
    ),
    "evidence.platform": Rule(
        "The policy does not name this machine, or the evidence does not say which it is.",
        "Use a machine that the policy names under platforms.",
    ),
    "evidence.withdrawn": Rule(
        "An advisory of the space withdraws this measurement, machine or security version.",
        "village advisory list shows it; move to software or firmware that it does not name.",
    ),
    "evidence.binding": Rule(
        "The evidence is not bound to this agreement, term, nonce, host and these keys.",
        "Ask the enclave for fresh evidence.",
    ),
    "evidence.measurement": Rule(
        "The enclave runs software that the agreement does not name.",
        "Install the agreed version of village-enclave.",
    ),
    "evidence.stale": Rule(
        "The evidence is older than the agreement allows.", "Ask the enclave for fresh evidence."
    ),
    "evidence.policy": Rule(
        "The attestation policy is empty, allows all, or is malformed.",
        "Name technologies and measurements in the agreement.",
    ),
    "advisory.author": Rule(
        "Only an advisor of the space publishes advisories, and only its author withdraws one.",
        "Ask an advisor named in the space's terms, or change the terms.",
    ),
    "advisory.malformed": Rule(
        "An advisory names one technology, one thing about it, and why.",
        "Name registers, a platform or security versions, and a reason.",
    ),
    "host.unreachable": Rule(
        "The candidate did not answer the challenge in time.",
        "Start the host's node and its enclave.",
    ),
    "host.candidate": Rule(
        "The host is not a candidate of this agreement.",
        "Only hosts named in the agreement can be elected.",
    ),
    "host.limits": Rule(
        "A run may use more than this host allows.",
        "Raise [limits] in the enclave's configuration, or agree on less.",
    ),
    "term.fenced": Rule(
        "The term has ended: a later term is known.",
        "Only the enclave of the newest election certificate is served.",
    ),
    "term.promise": Rule(
        "A party promised never to answer a lower term again.",
        "The host of the newest term must ask.",
    ),
    "election.certificate": Rule(
        "The election certificate does not appoint this enclave for this term.",
        "Show the certificate of the newest term.",
    ),
    # --- shares ------------------------------------------------------------------------------
    "share.signature": Rule(
        "A share must be signed by its owner.", "Only the owner's node or vault can push a share."
    ),
    "share.binding": Rule(
        "The share is for another agreement, dataset, owner or enclave.",
        "Push the share again under this agreement.",
    ),
    "share.wrap": Rule(
        "The share key is not wrapped to this enclave, or the wrap does not open.",
        "The owner's node must wrap the key to the elected enclave.",
    ),
    "share.commitment": Rule(
        "The share key does not match the commitment in the header.",
        "The owner must push the share again.",
    ),
    "share.chunk": Rule(
        "A chunk is altered, repeated, missing, too large or out of order.",
        "Resume the push; it continues at the last verified chunk.",
    ),
    "share.unfinished": Rule("The share was cut off before its final frame.", "Resume the push."),
    "share.changed": Rule("The source changed since the push began.", "Start a new push."),
    "share.contract": Rule(
        "The rows do not keep the data contract.",
        "village share show tells the provider which rule and how many rows.",
    ),
    "share.provider": Rule(
        "This participant is not a provider of this dataset.",
        "Only providers named in the agreement may push.",
    ),
    "share.busy": Rule(
        "The share is on its way already, or too many shares are.",
        "None needed: the sender tries again by itself.",
    ),
    "share.full": Rule(
        "There is no room on the host's disk for this share.",
        "The host raises limits.disk, or ends agreements that are over.",
    ),
    # --- people ------------------------------------------------------------------------------
    "consent.missing": Rule(
        "A person's share needs that person's valid consent.",
        "The person gives consent with village consent give.",
    ),
    "consent.signature": Rule(
        "The consent is not signed by the person's key of this agreement.",
        "Give consent from the vault that holds the key.",
    ),
    "consent.scope": Rule(
        "The consent is for another agreement, notice or window of runs.", "Ask the person again."
    ),
    "consent.withdrawn": Rule(
        "The person withdrew this consent.", "None: a new consent is the person's free choice."
    ),
    "person.duplicate": Rule(
        "One person counts once: the person tag is in use by another share.",
        "Use the share that is there, or withdraw it first.",
    ),
    # --- runs --------------------------------------------------------------------------------
    "run.order": Rule(
        "The order is not by a party that the agreement names, or its parameters are not allowed.",
        "See runs.by and the entry's parameters in the agreement.",
    ),
    "run.budget": Rule("The agreed number of runs or attempts is used up.", "Amend the agreement."),
    "run.statements": Rule(
        "Too few parties made a valid statement for this run and term.",
        "The missing parties' nodes must be up.",
    ),
    "run.hidden-stop": Rule(
        "The run ignores a withdrawal or suspension that a party holds.",
        "The host must pass every statement and stop to the enclave.",
    ),
    "run.code": Rule(
        "The algorithm's bundle has not the digest that all parties agreed on.",
        "Load the agreed bundle.",
    ),
    "run.overlap": Rule(
        "One person is in two shares of a dataset, and the agreement refuses that.",
        "Owners compare whom they hold; or agree on overlap: vault, or keep.",
    ),
    "run.environment": Rule(
        "The environment has not the digest that all parties agreed on.",
        "Build the agreed environment.",
    ),
    "run.combine": Rule(
        "Data of several organizations meet only where the agreement's processing has dpv:Combine.",
        "Add dpv:Combine to the purpose.",
    ),
    "run.share-missing": Rule(
        "A share that the run needs is not here or its key is gone.",
        "Its owner must push or wrap it again.",
    ),
    "run.slot": Rule("This run number has a record already.", "None: a number is used once."),
    "run.votes": Rule(
        "Outputs leave only after a quorum of parties voted for the run record.",
        "Collect the missing votes.",
    ),
    "run.adopted": Rule(
        "A record of an earlier term must be adopted, and it cannot be computed again here.",
        "Give the enclave the shares and the leaves of that run; until then the number stays open.",
    ),
    "run.failed": Rule(
        "The algorithm failed or broke a limit.",
        "village algorithm try shows the author what happened.",
    ),
    "run.attempts": Rule(
        "The agreed attempts at this run number are used up; it ends as void, and nothing ran.",
        "Find out why its hosts failed, then order it again: village run retry ORDER.",
    ),
    "run.expired": Rule(
        "The order did not start by its deadline.",
        "Order it again with a later deadline: village run retry ORDER.",
    ),
    "run.trigger": Rule(
        "The order does not fit the trigger of the agreement that it names.",
        "Order what the trigger says, once, and not before it is due.",
    ),
    "run.queue": Rule(
        "A party has as many orders waiting as it may.",
        "Wait for one of them to run, or take one back: village run cancel ORDER.",
    ),
    "run.overdue": Rule(
        "A run started and had no run record within the agreed time.",
        "None: its term is given up, and the next host tries again.",
    ),
    "run.proof": Rule(
        "The proof of use or absence does not lead to the root in the run record.",
        "Ask another party for the leaves of the run.",
    ),
    # --- gate --------------------------------------------------------------------------------
    "gate.schema": Rule(
        "An output does not match the agreed output model.",
        "The algorithm must return what the output model describes.",
    ),
    "gate.min-contributors": Rule(
        "The result rests on fewer people than the strictest party allows.",
        "Wait for more contributors.",
    ),
    "gate.small-cells": Rule(
        "A cell of a table counts fewer people than the strictest party allows.",
        "Use a coarser table.",
    ),
    "gate.min-change": Rule(
        "The result differs from a released one by too few people.",
        "Wait until at least min_change people differ.",
    ),
    "gate.quota": Rule("The output is larger than agreed.", "Return less."),
    "gate.budget": Rule(
        "The noise budget of a recipient is used up.",
        "Agree on a larger epsilon in all; what was charged stays charged.",
    ),
    "gate.recipient": Rule(
        "An output has no agreed recipient.", "Name the recipient in the agreement."
    ),
    "gate.lineage": Rule(
        "The record of earlier released results is lost, so min_change cannot be checked.",
        "A host whose enclave has it must take over; else agree on a new version of the agreement.",
    ),
    # --- datacage ----------------------------------------------------------------------------
    "cage.no-tier": Rule(
        "No tier of the sandbox holds on this machine.",
        "village-enclave doctor names what each tier lacks.",
    ),
    # --- audit -------------------------------------------------------------------------------
    "audit.malformed": Rule(
        "The file is not a Village audit bundle, receipt or record.", "Export it again."
    ),
    "audit.altered": Rule(
        "A record, certificate or head in the bundle is altered.",
        "Get the bundle from another party and compare.",
    ),
    "audit.incomplete": Rule(
        "The bundle lacks records that its heads name.", "Export it again after sync."
    ),
    "audit.manifest": Rule(
        "The heads of the bundle are not signed by a known participant.",
        "Ask a party of the agreement for village audit export.",
    ),
    "audit.verdict": Rule(
        "A verdict says something else than the evidence that it names.",
        "Ask the party that signed the verdict.",
    ),
    "audit.run": Rule("A run broke a rule of the protocol.", "Take it up with the parties named."),
    # --- doors of the node -------------------------------------------------------------------
    "session.request": Rule(
        "The request is unknown or malformed.", "Update the node that sent it."
    ),
    "session.audience": Rule(
        "The peer is not in the audience of this topic.",
        "Only the parties and hosts of an agreement see its records.",
    ),
    "session.unable": Rule(
        "The node cannot do what was asked: its store is full, or its enclave is away.",
        "Ask again later; the operator of that node sees why in its log.",
    ),
    "door.busy": Rule(
        "A peer asks for more at once, or faster, than this door allows.",
        "Wait a little, then ask again.",
    ),
    "mailbox.proof": Rule(
        "The mailbox opens only to its own key, by a fresh nonce of this gateway.",
        "Ask the gateway for a nonce and sign it with the mailbox key.",
    ),
    "enclave.sequence": Rule(
        "The request does not fit what the enclave is doing.",
        "Follow the order in protocol/enclave_wire.py.",
    ),
    "enclave.full": Rule(
        "The memory that the enclave sets aside for open data is full.",
        "Raise limits.data in the enclave's configuration, or push fewer shares at once.",
    ),
    "enclave.unreachable": Rule(
        "The node of the host cannot reach its enclave.", "Start village-enclave on the host."
    ),
    "enclave.broken": Rule(
        "The enclave could not do its work; nothing was opened or released.",
        "village-enclave doctor says what is wrong with the machine.",
    ),
    "enclave.attester": Rule(
        "The technology that the enclave attests by is absent, or gave no evidence.",
        "village-enclave doctor says which are there; name one under [attestation].",
    ),
    "enclave.frame": Rule(
        "The frame is unknown or malformed.", "Use a node and an enclave of the same version."
    ),
}
