"""The acts of vaults, "noun.verb" with JSON in and out: the same behind the socket and the shell.

`vault` names the vault and may be left out where one is open; `agreement` is a name, an id or a
short id, and may be left out where there is one.
"""

import base64
import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import trio

from node import codes
from node.admin import parameters
from node.admin.failure import Failure
from node.store.keystore import Unlock, parse_unlock
from node.vault import views
from node.vault.keeper import Keeper, choose, find
from node.vault.light import LightPeer
from node.vault.views import Json

Act = Callable[..., Awaitable[Any]]

DATA: Final = 16 * 1024 * 1024
"""Bytes of a person's own data file."""

ACTS: Final[dict[str, Act]] = {}
"""Every act by name."""


def _act(name: str) -> Callable[[Act], Act]:
    def register(run: Act) -> Act:
        ACTS[name] = run
        return run

    return register


async def call(keeper: Keeper, name: str, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    """Do an act by name. Raises Failure (admin.*, id.*), Refused, StoreError, TransportError."""
    run = ACTS.get(name)
    if run is None:
        raise Failure("admin.method", f"There is no act {name[:64]!r}.", f"Known: {sorted(ACTS)}.")
    signature = inspect.signature(run, eval_str=True).parameters.values()
    known = {one.name: one for one in signature if one.kind is inspect.Parameter.KEYWORD_ONLY}
    for stray in given.keys() - known.keys():
        fix = f"Known are: {', '.join(known) or 'none'}."
        raise Failure("admin.parameters", f"{stray[:64]!r} is no parameter.", fix)
    for one in known.values():
        if one.default is inspect.Parameter.empty and one.name not in given:
            raise Failure("admin.parameters", f"{one.name} is missing.", run.__doc__ or "")
    values = {
        key: parameters.read(known[key].annotation, value, key) for key, value in given.items()
    }
    return await run(keeper, **values)


# --- vault ----------------------------------------------------------------------------------------


@_act("vault.new")
async def vault_new(keeper: Keeper, *, vault: str, unlock: str | None = None) -> Json:
    """Make a vault in the folder of vaults."""
    light = await keeper.make(vault, _unlock(unlock))
    return views.contents(light.vault.contents)


@_act("vault.open")
async def vault_open(keeper: Keeper, *, vault: str, unlock: str | None = None) -> Json:
    """Open a vault of the folder of vaults."""
    light = await keeper.open(vault, _unlock(unlock))
    return views.contents(light.vault.contents)


@_act("vault.list")
async def vault_list(keeper: Keeper) -> list[Json]:
    """Every open vault in short."""
    await trio.lowlevel.checkpoint()
    return [views.contents(one.vault.contents) for one in keeper.lights.values()]


@_act("vault.add")
async def vault_add(keeper: Keeper, *, dataset: str, path: str, vault: str | None = None) -> Json:
    """Keep the rows in a file as the person's own data for a dataset."""
    async with keeper.using(vault) as light:
        file = Path(path)
        data = await trio.to_thread.run_sync(_read, file)
        light.vault.add_row(dataset, file.name, data)
        return views.contents(light.vault.contents)


@_act("vault.enrol")
async def vault_enrol(
    keeper: Keeper, *, code: str, registrar: str | None = None, vault: str | None = None
) -> Json:
    """Use the one-time code of a letter, typed or as the link in its QR code."""
    plain, named = codes.read(code)
    address = registrar or named or keeper.registrar
    if address is None:
        raise Failure(
            "admin.parameters", "Where is the registrar?", "Its address is in the letter."
        )
    async with keeper.using(vault) as light:
        await light.enrol(plain, address)
        return views.contents(light.vault.contents)


@_act("vault.fetch")
async def vault_fetch(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    gateway: str | None = None,
    vault: str | None = None,
) -> Json:
    """Bring home proofs of use and own results."""
    async with keeper.using(vault) as light:
        id_ = _known(light, agreement)
        address = light.vault.participation(id_).address
        part = await keeper.somewhere(address, gateway, lambda way: light.fetch(id_, way))
        return {
            "uses": [views.use(one) for one in part.uses],
            "results": [views.result(one, light.vault.blobs) for one in part.results],
        }


@_act("vault.uses")
async def vault_uses(
    keeper: Keeper, *, agreement: str | None = None, vault: str | None = None
) -> list[Json]:
    """Which runs used the share, and which did not, as proven so far."""
    async with keeper.using(vault) as light:
        part = light.vault.participation(_known(light, agreement))
        return [views.use(one) for one in part.uses]


@_act("vault.results")
async def vault_results(
    keeper: Keeper, *, agreement: str | None = None, vault: str | None = None
) -> list[Json]:
    """The own results in the vault."""
    async with keeper.using(vault) as light:
        part = light.vault.participation(_known(light, agreement))
        return [views.result(one, light.vault.blobs) for one in part.results]


@_act("vault.diary")
async def vault_diary(keeper: Keeper, *, vault: str | None = None) -> list[Json]:
    """Everything that the vault did and learned."""
    async with keeper.using(vault) as light:
        return views.diary(light.vault.contents)


@_act("vault.export")
async def vault_export(keeper: Keeper, *, vault: str | None = None) -> Json:
    """All that the vault knows, in the open, for its person; the keys stay inside."""
    async with keeper.using(vault) as light:
        found = light.vault.contents
        return {
            **views.contents(found),
            "rows": {
                row.dataset: light.vault.blobs.get(row.blob).decode(errors="replace")
                for row in found.rows
            },
            "consents": [_participation(light, one.agreement) for one in found.participations],
            "results": [
                views.result(one, light.vault.blobs)
                for part in found.participations
                for one in part.results
            ],
            "diary": views.diary(found),
        }


# --- consent --------------------------------------------------------------------------------------


@_act("consent.offers")
async def consent_offers(
    keeper: Keeper, *, gateway: str | None = None, vault: str | None = None
) -> list[Json]:
    """What a gateway offers; nothing of it is verified."""
    async with keeper.using(vault) as light:
        found = await keeper.somewhere(None, gateway, light.offers)
        return [views.offer(one) for one in found]


@_act("consent.list")
async def consent_list(keeper: Keeper, *, vault: str | None = None) -> list[Json]:
    """Every agreement that the person was asked about."""
    async with keeper.using(vault) as light:
        parts = light.vault.contents.participations
        return [_participation(light, one.agreement) for one in parts]


@_act("consent.show")
async def consent_show(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    gateway: str | None = None,
    vault: str | None = None,
) -> Json:
    """Verify an agreement and its host, and show what a yes would mean."""
    async with keeper.using(vault) as light:
        id_ = await _wanted(keeper, light, agreement, gateway)
        way = _address(light, id_)
        return views.shown(await keeper.somewhere(way, gateway, lambda a: light.show(id_, a)))


@_act("consent.give")
async def consent_give(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    gateway: str | None = None,
    told: bool = False,
    vault: str | None = None,
) -> Json:
    """Verify everything, say yes, and send the sealed share."""
    async with keeper.using(vault) as light:
        id_ = await _wanted(keeper, light, agreement, gateway)
        way = _address(light, id_)
        await keeper.somewhere(way, gateway, lambda a: light.give(id_, a, told=told))
        return _participation(light, id_)


@_act("consent.renew")
async def consent_renew(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    gateway: str | None = None,
    vault: str | None = None,
) -> Json:
    """Consent again, for the runs that come, before the consent in force ends."""
    return await _say(keeper, vault, agreement, gateway, LightPeer.renew)


@_act("consent.refuse")
async def consent_refuse(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    gateway: str | None = None,
    vault: str | None = None,
) -> Json:
    """Say no; nobody is told."""
    async with keeper.using(vault) as light:
        id_ = await _wanted(keeper, light, agreement, gateway)
        way = _address(light, id_)
        await keeper.somewhere(way, gateway, lambda a: light.refuse(id_, a))
        return _participation(light, id_)


@_act("consent.withdraw")
async def consent_withdraw(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    gateway: str | None = None,
    vault: str | None = None,
) -> Json:
    """End the consent for ever, and tell all parties; again, to gather more receipts."""
    return await _say(keeper, vault, agreement, gateway, LightPeer.withdraw)


async def _say(
    keeper: Keeper,
    vault: str | None,
    agreement: str | None,
    gateway: str | None,
    word: Callable[[LightPeer, bytes, str], Awaitable[object]],
) -> Json:
    """Say something about a participation that is known, through a gateway that answers."""
    async with keeper.using(vault) as light:
        id_ = _known(light, agreement)
        way = _address(light, id_)
        await keeper.somewhere(way, gateway, lambda a: word(light, id_, a))
        return _participation(light, id_)


@_act("consent.receipt")
async def consent_receipt(
    keeper: Keeper,
    *,
    agreement: str | None = None,
    runs: tuple[int, ...] = (),
    vault: str | None = None,
) -> Json:
    """The receipt over `runs`, or all fetched, as a file in base64; `name` is its usual name."""
    async with keeper.using(vault) as light:
        data = light.receipt(_known(light, agreement), runs)
        return {
            "name": f"receipt-{light.vault.name}.village",
            "size": len(data),
            "file": base64.b64encode(data).decode(),
        }


# --- what a caller means ----------------------------------------------------------------------


def _participation(light: LightPeer, agreement: bytes) -> Json:
    part = light.vault.participation(agreement)
    return views.participation(part, light.standings(agreement))


def _address(light: LightPeer, agreement: bytes) -> str | None:
    return light.vault.participation(agreement).address if light.vault.knows(agreement) else None


def _known(light: LightPeer, text: str | None) -> bytes:
    """An agreement that the vault knows. Raises Failure (id.*)."""
    parts = light.vault.contents.participations
    if text is None and len(parts) == 1:
        return parts[0].agreement
    found = find(light, text) if text is not None else None
    if found is None or not light.vault.knows(found):
        raise _unknown(text)
    return found


async def _wanted(keeper: Keeper, light: LightPeer, text: str | None, gateway: str | None) -> bytes:
    """An agreement that the vault knows, or that a gateway offers. Raises Failure (id.*)."""
    parts = light.vault.contents.participations
    if text is None and len(parts) == 1:
        return parts[0].agreement
    found = find(light, text) if text is not None else None
    if found is not None:
        return found
    offers = await keeper.somewhere(None, gateway, light.offers)
    known = [(one.agreement, one.name) for one in offers]
    if text is None and len(known) == 1:
        return known[0][0]
    chosen = choose(text, known) if text is not None else None
    if chosen is None:
        raise _unknown(text)
    return chosen


def _unknown(text: str | None) -> Failure:
    if text is None:
        return Failure("id.ambiguous", "Which agreement?", "village consent list names them.")
    return Failure(
        "id.unknown", f"No agreement {text[:64]!r}.", "village consent offers lists them."
    )


def _unlock(text: str | None) -> Unlock | None:
    return parse_unlock(text, Path.cwd()) if text is not None else None


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(DATA + 1)
    except OSError as error:
        detail = f"Cannot read {file.name}: {error.strerror}."
        raise Failure("admin.parameters", detail, "Check the path.") from error
    if len(data) > DATA:
        raise Failure("admin.parameters", "The file is too large.", f"At most {DATA} bytes.")
    return data
