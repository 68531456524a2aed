"""The one closed schema of the configuration: a TOML file, FEDI_SAFETY_* variables and `.env`, the predecessor's names.

Unknown keys are refused and every problem is listed at once. It opens no store, ledger or model.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote_from_bytes

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from fedi_safety.core.errors import ConfigError

ENV_PREFIX = "FEDI_SAFETY_"
LogLevel = Literal["debug", "info", "warning", "error"]
Device = Literal["auto", "cpu", "cuda", "tensorrt", "rocm", "openvino", "coreml", "directml"]


def data_dir() -> Path:
    """Return the user's data directory for this program; it may not exist yet."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "fedi-safety"


def config_file() -> Path:
    """Return where the configuration is looked for when no file is named."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fedi-safety" / "config.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Breaker(_Section):
    """When the acts of a run stop by themselves."""

    max_removed_share: float = Field(
        0.05, ge=0, le=1, description="Stop when more than this share of the judged objects would be removed."
    )
    min_judged: int = Field(200, ge=1, description="The share of removals counts from this many judged objects on.")
    max_removed: int = Field(1000, ge=0, description="Stop when more objects than this would be removed in one run.")
    max_unscanned_share: float = Field(
        0.5, ge=0, le=1, description="Stop when more than this share of the listed objects is unscanned."
    )
    min_listed: int = Field(200, ge=1, description="The share of unscanned counts from this many listed objects on.")


class Limits(_Section):
    """Caps for every single object; what exceeds one is unscanned, never removed."""

    max_bytes: int = Field(128 << 20, ge=1 << 10, description="The largest object that is read, in bytes.")
    max_pixels: int = Field(100_000_000, ge=1 << 10, description="The largest picture that is decoded, in pixels.")
    max_memory_bytes: int = Field(2 << 30, ge=256 << 20, description="Address space of one decoder process, in bytes.")
    max_seconds: float = Field(30.0, gt=0, le=3600, description="The longest that decoding one object may take.")


class S3(_Section):
    """How to reach S3-compatible object storage."""

    access_key_id: str | None = Field(None, description="The access key's id; else $AWS_ACCESS_KEY_ID.")
    secret_access_key: SecretStr | None = Field(None, description="The secret key; else $AWS_SECRET_ACCESS_KEY.")
    session_token: SecretStr | None = Field(None, description="A session token, for temporary credentials.")
    endpoint: str | None = Field(None, description="The service's URL; else $OBJECT_STORAGE_ENDPOINT; else Amazon's.")
    region: str | None = Field(None, description="The region; most services other than Amazon's do not care.")
    style: Literal["path", "virtual"] | None = Field(None, description="How buckets are addressed.")
    connections: int = Field(8, ge=1, le=256, description="Objects fetched at once.")


class Ssh(_Section):
    """How to reach a server over SSH."""

    known_hosts: str | None = Field(None, description="The file of known host keys. Default: ~/.ssh/known_hosts.")
    identity_file: str | None = Field(None, description="A private key; left out, the agent and ~/.ssh are asked.")
    passphrase: SecretStr | None = Field(None, description="The private key's passphrase.")
    connections: int = Field(4, ge=1, le=32, description="Connections held at once.")


class Pictrs(_Section):
    """How to reach the pict-rs that owns the media."""

    url: str | None = Field(None, description="Its internal URL, for `purge` on file and S3 stores.")
    api_key: SecretStr | None = Field(None, description="Its API key (PICTRS__SERVER__API_KEY).")
    database: SecretStr | None = Field(
        None, description="Its PostgreSQL repository, read only, to find aliases and thumbnails."
    )


class NamedStore(_Section):
    """One of several stores, with its own access where that differs."""

    name: str = Field(min_length=1, description="How commands may call it.")
    url: str = Field(min_length=1, description="A path or a URL.")
    s3: S3 | None = None
    ssh: Ssh | None = None
    pictrs: Pictrs | None = None


class Settings(BaseSettings):
    """Everything that can be configured. The command line overrides these."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__", env_ignore_empty=True
    )

    store: str | None = Field(None, description="The store that commands use when none is named: a path or a URL.")
    ledger: str | None = Field(
        None, description="The ledger: a path or sqlite URL. Default: ledger.db in the user's data directory."
    )
    policy: str = Field("balanced", min_length=1, description="A preset (cautious, balanced, strict) or a policy file.")
    act: Literal["delete", "purge", "report"] | None = Field(
        None, description="What is done about condemned objects. Default: delete; purge where the store is a pict-rs."
    )
    detectors: Annotated[list[str], NoDecode] = Field(
        ["embedded"], min_length=1, description="Which detectors judge; in a variable, with commas between."
    )
    device: Device = Field("auto", description="What the detectors run on.")
    jobs: int = Field(0, ge=0, le=256, description="Decoder processes and scoring threads; 0 means one per core.")
    log_level: LogLevel = Field("warning", description="How much is logged.")
    breaker: Breaker = Field(default_factory=Breaker)
    limits: Limits = Field(default_factory=Limits)
    s3: S3 = Field(default_factory=S3)
    ssh: Ssh = Field(default_factory=Ssh)
    pictrs: Pictrs = Field(default_factory=Pictrs)
    stores: list[NamedStore] = Field(default_factory=list, description="Several stores, each a [[stores]] table.")

    @field_validator("detectors", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values only from `load_settings`, which has merged the sources and checked the variables' names."""
        return (init_settings,)


LEGACY_STORE = "PICTRS_FILES_DIRECTORY"
LEGACY_LEDGER = "SQLITE_FILENAME"
"""The predecessor's variables for what exists here."""


def load_settings(path: str | None = None, **overrides: object) -> Settings:
    """Return the settings: `overrides` that are not None, then the environment, `.env`, the file, the defaults.

    `path` names the file, which must then exist. Raises `ConfigError` that lists every problem at once.
    """
    file = Path(path) if path is not None else config_file()
    problems: list[str] = []
    merged = _from_file(file, must_exist=path is not None)
    dotenv = _from_dotenv()
    _merge(merged, _legacy({**dotenv, **os.environ}))
    for source in (DotEnvSettingsSource(Settings, env_file=".env"), EnvSettingsSource(Settings)):
        try:
            _merge(merged, _known(source()))
        except SettingsError as error:
            problems.append(f"the environment: {error}")
    problems += _unknown_variables({**dotenv, **os.environ})
    _merge(merged, {k: v for k, v in overrides.items() if v is not None})
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_problem(e) for e in error.errors()]
    if problems:
        thing = f"configuration ({file})" if file.exists() else "configuration"
        raise ConfigError(thing, "; ".join(problems), "see docs/config.md")
    return settings


