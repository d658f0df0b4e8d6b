"""Settings from a TOML file and the command line, with errors that name the key.

Alternative not taken: pydantic-settings. Its command line reaches no item of a list, as
`mining.teachers.0.dtype`, stops at the first unknown key without naming the nearest, and reads a
file that is not there as an empty one. What it would save is the call of tomllib.
"""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from polymine.data_contracts.credentials import credential_in
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.locations import check_locations

SCHEDULES, TRIGGERS = "schedules", "triggers"  # of a file; `polymine deploy` alone reads them
Kind = TypeVar("Kind", bound=BaseModel)


def load_as(kind: type[Kind], path: Path, overrides: Sequence[str] | None = None) -> Kind:
    """Read a TOML file, apply `a.b=c` overrides and check every key against `kind`.

    Relative paths in `[dataset]` and `[output]` are taken from the current folder, as the
    shell would. Raises SettingsError with the key, the reason and the nearest known key.
    """
    values = read_toml(path)
    for name in (SCHEDULES, TRIGGERS):
        values.pop(name, None)
    for override in overrides or ():
        apply_override(values, override)
    if "output" in kind.model_fields:
        values = with_output(values, path)
    return check_as(kind, values, where=str(path))


def with_output(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """Name the folder of a result after the file, if the file does not name it."""
    output = values.get("output", {})
    if not isinstance(output, dict) or "path" in output:
        return values
    return {**values, "output": {**output, "path": f"runs/{file.stem}"}}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; SettingsError for what is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise SettingsError(f"{path}: not allowed to read it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}") from error


def check_as(kind: type[Kind], values: dict[str, Any], where: str) -> Kind:
    """Turn nested values into settings, or raise SettingsError naming every bad key."""
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        problems = _root_problems(error.errors())
        lines = "\n".join(f"  {_describe(problem, kind)}" for problem in problems)
        noun = "setting" if len(problems) == 1 else "settings"
        raise SettingsError(f"{where}: {len(problems)} wrong {noun}\n{lines}") from error
    check_locations(settings)
    return settings


def _root_problems(problems: list[Any]) -> list[Any]:
    """Drop what only follows from another problem, as a list `too short` of its bad items."""
    keys = [problem["loc"] for problem in problems]

    def has_deeper(key: tuple[int | str, ...]) -> bool:
        return any(other[: len(key)] == key and other != key for other in keys)

    return [problem for problem in problems if not has_deeper(problem["loc"])]


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one nested value as `a.b=c` says; `c` is TOML, or a bare word."""
    key, separator, raw = override.partition("=")
    if not separator or not key.strip():
        raise SettingsError(f"--set {override}: expected `key=value`, as in `mining.depth=50`")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = raw  # a bare word is a string, so that no one has to quote twice in a shell
    *parents, last = key.strip().split(".")
    node: Any = values
    for name in parents:
        if isinstance(node, dict):
            node.setdefault(name, {})
        node = node[_key_in(node, name, override)]
        if not isinstance(node, (dict, list)):
            raise SettingsError(f"--set {override}: `{name}` is a value and holds no further keys")
    node[_key_in(node, last, override)] = value


def _key_in(node: dict[str, Any] | list[Any], name: str, override: str) -> Any:
    if isinstance(node, dict):
        return name
    if not name.isdecimal() or int(name) >= len(node):
        raise SettingsError(
            f"--set {override}: `{name}` is no index of a list of {len(node)} (counted from 0)"
        )
    return int(name)


def _describe(problem: Any, kind: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{where}: {_unknown(problem['loc'], kind)}"
    shown = repr(problem["input"])
    hidden = problem["type"] == "missing" or credential_in(shown) is not None
    got = "" if hidden else f" (got {shown:.80})"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{got}"


def _unknown(location: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    model: type[BaseModel] | None = kind
    for part in location[:-1]:
        model = _model_of(model, part) if model else None
    key, known = str(location[-1]), list(model.model_fields) if model else []
    if model and issubclass(model, Settings) and key in model.replaced:
        return f"this key is gone; {model.replaced[key]}"
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known)}"
    return f"unknown key; {hint}"


def _model_of(model: type[BaseModel], part: int | str) -> type[BaseModel] | None:
    if isinstance(part, int):
        return model
    field = model.model_fields.get(part)
    return _settings_in(field.annotation) if field else None


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _settings_in(argument):
            return found
    return None
