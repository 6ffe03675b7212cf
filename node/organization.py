"""The form of what a registrar says of an organization: country, LEI, VAT number.

Form only: whether the number is the organization's, the registrar looks up in the registers.
"""

import re
from typing import Final

from stdnum import lei as iso_17442
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError

from protocol.errors import Refused
from protocol.kinds.identity import Claims

_COUNTRIES: Final = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""

COUNTRIES: Final = frozenset(_COUNTRIES.split())
"""ISO 3166-1 alpha-2."""

_LEI: Final = re.compile(r"[0-9A-Z]{18}[0-9]{2}", re.ASCII)


def claims(legal_name: str, country: str, lei: str | None, vat: str | None) -> Claims:
    """The claims in their one form: upper case, no blanks. Raises Refused (credential.claims)."""
    name = " ".join(legal_name.split())
    if not name:
        raise Refused("credential.claims", "the legal name is empty")
    if country.upper() not in COUNTRIES:
        raise Refused("credential.claims", f"{country[:8]!r} is no ISO 3166-1 country")
    return Claims(
        legal_name=name,
        country=country.upper(),
        lei=_lei(lei) if lei is not None else None,
        vat=_vat(vat) if vat is not None else None,
    )


def _lei(text: str) -> str:
    """ISO 17442: 18 letters and digits, then two check digits by ISO 7064 mod 97-10."""
    try:
        found = iso_17442.validate(text)
    except ValidationError as error:
        raise Refused("credential.claims", f"the LEI does not verify: {error}") from error
    if not _LEI.fullmatch(found):
        raise Refused("credential.claims", "a LEI has 18 letters or digits and 2 check digits")
    return found


def _vat(text: str) -> str:
    """The form and check digits of the country that the prefix names."""
    try:
        return eu_vat.validate(text)
    except ValidationError as error:
        raise Refused("credential.claims", f"the VAT number does not verify: {error}") from error
