"""The bytes of a SEV-SNP attestation report (AMD 56860, table 23), versions 2 to 5."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SIZE: Final = 0x4A0
SIGNED: Final = 0x2A0
"""Bytes at the front that the signature covers."""

_COMPONENTS: Final = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
_COMPONENTS_TURIN: Final = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}

SIGNERS: Final = {0: "vcek", 1: "vlek"}
"""Value of the field SIGNING_KEY -> kind of the certificate."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report of SIZE bytes; names are AMD's. Nothing is checked."""

    raw: bytes

    def number(self, place: int, size: int = 4) -> int:
        """The little-endian number of `size` bytes at `place`."""
        return int.from_bytes(self.raw[place : place + size], "little")

    def bit(self, place: int, index: int) -> bool:
        """Bit `index` of the 64-bit field at `place`."""
        return bool(self.number(place, 8) >> index & 1)

    @property
    def version(self) -> int:
        """VERSION of the report's format."""
        return self.number(0x00)

    @property
    def policy(self) -> int:
        """POLICY that the guest was started with."""
        return self.number(0x08, 8)

    @property
    def vmpl(self) -> int:
        """VMPL that asked for the report: 0 to 3, all ones if the host did."""
        return self.number(0x30)

    @property
    def algorithm(self) -> int:
        """SIGNATURE_ALGO: 1 is ECDSA P-384 with SHA-384."""
        return self.number(0x34)

    @property
    def signer(self) -> str:
        """The kind of key that signed: vcek, vlek, none or unknown."""
        value = self.number(0x48) >> 2 & 7
        return SIGNERS.get(value, "none" if value == 7 else "unknown")

    @property
    def masked(self) -> bool:
        """MASK_CHIP_KEY: the host switched signing off."""
        return bool(self.number(0x48) >> 1 & 1)

    @property
    def report_data(self) -> bytes:
        """REPORT_DATA: 64 bytes that the guest gave."""
        return self.raw[0x50:0x90]

    @property
    def registers(self) -> Mapping[str, bytes]:
        """What was measured, and what identifies the guest."""
        return {
            "measurement": self.raw[0x90:0xC0],
            "host_data": self.raw[0xC0:0xE0],
            "id_key_digest": self.raw[0xE0:0x110],
            "author_key_digest": self.raw[0x110:0x140],
            "report_id": self.raw[0x140:0x160],
        }

    @property
    def cpu(self) -> tuple[int, int, int]:
        """CPUID family, model and stepping; zero before version 3."""
        family, model, stepping = self.raw[0x188:0x18B]
        return family, model, stepping

    @property
    def chip_id(self) -> bytes:
        """CHIP_ID: 64 bytes; on Turin 8, then zeros; all zero if masked."""
        return self.raw[0x1A0:0x1E0]

    @property
    def signature(self) -> tuple[int, int]:
        """R and S: 72 little-endian bytes each."""
        return self.number(SIGNED, 72), self.number(SIGNED + 72, 72)

    @property
    def padding(self) -> bytes:
        """All bytes of the signature's field that must be zero."""
        field = self.raw[SIGNED:]
        return field[48:72] + field[120:]

    def versions(self, name: str, generation: str) -> dict[str, int]:
        """The security versions of a TCB field by component; Turin has its own layout."""
        place = {"current": 0x38, "reported": 0x180, "committed": 0x1E0, "launch": 0x1F0}[name]
        layout = _COMPONENTS_TURIN if generation == "turin" else _COMPONENTS
        return {component: self.raw[place + index] for component, index in layout.items()}

    def generation(self) -> str | None:
        """What CPUID says; None if it says nothing known, or the version has no CPUID."""
        family, model, _ = self.cpu
        match family:
            case 0x19 if model <= 0x0F:
                return "milan"
            case 0x19 if 0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF:
                return "genoa"
            case 0x1A if model <= 0x11:
                return "turin"
            case _:
                return None
