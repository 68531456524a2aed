"""What people type who come from the predecessor, in today's words: file names, older names, shortened options.

Its scripts, pictrs-safety's among them, read their options with argparse, which takes any beginning that fits one only.
"""

from __future__ import annotations

from collections.abc import Sequence

_STORAGE = ("--all", "--threads", "--minutes", "--dry_run", "--skip_unreadable", "--prefix", "--help")
_OPTIONS = {
    "fedi_safety_local_storage": _STORAGE,
    "fedi_safety_object_storage": _STORAGE,
    "fedi_safety_remote_storage": _STORAGE,
    "lemmy_safety_pictrs": ("--threads", "--help"),
    "serve": ("--insecure", "--verbosity", "--quiet", "--port", "--color", "--help"),
}
_OLDER = {
    "lemmy_safety_local_storage": "fedi_safety_local_storage",
    "lemmy_safety_object_storage": "fedi_safety_object_storage",
    "lemmy_safety_remote_storage": "fedi_safety_remote_storage",
    "api_server": "serve",
}


def translated(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the predecessor's name of a command, and its shortened options, as they are here.

    Every other command line stays as it is; so does what fits no option or several, which is refused by its name.
    """
    if not arguments:
        return []
    typed, *options = arguments
    plain = typed.removesuffix(".py")
    name = _OLDER.get(plain, plain)
    if name not in _OPTIONS or typed == "serve":
        return list(arguments)
    end = options.index("--") if "--" in options else len(options)
    return [name, *(_full(option, _OPTIONS[name]) for option in options[:end]), *options[end:]]


def _full(typed: str, known: Sequence[str]) -> str:
    """Return an option in full."""
    word, mark, value = typed.partition("=")
    if len(word) < 3 or not word.startswith("--") or word in known:
        return typed
    fitting = [option for option in known if option.startswith(word)]
    return fitting[0] + mark + value if len(fitting) == 1 else typed
