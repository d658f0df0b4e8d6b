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

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Number the keys, since Prefect's form sorts by `position` and else by the alphabet."""
        described = handler(schema)
        fields = handler.resolve_ref_schema(described).get("properties", {})
        for position, field in enumerate(fields.values()):
            field["position"] = position
        return described
