"""Which settings name a file, folder, address or model, marked where the field is declared.

A server takes the settings of a run from whoever may start it, so every place that they name has to
be found: by a mark on the field's type, not by a list of names that the next field is missing from.
`locations_in` finds them, `with_locations` replaces them, `check_locations` refuses passwords in
them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel

from polymine.data_contracts.credentials import credential_in
from polymine.data_contracts.errors import SettingsError

Kind = Literal["table", "model", "output", "store", "address"]
Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True)
class Location:
    """The mark: what kind of place the field names.

    `table`: files or folders to read, or their address. `model`: a folder, or else a name of a
    model or of an earlier step. `output` and `store`: folders that are written. `address`: of
    another machine.
    """

    kind: Kind


Table = Annotated[str, Location("table")]
Model = Annotated[str, Location("model")]


@dataclass(frozen=True)
class Named:
    """One place that settings name: under which key, as what, and whether its code may run."""

    key: str
    value: str
    kind: Kind
    trusts_code: bool = False


def locations_in(settings: BaseModel, prefix: str = "") -> list[Named]:
    """Find every place that settings name, however deep."""
    found: list[Named] = []

    def visit(named: Named) -> str:
        found.append(named)
        return named.value

    _map_places(settings, prefix, visit)
    return found


def with_locations(settings: Part, change: Callable[[str, Kind], str]) -> Part:
    """Copy settings with every place changed that was set."""
    return _map_places(settings, "", lambda named: change(named.value, named.kind))


def check_locations(settings: BaseModel, prefix: str = "") -> None:
    """Refuse names that are none, and addresses that hold a password or key.

    Settings are shown in logs and reports; the SettingsError does not repeat the address.
    """
    for named in locations_in(settings, prefix):
        if found := credential_in(named.value):
            raise SettingsError(
                f"{named.key}: this address holds {found}, and settings are written into "
                "manifests and shown in the UI; give it to the process by its environment (as "
                "AWS_ACCESS_KEY_ID, or FSSPEC_HTTP), from a Prefect block where a work pool starts "
                "it"
            )
        if not named.value.strip() or "\0" in named.value:
            raise SettingsError(f"{named.key}: {named.value!r} names nothing; leave the key out")
        if re.match(r"~[^/]", named.value):
            raise SettingsError(
                f"{named.key}: `{named.value}` means another user's home; write the whole path"
            )


def _map_places(settings: Part, prefix: str, change: Callable[[Named], str]) -> Part:
    trusts = bool(getattr(settings, "trust_remote_code", False))

    def changed(value: Any, key: str, mark: Location | None) -> Any:
        if isinstance(value, BaseModel):
            return _map_places(value, key, change)
        if isinstance(value, (list, tuple)):
            return type(value)(changed(item, f"{key}.{n}", mark) for n, item in enumerate(value))
        if isinstance(value, dict):
            return {name: changed(item, f"{key}.{name}", mark) for name, item in value.items()}
        if mark is None or not isinstance(value, str):
            return value
        return change(Named(key, value, mark.kind, trusts and mark.kind == "model"))

    update = {
        name: changed(getattr(settings, name), f"{prefix}.{name}" if prefix else name,
                      _mark_of(field.annotation, field.metadata))
        for name, field in type(settings).model_fields.items()
    }  # fmt: skip
    kept = {name: value for name, value in update.items() if name in settings.model_fields_set}
    return settings.model_copy(update=kept)


def _mark_of(annotation: Any, metadata: Any = ()) -> Location | None:
    """Find the mark in a type, however it is wrapped: `Table | list[Table] | None`."""
    for item in (*metadata, *getattr(annotation, "__metadata__", ())):
        if isinstance(item, Location):
            return item
    found = (_mark_of(argument) for argument in get_args(annotation))
    return next((mark for mark in found if mark is not None), None)
