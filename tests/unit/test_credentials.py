"""Credentials of organizations: their form, who takes them back, and how they are shown."""

import random
from dataclasses import replace

import pytest

from node import organization
from protocol import keys, token
from protocol.credentials import cwt_claims, open_presentation
from protocol.errors import Refused
from protocol.kinds.identity import Claims, Credential, CredentialRevocation, Presentation
from protocol.kinds.space import Charter, Review
from protocol.shape import decode, encode
from protocol.topic import read_opening
from tests.agreements import AT, CAST, UNTIL
from tests.unit.test_space import CHARTER, GUEST, ZERO, Telling, retold

CHARTER_DOCUMENT = decode(Charter, CHARTER)
OTHER = "hospital-c"
"""A second registrar."""

BODY = Credential(
    subject=GUEST.did, claims=Claims(legal_name="Guest BV", country="NL"), until=UNTIL
)


TRUSTING = read_opening(
    encode(
        replace(
            CHARTER_DOCUMENT,
            terms=replace(
                CHARTER_DOCUMENT.terms, registrars=(CAST["registrar"].did, CAST[OTHER].did)
            ),
        )
    )
)
"""A space that trusts two registrars."""


def two_registrars() -> Telling:
    return Telling(TRUSTING)


# --- the form of claims -----------------------------------------------------------------------


@pytest.mark.parametrize("lei", ["213800KUD8LAJWSQ9D15", "2138 00kud8lajwsq9d15"])
def test_a_lei_has_two_check_digits(lei: str) -> None:
    found = organization.claims("Guest  BV", "nl", lei, None)
    assert found == Claims(legal_name="Guest BV", country="NL", lei="213800KUD8LAJWSQ9D15")


@pytest.mark.parametrize(
    ("country", "lei", "vat"),
    [
        ("XX", None, None),
        ("Nederland", None, None),
        ("", None, None),
        ("NL", "213800KUD8LAJWSQ9D16", None),  # a wrong check digit
        ("NL", "213800KUD8LAJWSQ9D", None),
        ("NL", "01", None),  # mod 97-10 alone would take it
        ("NL", "", None),
        ("NL", None, "NL4495446B01"),
        ("NL", None, "US123456789"),
        ("NL", None, "NL"),
        ("NL", None, ""),
        ("DE", None, "DE136695978"),
    ],
)
def test_what_has_not_the_form_of_its_standard_is_refused(
    country: str, lei: str | None, vat: str | None
) -> None:
    with pytest.raises(Refused) as caught:
        organization.claims("Guest BV", country, lei, vat)
    assert caught.value.code == "credential.claims"


@pytest.mark.parametrize(
    ("country", "vat", "kept"),
    [
        ("NL", "NL4495445B01", "NL004495445B01"),
        ("DE", "de 136 695 976", "DE136695976"),
        ("GR", "EL 094259216", "EL094259216"),
        ("GB", "XI 980 7806 84", "XI980780684"),
    ],
)
def test_a_vat_number_has_the_form_of_its_country(country: str, vat: str, kept: str) -> None:
    assert organization.claims("Guest", country, None, vat).vat == kept


def test_the_claims_of_rfc_8392() -> None:
    found = cwt_claims(issuer=GUEST.did, subject=GUEST.did, issued=1, until=9, cti=ZERO)
    did = keys.did_text(GUEST.did)
    assert found == {"iss": did, "sub": did, "iat": 1, "nbf": 1, "exp": 9, "cti": "00" * 32}
    bare = cwt_claims(issuer=GUEST.did, subject=GUEST.did, issued=None, until=9, cti=ZERO)
    assert bare == {"iss": did, "sub": did, "exp": 9, "cti": "00" * 32}


# --- who takes back ---------------------------------------------------------------------------


def test_a_registrar_takes_back_only_what_it_issued() -> None:
    told = two_registrars().found()
    made = told.say("registrar", "credential", BODY)
    taken = CredentialRevocation(credential=made.id, reason="a rival")
    told.say(OTHER, "credential-revocation", taken)
    assert told.space.credential(GUEST.did, AT) == BODY
    assert not told.space.lacks_credential(GUEST.did, AT)
    told.say("registrar", "credential-revocation", taken)
    assert told.space.credential(GUEST.did, AT) is None
    assert told.space.lacks_credential(GUEST.did, AT)
    assert not told.space.lacks_credential(CAST["registrar"].did, AT)


def test_a_revocation_before_its_credential_does_the_same() -> None:
    told = two_registrars().found()
    made = told.say("registrar", "credential", BODY)
    other = told.say(OTHER, "credential", BODY)
    for by, of in (("registrar", made), (OTHER, made), ("registrar", other)):
        told.say(by, "credential-revocation", CredentialRevocation(credential=of.id, reason=""))
    chance = random.Random(3)  # noqa: S311 (a simulation)
    for _ in range(6):
        chance.shuffle(told.told)
        space = retold(told.told, TRUSTING).space
        assert (space.revoked(made.id), space.revoked(other.id)) == (True, False)


# --- who changed its mind ---------------------------------------------------------------------


def test_a_later_rejection_takes_an_approval_back_in_any_order() -> None:
    told = Telling().found()
    for who, verdict in (("hospital-b", "approved"), ("hospital-c", "rejected")):
        told.say(who, "review", Review(bundle=ZERO, verdict=verdict, text=""))  # type: ignore[arg-type]
    assert told.space.approvals(ZERO) == [CAST["hospital-b"].did]
    # A clock that was set back does not bring the approval back: the feed is what has an order.
    told.say("hospital-b", "review", Review(bundle=ZERO, verdict="rejected", text=""), AT - 100)
    told.say("hospital-b", "review", Review(bundle=bytes([1] * 32), verdict="approved", text=""))
    told.say("hospital-c", "review", Review(bundle=ZERO, verdict="approved", text=""))
    chance = random.Random(4)  # noqa: S311 (a simulation)
    for _ in range(4):
        chance.shuffle(told.told)
        assert retold(told.told).space.approvals(ZERO) == [CAST["hospital-c"].did]


# --- shown to others --------------------------------------------------------------------------


def presentation(**changes: object) -> bytes:
    told = Telling().found()
    made = told.say("registrar", "credential", BODY)
    said = {
        "credential": made.raw,
        "registrar": CAST["registrar"].participant.raw,
        "subject": GUEST.participant.raw,
        "to": "the ethics board",
        "at": AT,
    }
    return token.sign(GUEST.signing, "presentation", Presentation(**{**said, **changes}))  # type: ignore[arg-type]


def test_a_presentation_names_registrar_and_organization() -> None:
    found = open_presentation(presentation())
    assert found.credential == BODY
    assert (found.registrar.name, found.subject.name) == ("registrar", GUEST.name)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"registrar": CAST["hospital-a"].participant.raw}, "credential.issuer"),
        ({"subject": CAST["hospital-a"].participant.raw}, "credential.subject"),
        ({"credential": CAST["hospital-a"].participant.raw}, "record.kind"),
        ({"credential": b""}, "codec.malformed"),
    ],
)
def test_a_presentation_that_does_not_fit_together_is_refused(
    changes: dict[str, bytes], code: str
) -> None:
    with pytest.raises(Refused) as caught:
        open_presentation(presentation(**changes))
    assert caught.value.code == code


def test_nobody_shows_the_credential_of_another() -> None:
    stolen = open_presentation(presentation()).said
    raw = token.sign(CAST["hospital-b"].signing, "presentation", stolen)
    with pytest.raises(Refused) as caught:
        open_presentation(raw)
    assert caught.value.code == "credential.subject"
