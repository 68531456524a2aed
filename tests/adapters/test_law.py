"""Presets of law: each sets what is done and for how long, an action that somebody chose wins, and doctor says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from fedi_safety.app.consent import lacking
from fedi_safety.app.seal_checks import check_sealing, is_configured
from fedi_safety.app.stores import targets
from fedi_safety.config.schema import LawOfThePlace, Pictrs, Seal, Settings
from fedi_safety.core.errors import ExitCode
from fedi_safety.core.sealing.law import DAY_S, PRESETS, Preset, keep_filed_s, keep_s
from fedi_safety.ledger.ledger import open_ledger
from support.fakes import FakeClock
from support.sealing import public


def configured(preset: Preset, folder: Path, **more: object) -> Settings:
    for part in ("media", "vault"):
        (folder / part).mkdir(exist_ok=True)
    seal = Seal(recipients=(public(),), vault=str(folder / "vault"))
    law = LawOfThePlace(preset=preset)
    return Settings.model_validate({"store": str(folder / "media"), "law": law, "seal": seal, **more})


def test_every_preset_has_its_row_and_the_page_names_it() -> None:
    assert list(PRESETS) == list(Preset)
    page = (Path(__file__).parents[2] / "docs/law.md").read_text("utf-8")
    assert all(f"| `{preset.value}` |" in page and f"## `{preset.value}`" in page for preset in Preset)
    assert "not legal advice" in page


@pytest.mark.parametrize(
    ("preset", "act", "kept", "filed"),
    [
        (Preset.SEAL_AND_HOLD, "seal", 30 * DAY_S, None),
        (Preset.REPORT_AND_PRESERVE, "seal", None, 365 * DAY_S),
        (Preset.DESTROY_UNSEEN, "delete", None, None),
    ],
)
def test_what_a_preset_sets(tmp_path: Path, preset: Preset, act: str, kept: float | None, filed: float | None) -> None:
    (target,) = targets(configured(preset, tmp_path), None)
    assert target.settings.act == act
    assert (keep_s(preset, None), keep_filed_s(preset, None)) == (kept, filed)
    assert keep_s(preset, 2.0) == 2 * DAY_S, "the operator's own word wins"
    (chosen,) = targets(configured(preset, tmp_path, act="report"), None)
    assert chosen.settings.act == "report"
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    assert not lacking(target.settings, ledger, target.url).act, "a preset is a chosen action"
    ledger.dispose()


def test_what_is_destroyed_unseen_goes_through_the_pictrs_that_owns_it(tmp_path: Path) -> None:
    access = Pictrs(url="http://127.0.0.1:8080", api_key=SecretStr("key"))
    (target,) = targets(configured(Preset.DESTROY_UNSEEN, tmp_path, pictrs=access), None)
    assert target.settings.act == "purge"
    (itself,) = targets(configured(Preset.DESTROY_UNSEEN, tmp_path), "pictrs+http://127.0.0.1:8080")
    assert itself.settings.act == "purge"


def test_doctor_names_an_action_that_wins_over_the_preset(tmp_path: Path) -> None:
    settings = configured(Preset.SEAL_AND_HOLD, tmp_path, act="delete")
    found = [found for found in check_sealing(settings, None, 0.0) if found.ok is False]
    assert [(each.thing, each.code) for each in found] == [("law", ExitCode.USAGE)]
    assert "`act = delete` wins over the preset seal-and-hold" in found[0].detail
    assert all(each.ok is not False for each in check_sealing(configured(Preset.SEAL_AND_HOLD, tmp_path), None, 0.0))
    assert list((tmp_path / "vault").iterdir()) == [], "what was tried is gone again"
    assert not is_configured(Settings())
