"""What all settings share: frozen, closed to unknown keys, shown in the order of declaration."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

from polymine.data_contracts.settings.locations import Table

Source = Table | list[Table]
NAME = r"^[a-z][a-z0-9-]{0,62}$"


class Settings(BaseModel):
    """Base of every group of settings."""

    # A NaN threshold compares false with everything and would accept or refuse all silently.
    # The text below a key describes it in errors, docs and the form of the UI.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    # Keys of earlier versions, and what a file should say instead.
    replaced: ClassVar[dict[str, str]] = {}

    # Keys that stand first in the form of the UI; the others follow as they are declared.
    shown_first: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Name and number the keys, since Prefect's form shows class names and sorts by number."""
        described = handler(schema)
        whole = handler.resolve_ref_schema(described)
        whole["title"] = cls.__name__.removesuffix("Settings")
        fields = whole.get("properties", {})
        for position, name in enumerate(sorted(fields, key=lambda n: n not in cls.shown_first)):
            fields[name]["position"] = position
            fields[name].setdefault("title", name.replace("_", " ").title())
        return described
