"""`self-test`: send the harmless test card through the whole chain, removal included."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell
from fedi_safety.core.errors import SelfTestError, UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.app.engine import Engine


def self_test(
    card: Annotated[
        str | None,
        typer.Option("--card", metavar="FILE", help="Only write the test card to FILE, to put it on a live instance."),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Scan, plan, remove and verify a harmless test card in a directory of its own, with the configured detectors."""
    from fedi_safety.core.runs import ACTED_LOGGER

    sh = shell(config, ledger, log_level, quiet, yes)
    if card is not None:
        _write_card(Path(card))
        sh.say(f"{card}: written; put it where your media are: the next scan must condemn it")
        return 0
    logging.getLogger(ACTED_LOGGER).setLevel(logging.ERROR)  # what it condemns and removes is its own
    with tempfile.TemporaryDirectory(prefix="fedi-safety-self-test-") as name:
        for step in _steps(sh, Path(name)):
            sh.say(f"ok  {step}")
    return 0


def _write_card(path: Path) -> None:
    from fedi_safety.core.testcard import draw_test_card

    try:
        with path.open("xb") as file:
            file.write(draw_test_card())
    except FileExistsError as error:
        raise UsageError(str(path), "it exists already", "name a file that does not") from error
    except OSError as error:
        raise UsageError(str(path), error.strerror or "it cannot be written", "name a writable place") from error


def _answers(engine: Engine) -> Iterator[str]:
    """Ask each detector, and the lists of known images, about examples; tell that they answered."""
    from fedi_safety.detectors.examples import check_examples
    from fedi_safety.detectors.known import examples as known_examples

    for detector in engine.detectors:
        wrong = check_examples(detector)
        _expect(not wrong, f"detector {detector.name}", "; ".join(wrong))
        yield f"detector {detector.name} answers its examples: {detector.version}"
    wrong = known_examples.check()
    _expect(not wrong, "lists of known images", "; ".join(wrong))
    yield "a drawn picture is found on a list, mirrored, and by its bytes; another one is not"
    if engine.describer is not None:
        wrong = known_examples.check_near(engine.describer)
        _expect(not wrong, f"copy descriptor {engine.describer.model}", "; ".join(wrong))
        yield f"a part of a drawn picture is found by {engine.describer.model}; another picture is not"


def _steps(sh: Shell, folder: Path) -> Iterator[str]:
    """Do the whole test in `folder` and yield what was shown, as it is. Raises `SelfTestError` at the first failure."""
    from fedi_safety.app.apply import apply
    from fedi_safety.app.engine import open_engine
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.scan import scan
    from fedi_safety.app.stores import named_store
    from fedi_safety.core.ledger.records import Filters
    from fedi_safety.core.runs import ScanRequest
    from fedi_safety.core.testcard import TEST_CARD_NAME, TEST_CARD_SHA256, draw_test_card
    from fedi_safety.policies import load_policy

    media = folder / "media"
    media.mkdir()
    (media / TEST_CARD_NAME).write_bytes(draw_test_card())
    (media / "neighbour.png").write_bytes(_neighbour())
    (media / "notes.csv").write_text("not,a,picture\n")
    policy = load_policy(sh.settings.policy)
    engine = open_engine(sh.settings)
    try:
        yield from _answers(engine)
        settings = sh.settings.model_copy(update={"ledger": str(folder / "ledger.db")})
        records = open_settings_ledger(settings)
        store = named_store(settings, str(media))
        try:
            dry = ScanRequest(store.url, dry_run=True)
            found = scan(settings, dry, ledger=records, store=store, engine=engine, policy=policy)
            _expect(found.tally.accounted and found.tally.listed == 3, "scan", f"saw {found.tally}")
            _expect(found.tally.block == 1, "scan", f"condemned {found.tally.block} objects instead of the card alone")
            _expect((media / TEST_CARD_NAME).exists(), "dry run", "it removed the card")
            yield "a dry run condemns the card, and nothing else, and removes nothing"
            (row,) = records.list_objects(Filters(sha256=TEST_CARD_SHA256))
            _expect(row.reasons[0].rule == "test card", "reasons", "the verdict does not name its rule")
            yield "its verdict names the rule and its plan waits in the ledger"
            acted = apply(settings, ledger=records, store=store)
            _expect(acted.tally.acted == 1 and acted.tally.failed == 0, "apply", f"acted on {acted.tally.acted}")
            left = sorted(path.name for path in media.iterdir())
            _expect(left == ["neighbour.png", "notes.csv"], "removal", f"left {', '.join(left)}")
            yield "the card is removed, verified by reading back; its neighbours are untouched"
            proof = records.verify()
            _expect(proof.problem is None, "ledger", proof.problem or "")
            yield f"the ledger's chain of {proof.length} events is whole"
        finally:
            store.close()
            records.dispose()
    finally:
        engine.close()


def _expect(holds: bool, thing: str, cause: str) -> None:
    if not holds:
        raise SelfTestError(f"self-test: {thing}", cause, f"run {hint('doctor')}; do not trust scans until it passes")


def _neighbour() -> bytes:
    """Return another harmless PNG: the card's picture with one more chunk, and so with another hash."""
    from fedi_safety.core.testcard import draw_test_card

    card = draw_test_card()
    text = b"\x00\x00\x00\x09tEXtnote\x00same"
    import struct
    import zlib

    return card[:-12] + text + struct.pack(">I", zlib.crc32(text[4:])) + card[-12:]
