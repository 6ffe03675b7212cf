"""The agreement as people write it: YAML -> the document that parties sign, and its blobs.

Participants stand by petname ("@sponsor"), files by path relative to the agreement's file, digests
as "sha256:..." or by a name that the node knows (an environment, the enclave's software).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast, get_args

from node.config import FILE, ConfigError, Problem
from node.documents import algorithm_bundle, attestation, strict_yaml
from node.documents.agreement_limits import read_limits
from node.documents.agreement_logs import read_logs
from node.documents.agreement_rules import read_format, read_rules
from node.documents.agreement_runs import read_runs
from node.documents.fields import SHA256, Problems, Table, read_digest
from protocol import limits, shape
from protocol.identity import Participant
from protocol.kinds import agreement as k
from protocol.kinds.algorithm import Bundle, Parameter
from protocol.kinds.consent import Notice
from protocol.kinds.identity import Role
from protocol.terms import DIRECTIONS

SUBJECT: Final = "data-subject"
_MANY: Final = 2**31
_ROLES: Final = frozenset(get_args(Role))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an agreement file cannot say itself.

    `author`: did of who proposes; `names`: petname without @ -> participant; `digests`: name ->
    digest of environments and of enclave software; `start`: unix seconds; `salt`: 32 random bytes;
    `sealed`: provider and digest of a confidential bundle -> digest of its sealed form.
    """

    author: bytes
    space: bytes
    negotiation: bytes
    names: Mapping[str, Participant]
    digests: Mapping[str, bytes]
    start: int
    salt: bytes
    sealed: Mapping[tuple[bytes, bytes], bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A document ready to propose; `blobs` (digest -> bytes) are to be published with it.

    `bundle` is there if the bundle was packed from a folder.
    """

    document: k.Agreement
    blobs: Mapping[bytes, bytes]
    bundle: Bundle | None


def load(path: Path, setting: Setting) -> Draft:
    """Read an agreement file. Raises ConfigError with every problem.

    Whether the document is sound is for protocol.consistency.
    """
    value, lines = strict_yaml.load(_bytes(path, FILE), path.name)
    problems = Problems(path.name, lines)
    reading = _Reading(path.parent, setting)
    document = reading.document(problems.table(value))
    problems.check()
    return Draft(document=document, blobs=reading.blobs, bundle=reading.bundle)


def _bytes(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        detail = f"Cannot read: {error.strerror}."
        raise ConfigError(path.name, [Problem(0, "", detail, "Check the path.")]) from error
    if len(data) > size:
        raise ConfigError(path.name, [Problem(0, "", "The file is too large.", f"At most {size}.")])
    return data


@dataclass(slots=True)
class _Reading:
    """One pass over the file, which collects the blobs on its way."""

    folder: Path
    setting: Setting
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    bundle: Bundle | None = None

    def document(self, top: Table) -> k.Agreement:
        """The document; where a problem was found, an empty value stands in its place."""
        own = self.setting
        sources = (k.RuleSource(rule=rule, party=own.author) for rule in DIRECTIONS)
        return k.Agreement(
            name=top.text("agreement"),
            space=own.space,
            negotiation=own.negotiation,
            start=own.start,
            purpose=_purpose(top.table("purpose")),
            parties=self._parties(top.table("parties")),
            people=self._people(top),
            datasets=self._datasets(top.tables("data")),
            algorithm=self._algorithm(top.table("algorithm")),
            outputs=self._outputs(top.tables("outputs")),
            logs=read_logs(top, self._dids),
            limits=read_limits(top),
            rules=read_rules(top),
            rule_sources=tuple(sources),
            runs=read_runs(top.table("runs"), self._dids, self._file),
            attestation=attestation.read(top.table("attestation"), self.setting.digests),
            hosts=self._hosts(top.table("host")),
            retention=top.table("end").duration("retention"),
            salt=own.salt,
        )

    def _parties(self, table: Table) -> tuple[k.Party, ...]:
        parties = []
        for name in table:
            party, found = table.table(name), self._participant(table, name, name)
            roles = party.texts("roles")
            if not _ROLES.issuperset(roles):
                party.problem("roles", "A role is unknown.", f"Of: {', '.join(sorted(_ROLES))}.")
            gdpr = party.text("gdpr", "none")
            if found is not None:
                parties.append(
                    k.Party(
                        did=found.did,
                        name=name[1:],
                        vote_key=found.vote_key,
                        identity=found.id,
                        roles=cast("tuple[Role, ...]", roles),
                        gdpr=gdpr,
                    )
                )
        return tuple(parties)

    def _people(self, top: Table) -> k.People | None:
        if not top.has("people"):
            return None
        table = top.table("people")
        registrar = self._participant(table, table.text("registrar"), "registrar")
        category, window = table.text("category"), table.number("window", 1, _MANY)
        notice = self._notice(table)
        if registrar is None:
            return None
        return k.People(
            registrar=registrar.did,
            registrar_keys=tuple(sorted(registrar.record_keys)),
            category=category,
            notice=notice,
            window=window,
        )

    def _notice(self, table: Table) -> bytes:
        """The digest of the notice; its language stands in the name, as in consent.nl.md."""
        name = table.text("notice")
        parts, text = name.split("."), self._read(table, "notice", name)
        if len(parts) != 3 or not 2 <= len(parts[1]) <= 8:
            table.problem("notice", "The name has no language.", "As in consent.nl.md.")
        if len(text) > limits.TEXT:
            table.problem("notice", f"The notice is longer than {limits.TEXT} bytes.")
        try:
            notice = Notice(language=parts[-2] if len(parts) > 1 else "", text=text.decode())
        except UnicodeDecodeError:
            table.problem("notice", "The notice is not UTF-8.")
            return bytes(32)
        return self._keep(shape.encode(notice))

    def _datasets(self, tables: Mapping[str, Table]) -> tuple[k.Dataset, ...]:
        return tuple(
            k.Dataset(
                id=name,
                contract=self._file(table, "contract"),
                person=table.text("person"),
                sources=self._sources(table.table("from")),
                overlap=cast("k.Overlap", table.choice("overlap", get_args(k.Overlap), "keep")),
            )
            for name, table in tables.items()
        )

    def _sources(self, table: Table) -> tuple[k.Source, ...]:
        sources = []
        for name in table:
            source = table.table(name)
            basis = source.text("legal_basis")
            if name == "people":
                sources.append(k.Source(legal_basis=basis, waits=False))
                continue
            waits = source.flag("waits", default=True)
            found = self._participant(table, name, name)
            if found is not None:
                sources.append(k.Source(did=found.did, legal_basis=basis, waits=waits))
        return tuple(sources)

    def _algorithm(self, table: Table) -> k.Algorithm:
        confidential = table.flag("confidential", default=False)
        digest = self._bundle(table, confidential=confidential)
        environment = table.digest("environment", self.setting.digests)
        reviews = table.table("reviews")
        entries = (
            k.AgreedEntry(name=name, parameters=_parameters(entry))
            for name, entry in table.tables("entry").items()
        )
        provider = self._participant(table, table.text("provider"), "provider")
        return k.Algorithm(
            bundle=digest,
            environment=environment,
            provider=bytes(32) if provider is None else provider.did,
            entries=tuple(entries),
            reviews_needed=reviews.number("at_least", 0, limits.PARTIES),
            reviewers=self._dids(reviews, "by"),
            sealed=self._sealed(table, provider, digest) if confidential else None,
        )

    def _sealed(self, table: Table, provider: Participant | None, bundle: bytes) -> bytes:
        """The digest of the sealed form that the provider of a confidential bundle published."""
        found = None if provider is None else self.setting.sealed.get((provider.did, bundle))
        if found is None:
            fix = "Its provider does: village algorithm publish --confidential."
            table.problem("confidential", "Nobody published this bundle sealed.", fix)
        return found or bytes(32)

    def _bundle(self, table: Table, *, confidential: bool) -> bytes:
        """The digest of the bundle: given, or of the folder that is packed here. A confidential
        one is no blob: others would fetch it.
        """
        text = table.text("bundle")
        if text.startswith(SHA256):
            return table.digest("bundle", {})
        path = self._path(table, "bundle", text)
        if path is None:
            return bytes(32)
        packed = algorithm_bundle.pack(path, self.setting.digests)
        self.bundle = packed.bundle
        return packed.digest if confidential else self._keep(packed.raw)

    def _outputs(self, tables: Mapping[str, Table]) -> tuple[k.Output, ...]:
        outputs = []
        for name, table in tables.items():
            form = read_format(table)
            to = table.texts("to", () if form == "state" else None)
            dids = tuple(did for one in to if one != SUBJECT for did in self._did(table, one, "to"))
            output = k.Output(
                name=name,
                format=form,
                schema=None if form == "state" else self._schema(table, name),
                context=self._file(table, "context") if table.has("context") else None,
                to=dids,
                subject=SUBJECT in to,
            )
            outputs.append(output)
        return tuple(outputs)

    def _schema(self, table: Table, output: str) -> bytes:
        """The digest of the output model: the file named here, else the one in the bundle."""
        models = (
            {one.output: one.file for one in self.bundle.manifest.models} if self.bundle else {}
        )
        if table.has("schema") or self.bundle is None or output not in models:
            return self._file(table, "schema")
        return self._keep(self.bundle.files[models[output]])

    def _hosts(self, table: Table) -> k.Hosts:
        candidates = []
        rows = table.table("candidates")
        for name in rows:
            region, found = rows.table(name).text("region"), self._participant(rows, name, name)
            if found is not None:
                candidates.append(
                    k.Candidate(
                        did=found.did,
                        name=name[1:],
                        vote_key=found.vote_key,
                        identity=found.id,
                        region=region,
                    )
                )
        return k.Hosts(
            candidates=tuple(candidates),
            lease=table.duration("lease") * 1000,
            standbys=table.number("standbys", 0, limits.PARTIES),
        )

    # --- participants and files -----------------------------------------------------------------

    def _participant(self, table: Table, name: str, key: str) -> Participant | None:
        found = self.setting.names.get(name[1:]) if name.startswith("@") else None
        if found is None and name:
            known = ", ".join(f"@{one}" for one in sorted(self.setting.names)[:16])
            table.problem(key, f"{name[:40]!r} is nobody known here.", f"Known are: {known}.")
        return found

    def _did(self, table: Table, name: str, key: str) -> tuple[bytes, ...]:
        found = self._participant(table, name, key)
        return () if found is None else (found.did,)

    def _dids(self, table: Table, key: str) -> tuple[bytes, ...]:
        return tuple(did for name in table.texts(key) for did in self._did(table, name, key))

    def _path(self, table: Table, key: str, name: str) -> Path | None:
        """A path below the agreement's folder; None, and a problem, if it leads elsewhere."""
        path = (self.folder / name).resolve()
        if not name or not path.is_relative_to(self.folder.resolve()) or not path.exists():
            table.problem(key, "There is no such file beside the agreement.", "Check the path.")
            return None
        return path

    def _file(self, table: Table, key: str) -> bytes:
        """The digest of a file, which becomes a blob; or the digest that stands there."""
        text = table.text(key)
        given = read_digest(text)
        return given if given is not None else self._keep(self._read(table, key, text))

    def _read(self, table: Table, key: str, name: str) -> bytes:
        path = self._path(table, key, name)
        return b"" if path is None else _bytes(path, limits.BLOB)

    def _keep(self, blob: bytes) -> bytes:
        digest = hashlib.sha256(blob).digest()
        self.blobs[digest] = blob
        return digest


def _parameters(entry: Table) -> tuple[Parameter, ...]:
    """As in `{ covariates: { any_of: [age, sex] }, k: { integer: [1, 9] } }`."""
    return tuple(_parameter(name, entry.table(name)) for name in entry)


def _parameter(name: str, table: Table) -> Parameter:
    match [kind for kind in ("any_of", "one_of", "integer") if table.has(kind)]:
        case ["integer"]:
            low, high = table.bounds("integer")
            return Parameter(name=name, type="integer", low=low, high=high)
        case ["any_of" | "one_of" as kind]:
            choices = table.texts(kind)
            return Parameter(name=name, type=cast("Literal['any_of']", kind), choices=choices)
        case _:
            table.problem("any_of", "A parameter has one type.", "any_of, one_of or integer.")
            return Parameter(name=name, type="integer")


def _purpose(table: Table) -> k.Purpose:
    approvals = (
        f"{row.text('kind')}: {row.text('by')} {row.text('number')}"
        for row in table.rows("approvals", optional=True)
    )
    return k.Purpose(
        text=table.text("text", size=limits.TEXT),
        term=table.text("term"),
        processing=table.texts("processing"),
        approvals=tuple(approvals),
        jurisdiction=table.text("jurisdiction"),
        duration=table.duration("duration"),
    )
