"""What records of every family share: votes and refusals."""

from dataclasses import dataclass
from typing import Literal

from protocol.shape import Document, Hash, Name, Text, Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote: yes or no to a subject in a slot.

    `subject` is the digest of what is decided; `document` its exact bytes where voters compute it
    themselves (an appointment); `identity` the id of the identity record that delegates the voting
    key; `reason` words for people.
    """

    slot: Name
    subject: Hash
    choice: Literal["yes", "no"]
    identity: Hash
    document: Document | None = None
    reason: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An explainable refusal: which rule said no to what, who set the rule, what would fix it.

    `code` is a key of protocol.errors.RULES; `about` says what was refused in words ("run 3");
    `subject` is the id of the refused thing, `party` the participant whose act it was.
    """

    code: Name
    about: Name
    set_by: Name
    detail: Text
    fix: Text
    at: Time
    subject: Hash | None = None
    party: Hash | None = None