def ledger_path(settings: Settings) -> str:
    """Return the ledger's path or URL; the default lies in the user's data directory."""
    return settings.ledger or str(data_dir() / "ledger.db")


def legacy_ledger() -> str:
    """Return the predecessor's database file name, as its environment gives it."""
    return {**_from_dotenv(), **os.environ}.get(LEGACY_LEDGER) or "lemmy_safety.db"


def _from_file(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(str(file), "there is no such configuration file", "check --config") from error
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(file), f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}", "check --config"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), f"not valid TOML: {error}", "see docs/config.md") from error


def _from_dotenv() -> dict[str, str]:
    from dotenv import dotenv_values

    if not Path(".env").is_file():
        return {}
    try:
        return {k: v for k, v in dotenv_values(".env").items() if v is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(".env", f"cannot be read: {error}", "mend or remove it") from error


def _legacy(variables: dict[str, str]) -> dict[str, Any]:
    directory = variables.get(LEGACY_STORE)
    if not directory:
        return {}
    return {"store": "file://" + quote_from_bytes(os.fsencode(Path(directory).absolute()))}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k in Settings.model_fields}


def _unknown_variables(variables: dict[str, str]) -> list[str]:
    """A misspelt variable must not be silently without effect."""
    names = {f"{ENV_PREFIX}{field}".upper() for field in Settings.model_fields}
    return [
        f"{name}: unknown variable"
        for name in sorted(variables)
        # What follows a double underscore is a section's key, which the schema itself checks.
        if name.upper().startswith(ENV_PREFIX) and name.upper().partition("__")[0] not in names
    ]


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _problem(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    return f"{where}: {error['msg'][:1].lower()}{error['msg'][1:]}, not {error['input']!r:.60}"
