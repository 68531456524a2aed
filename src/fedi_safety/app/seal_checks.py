"""Whether sealing is in order as it is configured: the keys, the vault, the preset of law, and what it asks for."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from fedi_safety.app.acts import act_for
from fedi_safety.app.sealing import scanned_urls
from fedi_safety.app.stores import targets
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import ExitCode, FediSafetyError, StoreError, UsageError
from fedi_safety.core.keys import OUR_NAME
from fedi_safety.core.ledger.seals import SealReader
from fedi_safety.core.sealing.copies import SealState
from fedi_safety.core.sealing.law import PRESETS, Preset, keep_s
from fedi_safety.core.wording.hints import hint

_DAY_S = 86_400
_OVERDUE_S = 7 * _DAY_S
_PROBE = b"nothing: this is tried, and goes again"


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at; `ok` is None for what is only worth knowing."""

    thing: str
    ok: bool | None
    detail: str
    code: ExitCode = ExitCode.DONE


def is_configured(settings: Settings) -> bool:
    """Whether anything says that copies are sealed."""
    seal = settings.seal
    return bool(seal.recipients or seal.vault or settings.law.preset or settings.act == ActKind.SEAL)


def check_sealing(settings: Settings, ledger: SealReader | None, now: float) -> Iterator[Checked]:
    """Look at keys, vault and preset. Makes and removes a file of our own in the vault, and touches no other."""
    preset = settings.law.preset
    seals = settings.act == ActKind.SEAL or (settings.act is None and preset is not None and PRESETS[preset].seals)
    if preset is not None:
        yield from _preset(settings, preset)
    if seals or settings.seal.recipients or settings.seal.vault:
        for thing, check in (("seal: keys", _keys), ("seal: vault", _vault)):
            try:
                yield Checked(thing, True, check(settings))
            except FediSafetyError as error:
                yield Checked(thing, False, error.line(), error.exit_code)
        if seals and keep_s(preset, settings.seal.keep_days) is None and preset is not Preset.REPORT_AND_PRESERVE:
            yield Checked(
                "seal: how long",
                None,
                "copies never end by themselves; set `seal.keep_days`, or a preset",
            )
    if ledger is not None:
        yield from _copies(settings, ledger, now)


def _preset(settings: Settings, preset: Preset) -> Iterator[Checked]:
    law = PRESETS[preset]
    yield Checked("law", True, f"{preset.value}: {law.meaning} (docs/law.md; not legal advice)")
    chosen = settings.act
    if chosen is not None and (chosen == ActKind.SEAL) is not law.seals:
        cause = f"`act = {chosen}` wins over the preset {preset.value}, which would have it otherwise"
        yield Checked("law", False, f"{cause}; take one of the two away", ExitCode.USAGE)


def _keys(settings: Settings) -> str:
    from fedi_safety.acts.sealed_file import recipients_of

    keys = recipients_of(settings.seal.recipients)
    shown = ", ".join(f"{word[:16]}..." for word in settings.seal.recipients)
    alone = "; one key alone: with it every copy is lost, so add a second one" if len(keys) == 1 else ""
    return f"copies open for {len(keys)}: {shown}{alone}"


def _vault(settings: Settings) -> str:
    stores = list(targets(settings, None)) if settings.stores or settings.store else []
    for target in stores:
        act_for(target.settings, target)
    return try_vault(settings)


def try_vault(settings: Settings, *stores: str) -> str:
    """Write, read and remove a file of our own; return what that showed. Raises `UsageError`, `StoreError`."""
    from fedi_safety.stores.vaults import open_vault

    if settings.seal.vault is None:
        raise UsageError("seal", "no vault is configured", "set `seal.vault`")
    name = f"{OUR_NAME}{secrets.token_hex(8)}"
    with closing(open_vault(settings.seal.vault, settings, scanned_urls(settings, *stores))) as vault:
        vault.put(name, (_PROBE,))
        there = vault.get(name)
        vault.remove(name)
        if there != _PROBE:
            raise StoreError(f"vault {vault.url}", "what was read is not what was written", "see to its disk")
        return f"{vault.url}: can be written, read and removed from, and is no store"


def _copies(settings: Settings, ledger: SealReader, now: float) -> Iterator[Checked]:
    there = ledger.seals(states=[SealState.SEALED, SealState.EXPIRING])
    if not there:
        return
    held = sum(seal.held is not None for seal in there)
    yield Checked("sealed copies", True, f"{len(there):,}, of which {held:,} are held")
    over = [s for s in there if s.held is None and s.expires_at is not None and s.expires_at < now - _OVERDUE_S]
    if over:
        cause = f"{len(over):,} should have been destroyed a week ago, such as {over[0].name} in {over[0].vault}"
        yield Checked("sealed copies", False, f"{cause}; {hint('apply')} does that, and says why not", ExitCode.OUTSIDE)
    if settings.law.preset is Preset.REPORT_AND_PRESERVE and (open_ := [s for s in there if s.filed_at is None]):
        cause = f"{len(open_):,} were never filed, such as {open_[0].key}"
        yield Checked("law", None, f"{cause}: report them, and say so by {hint('filed KEY')}")
