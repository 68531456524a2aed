"""The four questions of `init`, each tried at once: what is wrong is said in a line, and asked again on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import TYPE_CHECKING, TypeVar

from fedi_safety.config.locations import expanded
from fedi_safety.core.enums import NO_ACT
from fedi_safety.core.errors import FediSafetyError, StoreUsageError, UsageError
from fedi_safety.core.wording.nearest import did_you_mean, nearest

if TYPE_CHECKING:
    from fedi_safety.app.stores import Target
    from fedi_safety.cli.shell import Shell
    from fedi_safety.config.schema import Seal, Settings
    from fedi_safety.core.ports import Store

T = TypeVar("T")
_COLUMNS = 78
OTHER = "other"
"""The word for a server that is none of the known ones."""

# Where media usually lie (docs/start); a store may lie anywhere else.
_USUAL = {
    "lemmy": "pictrs+http://127.0.0.1:8080",
    "mastodon": "~mastodon/live/public/system",
    "glitch-soc": "~mastodon/live/public/system",
    "misskey": "~misskey/misskey/files",
    "sharkey": "~sharkey/sharkey/files",
    "pixelfed": "/var/www/pixelfed/storage/app",
    "pleroma": "/var/lib/pleroma/uploads",
    "akkoma": "/var/lib/akkoma/uploads",
    "piefed": "/opt/pyfedi/app/static/media",
    "mbin": "/var/www/mbin/public/media",
}
_MEANINGS = {
    NO_ACT: "leave everything as it is, and record it",
    "delete": "remove it from the store, for good",
    "purge": "remove it through pict-rs, for good",
    "seal": "remove it, and keep a copy that your offline key alone opens",
}


@dataclass(frozen=True, slots=True)
class Given:
    """What options say; None is what is to be asked."""

    server: str | None
    store: str | None
    detectors: str | None
    act: str | None

    @property
    def missing(self) -> list[str]:
        """The options that are not given."""
        named = (("--server", self.server), ("--store", self.store), ("--detectors", self.detectors))
        return [name for name, value in (*named, ("--act", self.act)) if value is None]


@dataclass(frozen=True, slots=True)
class Place:
    """A store that was opened: how it is written, and the settings by which, with secrets that were typed."""

    written: str
    settings: Settings
    secrets: Mapping[str, str]
    from_variables: tuple[str, ...] = ()

    @property
    def target(self) -> Target:
        """The store as commands open it."""
        from fedi_safety.app.stores import Target

        return Target(self.written, self.written, self.settings)


def ask(sh: Shell, given: str | None, before: Iterable[str], question: str, take: Callable[[str], T]) -> T:
    """Return what `take` makes of the option, or of the first answer that it takes; the lines `before` are said once.

    What it raises is the end where the option was given, and a line before the question is asked again otherwise.
    """
    if given is not None:
        return take(given)
    for line in before:
        sh.warn(line)
    while True:
        line = sh.typed(question)
        if not line:  # the end of the input
            raise KeyboardInterrupt
        try:
            return take(line.strip())
        except FediSafetyError as error:
            sh.warn(error.line())


def server(sh: Shell, given: str | None) -> str | None:
    """Return the word of the server whose media these are, None for one that is not known."""
    from fedi_safety.tracing import KINDS

    known = {word for kind in KINDS for word in kind.servers}
    words = [*(word for word in _USUAL if word in known), *sorted(known - _USUAL.keys()), OTHER]
    listed = "  ".join(f"{number}\N{NO-BREAK SPACE}{word}" for number, word in enumerate(words, 1))

    def take(word: str) -> str | None:
        word = word.lower() or OTHER
        if word.isdecimal() and 1 <= int(word) <= len(words):
            word = words[int(word) - 1]
        if word not in words:
            near = nearest(word, words)  # what there is stands in the question
            remedy = f"did you mean {near}?" if near else f"use one of: {', '.join(words)}"
            raise UsageError(f"server {word}", "no such server is known", remedy)
        return None if word == OTHER else word

    lines = wrap(listed, _COLUMNS, initial_indent="  ", subsequent_indent="  ")
    before = ["Which server stores these media?", *(line.replace("\N{NO-BREAK SPACE}", " ") for line in lines)]
    return ask(sh, given, before, f"Number or name (Enter: {OTHER}):", take)


def store(sh: Shell, given: str | None, server: str | None) -> Place:
    """Return the store, listed and read from, with the secret that it takes."""
    usual = _USUAL.get(server or "")
    there = usual if usual is not None and os.path.isdir(os.path.expanduser(usual)) else ""  # noqa: PTH111, PTH112

    before = [
        "Where do they lie? A directory, or one of pictrs+http://host:8080,",
        "s3://bucket?endpoint=https://host and sftp://user@host/path.",
        *([f"Usually: {usual}"] if usual else []),
    ]
    question = f"Path or URL (Enter: {there}):" if there else "Path or URL:"
    return ask(sh, given, before, question, lambda word: _store(sh, word or there))


def _store(sh: Shell, word: str) -> Place:
    from fedi_safety.app.store_rights import store_rights
    from fedi_safety.stores import kind_of

    if word.startswith("~"):  # no shell has seen what is typed here
        word = str(expanded(word))
    if not word:
        raise UsageError("store", "nothing was named", "give a path or a URL")
    kind = kind_of(word)
    place = Place(word, sh.settings.model_copy(update={"act": NO_ACT}), {})
    if kind.name == "pictrs":
        place = _with_api_key(sh, place)
    elif kind.name == "s3":
        place = _with_s3_keys(sh, place)
    opened = place.target.open()
    try:
        rights = store_rights(opened, place.settings)
        local, url = opened.local_root, opened.url
    finally:
        opened.close()
    if rights.problem:
        raise StoreUsageError(url, rights.problem)
    _tell(sh, rights.able)
    path = os.path.abspath(word) if local is not None and "://" not in word else ""  # noqa: PTH100 - links stay
    return replace(place, written=path if path.isprintable() and path else url)


def _with_api_key(sh: Shell, place: Place) -> Place:
    from pydantic import SecretStr

    pictrs = place.settings.pictrs
    if pictrs.api_key is not None:
        return replace(place, from_variables=("pictrs.api_key",))
    key = _secret(sh, "pict-rs' API key (PICTRS__SERVER__API_KEY; not shown):", "FEDI_SAFETY_PICTRS__API_KEY")
    changed = pictrs.model_copy(update={"api_key": SecretStr(key)})
    settings = place.settings.model_copy(update={"pictrs": changed})
    return replace(place, settings=settings, secrets={"pictrs.api_key": key})


def _with_s3_keys(sh: Shell, place: Place) -> Place:
    from pydantic import SecretStr

    from fedi_safety.stores.s3.profiles import keys_of

    s3 = place.settings.s3
    if s3.access_key_id is not None or s3.secret_access_key is not None:
        return replace(place, from_variables=("s3.access_key_id", "s3.secret_access_key"))
    if keys_of(s3.profile, s3.credentials_file) is not None:
        return place
    typed = _secret(
        sh, "Access key id and secret key, a space between (not shown):", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    ).split()
    if len(typed) != 2:
        raise UsageError("the keys", f"{len(typed)} words and not two", "type the id, a space, and the secret key")
    own = {"access_key_id": typed[0], "secret_access_key": typed[1]}
    changed = s3.model_copy(update={**own, "secret_access_key": SecretStr(typed[1])})
    settings = place.settings.model_copy(update={"s3": changed})
    return replace(place, settings=settings, secrets={f"s3.{key}": value for key, value in own.items()})


def _secret(sh: Shell, question: str, variables: str) -> str:
    """Ask for a secret, which no option takes: everybody on a machine can see those."""
    if not sh.can_ask:
        raise UsageError(
            "init", "a secret is missing, and nobody can be asked", f"set it in the environment: {variables}"
        )
    line = sh.typed(question, secret=True)
    if not line:
        raise KeyboardInterrupt
    if not line.strip():
        raise UsageError("the secret", "nothing was typed", f"type it, or set {variables}")
    return line.strip()


def _tell(sh: Shell, found: str) -> None:
    """Say at once what was tried, to a person; a script is told the end alone."""
    if sh.can_ask:
        sh.note(f"ok    {found}")


def detectors(sh: Shell, given: str | None) -> tuple[str, ...]:
    """Return the detectors that judge."""
    from fedi_safety.cli.models.offer import offer
    from fedi_safety.detectors import check_names

    def chosen(word: str) -> tuple[str, ...]:
        return ("embedded", "clip") if word.lower() in ("y", "yes") else ("embedded",)

    def named(words: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in words.split(",") if name.strip())
        check_names(names)
        return names

    return ask(sh, given, offer(sh.settings), "Add it? [y/N]", chosen if given is None else named)


def sealing(sh: Shell, recipients: Sequence[str], vault: str | None) -> Seal | None:
    """Return for whose keys copies are sealed and where, by options or variables; None where nobody named a key.

    Without a vault it is a directory beside the default ledger, which is made.
    """
    from fedi_safety.acts.sealed_file import recipients_of
    from fedi_safety.config.locations import default_vault
    from fedi_safety.config.schema import Seal

    keys = tuple(recipients) or sh.settings.seal.recipients
    if not keys:
        if vault is not None:
            raise UsageError("--vault", "nobody is named who could open what is sealed", "give --recipient as well")
        return None
    recipients_of(keys)
    place = vault or sh.settings.seal.vault
    if place is None:
        made = default_vault()
        try:
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"vault {made}", f"it cannot be made: {error.strerror}", "name one by --vault") from error
        place = str(made)
    return Seal(recipients=keys, vault=place)


def act(sh: Shell, given: str | None, place: Place, seal: Seal | None = None) -> tuple[str, Seal | None]:
    """Return what is done about condemned objects, an action or a preset of law, and for whose keys copies are sealed.

    It is tried as far as it removes. The presets that seal come first: a removal by a machine should be one that can be
    undone. Where nobody named a key yet, whoever chooses one on a terminal is asked for it.
    """
    from fedi_safety.app.consent import possible_acts
    from fedi_safety.core.sealing.law import PRESETS, Preset

    opened = place.target.open()
    presets = [preset for preset in Preset if PRESETS[preset].seals] if seal is not None or given is None else []
    acts = [kind.value for kind in possible_acts(_with_seal(place.settings, seal), opened)]
    words = (*presets, NO_ACT, *(word for word in acts if seal is None or word != "seal"))
    first = NO_ACT if seal is None else str(words[0])

    def take(word: str) -> tuple[str, Seal | None]:
        word = word.lower() or first
        if word not in words:
            remedy = f"use one of: {', '.join(words)}{did_you_mean(word, words)}"
            if word in [*Preset, "seal"] and seal is None:
                remedy = "give --recipient, a public key whose secret half is not on this machine (docs/seal.md)"
            raise UsageError(f"act {word}", f"it cannot be had for {opened.url}", remedy)
        sealed = _asked_key(sh, word) if word in presets and seal is None else seal
        if word != NO_ACT:
            _try_removal(sh, opened, _with_seal(place.settings, sealed), word, "seal" if word in presets else word)
        return word, sealed

    wide = max(7, *map(len, words))
    meanings = (
        f"  {word:<{wide}} {PRESETS[Preset(word)].meaning if word in presets else _MEANINGS[word]}" for word in words
    )
    try:
        before = ("What shall be done with what the policy condemns?", *meanings)
        return ask(sh, given, before, f"Your choice (Enter: {first}):", take)
    finally:
        opened.close()


def _with_seal(settings: Settings, seal: Seal | None) -> Settings:
    return settings if seal is None else settings.model_copy(update={"seal": seal})


def _asked_key(sh: Shell, word: str) -> Seal:
    """Ask for the public key that a preset needs. Raises `UsageError` where none is given."""
    before = ("Whose key opens the sealed copies? Made on another machine by: age-keygen -o key.txt",)

    def take(key: str) -> Seal | None:
        return sealing(sh, [key], None) if key else None

    seal = ask(sh, None, before, "Its public half, age1... (Enter: choose again):", take)
    if seal is None:
        raise UsageError(f"act {word}", "nobody is named who could open what is sealed", f"or choose {NO_ACT} for now")
    return seal


def _try_removal(sh: Shell, store: Store, settings: Settings, word: str, tried: str) -> None:
    """Try what is chosen as far as it removes, and say what was found. Raises `StoreUsageError` where it cannot be."""
    from fedi_safety.app.store_rights import store_rights

    rights = store_rights(store, settings.model_copy(update={"act": tried}))
    if rights.removed.held is False:
        raise StoreUsageError(store.url, f"act {word}: {rights.removed.detail}", f"or choose {NO_ACT}")
    if tried == "seal":
        _tell(sh, _try_vault(settings, store.url))
    _tell(sh, rights.text)


def _try_vault(settings: Settings, store: str) -> str:
    from fedi_safety.app.seal_checks import try_vault

    return try_vault(settings, store)
