"""docker-compose.yml as plain values: what each service runs, and with which environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\})"
)


class ComposeError(Exception):
    """The compose file cannot be resolved; says which variable is missing."""


@dataclass(frozen=True)
class Service:
    """One service, resolved."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    health: tuple[str, ...]  # empty for what runs once
    needs: tuple[str, ...]  # names of services, each before this one
    folder: str  # where it starts


def read_services(variables: Mapping[str, str], file: Path = FILE) -> dict[str, Service]:
    """Read all services, references replaced by `variables` as Compose would replace them.

    A variable of an environment without a value is handed on from `variables` or left out.
    """
    parts = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    return {
        name: _service(name, resolve(part, variables), variables) for name, part in parts.items()
    }


def resolve(value: Any, variables: Mapping[str, str]) -> Any:
    """Replace `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` in all strings within."""
    if isinstance(value, dict):
        return {key: resolve(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [resolve(each, variables) for each in value]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda found: _replacement(found, variables), value)


def _replacement(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    text = variables.get(found["name"], "")
    if text or found["kind"] is None:
        return text
    if found["kind"] == ":?":
        raise ComposeError(f"{found['name']}: {found['rest']}")
    return found["rest"]


def _service(name: str, part: dict[str, Any], variables: Mapping[str, str]) -> Service:
    given = part.get("environment", {})
    environment = {key: text for key, text in given.items() if text is not None}
    for key in given.keys() - environment.keys():
        if key in variables:
            environment[key] = variables[key]
    return Service(
        name,
        tuple(part.get("command", ())),
        environment,
        tuple(part.get("healthcheck", {}).get("test", ())),
        tuple(part.get("depends_on", {})),
        part.get("working_dir", "/"),
    )
