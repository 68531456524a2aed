"""What FEDI_SAFETY_* variables and `.env` files say, by section. Loaded where there is such a variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, SettingsError

from fedi_safety.config.schema import ENV_PREFIX, Settings
from fedi_safety.config.section import Commas

_NAMES: dict[str, Any] = {"env_prefix": ENV_PREFIX, "env_nested_delimiter": "__", "env_ignore_empty": True}


class _Undecoded:
    """Leaves lists with commas as they are: the schema takes them apart."""

    def decode_complex_value(self, name: str, field: FieldInfo, value: Any) -> Any:
        """Return what a variable for a list or a table says."""
        if Commas in field.metadata:
            return value
        return super().decode_complex_value(name, field, value)  # type: ignore[misc]


class _DotEnv(_Undecoded, DotEnvSettingsSource):
    pass


class _Environment(_Undecoded, EnvSettingsSource):
    pass


def sections(files: Sequence[Path]) -> Iterator[dict[str, Any] | str]:
    """Give what `.env` files say, then what the environment says, which wins; or, in words, why one cannot be read."""
    # The library's class for settings would make the same of them; but it is loaded by every command then.
    of: Any = Settings
    for source in (_DotEnv(of, env_file=list(files), **_NAMES), _Environment(of, **_NAMES)):
        try:
            yield {key: value for key, value in source().items() if key in Settings.model_fields}
        except SettingsError as error:
            yield str(error)
