"""Terms that acceptance policies compare: DPV purposes, and the countries of EU and EEA.

Curated from the W3C Data Privacy Vocabulary 2 (purposes, skos:broader). A term that is not in the
table is still usable: it is narrower than nothing but itself.
"""

from collections.abc import Iterable
from typing import Final

_RESEARCH: Final = "dpv:ResearchAndDevelopment"
_SECURITY: Final = "dpv:EnforceSecurity"
_PUBLIC: Final = "dpv:PublicBenefit"
_LEGAL: Final = "dpv:FulfilmentOfObligation"
_SERVICE: Final = "dpv:ServiceProvision"

BROADER: Final[dict[str, tuple[str, ...]]] = {
    "dpv:AcademicResearch": (_RESEARCH,),
    "dpv:ScientificResearch": (_RESEARCH,),
    "dpv:CommercialResearch": (_RESEARCH, "dpv:CommercialPurpose"),
    "dpv:NonCommercialResearch": (_RESEARCH, "dpv:NonCommercialPurpose"),
    _RESEARCH: ("dpv:Purpose",),
    "dpv:CommercialPurpose": ("dpv:Purpose",),
    "dpv:NonCommercialPurpose": ("dpv:Purpose",),
    "dpv:FraudPreventionAndDetection": ("dpv:MisusePreventionAndDetection",),
    "dpv:CounterMoneyLaundering": ("dpv:FraudPreventionAndDetection",),
    "dpv:MisusePreventionAndDetection": (_SECURITY,),
    "dpv:AntiTerrorismOperations": (_SECURITY,),
    "dpv:IdentityAuthentication": (_SECURITY,),
    _SECURITY: ("dpv:Purpose",),
    "dpv:ImproveHealthcare": (_PUBLIC,),
    "dpv:ImprovePublicServices": (_PUBLIC,),
    "dpv:ImproveTransportMobility": (_PUBLIC,),
    "dpv:CombatClimateChange": (_PUBLIC,),
    "dpv:ProvideOfficialStatistics": (_PUBLIC,),
    "dpv:PublicPolicyMaking": (_PUBLIC,),
    "dpv:DataAltruism": (_PUBLIC,),
    _PUBLIC: ("dpv:Purpose",),
    "dpv:LegalCompliance": (_LEGAL,),
    "dpv:FulfilmentOfContractualObligation": (_LEGAL,),
    _LEGAL: ("dpv:Purpose",),
    "dpv:ServiceOptimisation": (_SERVICE,),
    "dpv:ServicePersonalisation": (_SERVICE,),
    "dpv:RequestedServiceProvision": (_SERVICE,),
    _SERVICE: ("dpv:Purpose",),
}
"""Purpose -> the purposes directly above it."""

_EU: Final = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU",
    "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
})  # fmt: skip
AREAS: Final[dict[str, frozenset[str]]] = {
    "EU": _EU,
    "EEA": _EU | frozenset({"EU", "IS", "LI", "NO"}),
}
"""Area -> the ISO 3166 codes, and areas, that lie in it."""


def narrower(term: str, allowed: Iterable[str]) -> bool:
    """Whether purpose `term` is one of `allowed`, or narrower than one of them."""
    wanted, above = set(allowed), [term]
    while above:
        current = above.pop()
        if current in wanted:
            return True
        above += BROADER.get(current, ())
    return False


def lies_in(region: str, allowed: Iterable[str]) -> bool:
    """Whether `region` (ISO 3166 code or area) is one of `allowed`, or lies in one of them."""
    return any(region == area or region in AREAS.get(area, frozenset()) for area in allowed)
