"""Settings from their sources, merged: a TOML file, `.env`, FEDI_SAFETY_* variables, the predecessor's names.

Every problem is listed at once. It opens no store, ledger or model.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import SecretStr, ValidationError

from fedi_safety.config import predecessor
from fedi_safety.config.locations import ROOT_VARIABLE, config_file, there
from fedi_safety.config.schema import ENV_PREFIX, Settings
from fedi_safety.config.section import Commas, Section
from fedi_safety.core.errors import ConfigError
from fedi_safety.core.sealing.copies import SECRET_MARKS
from fedi_safety.core.wording.nearest import did_you_mean


def load_settings(path: str | None = None, **overrides: object) -> Settings:
    """Return the settings: `overrides` that are not None, then the environment, `.env`, the file, the defaults.

    `path` names the file, which must then exist; without it the one of `config_file` is taken if there is one. With
    `os.devnull` no file is read. Raises `ConfigError` that lists every problem at once.
    """
    file = Path(path) if path is not None else config_file()
    problems: list[str] = []
    merged = _from_file(file) if path is not None or there(file) else {}
    found = variables()
    predecessor_values, wrong = predecessor.settings_from(found)
    _merge(merged, predecessor_values)
    problems += wrong
    if any(map(_ours, found)):
        from fedi_safety.config.variables import sections  # two fifths of what this module takes to load

        for values in sections(_dotenv_files()):
            if isinstance(values, str):
                problems += _not_json(found) or [f"the environment: {values}"]
            else:
                _merge(merged, values)
    problems += _unknown_variables(found)
    _merge(merged, {k: v for k, v in overrides.items() if v is not None})
    predecessor.fill(merged, found)
    whole = _sections(Settings)
    _merge(whole, merged)
    try:
        settings = Settings(**whole)
    except ValidationError as error:
        problems += [_problem(e) for e in error.errors()]
    if problems:
        thing = f"configuration ({file})" if there(file) and str(file) != os.devnull else "configuration"
        newer = any(": unknown key" in problem for problem in problems)
        remedy = "see docs/config.md; what a newer version wrote needs that version" if newer else "see docs/config.md"
        raise ConfigError(thing, "; ".join(problems), remedy)
    return settings


def _sections(model: type[Section]) -> dict[str, Any]:
    """Return every section without a key: read as parts of the whole, none needs what would check it by itself."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {
        name: _sections(kind) for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)
    }


def predecessor_ledger() -> str:
    """Return the predecessor's database file name, as its environment gives it."""
    return variables().get(predecessor.LEDGER) or "lemmy_safety.db"


def variables() -> dict[str, str]:
    """Return both `.env` and the environment, which wins. Raises `ConfigError`."""
    return {**_from_dotenv(), **os.environ}


def _dotenv_files() -> list[Path]:
    """Return the `.env` files that there are: beside the scripts of a clone, and in the working directory, which wins.

    Cron and systemd start a script from anywhere, and the predecessor found its `.env` all the same.
    """
    launcher = clone_launcher()
    beside = [] if launcher is None else [launcher.with_name(".env")]
    return [file for file in (*beside, Path(".env")) if file.is_file()]


def clone_launcher() -> Path | None:
    """Return the launcher `fedi-safety` of the clone that this runs from; None where it is installed otherwise."""
    launcher = Path(__file__).parents[3] / "fedi-safety"
    return launcher if launcher.is_file() else None


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError as error:
        raise ConfigError(str(file), "there is no such configuration file", "check --config") from error
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "not UTF-8 text"
        remedy = "make it readable for this user, or name another with --config"
        raise ConfigError(str(file), f"cannot be read: {cause}", remedy) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), f"not valid TOML: {error}", "see docs/config.md") from error


def _from_dotenv() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in _dotenv_files():
        from dotenv import dotenv_values

        try:
            found |= {k: v for k, v in dotenv_values(file).items() if v is not None}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(file), f"cannot be read: {error}", "correct or remove it") from error
    return found


def _ours(name: str) -> bool:
    return name.upper().startswith(ENV_PREFIX)


def _unknown_variables(variables: dict[str, str]) -> list[str]:
    """A misspelt variable must not be silently without effect."""
    names = {f"{ENV_PREFIX}{field}".upper() for field in Settings.model_fields} | {ROOT_VARIABLE}
    return [
        f"{name}: unknown variable{did_you_mean(name.upper(), names)}"
        for name in sorted(variables)
        # What follows a double underscore is a section's key, which the schema itself checks.
        if _ours(name) and name.upper().partition("__")[0] not in names
    ]


def _not_json(variables: dict[str, str]) -> list[str]:
    """Name the variables for lists and tables that cannot be read; the library names the section alone."""
    wrong = []
    for name, value in sorted(variables.items()):
        parts = name.lower().removeprefix(ENV_PREFIX.lower()).split("__")
        model: Any = Settings
        for part in parts:
            field = getattr(model, "model_fields", {}).get(part)
            # Lists that are written with commas are not read as JSON.
            model = None if field is None or Commas in field.metadata else field.annotation
        if _ours(name) and get_origin(model) in (tuple, list, dict):
            try:
                json.loads(value)
            except ValueError:
                example = '{"name": "value"}' if get_origin(model) is dict else '["one", "another"]'
                wrong.append(f"{name}: not JSON; it is written like {example}")
    return wrong


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _problem(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{did_you_mean(str(error['loc'][-1]), _keys_beside(error['loc']))}"
    said = error["msg"].removeprefix("Value error, ")
    return f"{where}: {said[:1].lower()}{said[1:]}{_shown(error)}{_near_word(error)}"


def _shown(error: Any) -> str:
    """Return what stands there instead, unless it is a secret, or may be one."""
    given = repr(error["input"])
    secret = _is_secret(error["loc"]) or any(mark in given.upper() for mark in SECRET_MARKS)
    return "" if secret or error["type"] == "value_error" else f", not {given:.60}"


def _is_secret(place: tuple[str | int, ...]) -> bool:
    """Whether a key is one that holds secrets, however it was written."""
    model: Any = Settings
    for part in place:
        if isinstance(part, str):
            field = getattr(model, "model_fields", {}).get(part)
            kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
            if SecretStr in kinds:
                return True
            model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return False


def _keys_beside(place: tuple[str | int, ...]) -> list[str]:
    """Return the keys that there are where a problem is."""
    model: Any = Settings
    for part in place[:-1]:
        if isinstance(part, str):
            field = getattr(model, "model_fields", {}).get(part)
            kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
            model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return list(getattr(model, "model_fields", {}))


def _near_word(error: Any) -> str:
    """Return what may have been meant where one of some words was expected."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return ""
    return did_you_mean(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
