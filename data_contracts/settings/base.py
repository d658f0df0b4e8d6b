"""What all settings share: frozen, closed to unknown keys, ordered in the UI's form."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from polymine.data_contracts.settings.locations import Table

Source = Table | list[Table]


class Settings(BaseModel):
    """Base of every group of settings."""

    # A NaN threshold compares false with everything and would accept or refuse all silently.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def at(position: int) -> dict[str, Any]:
    """Place a field in the form of the UI."""
    return {"position": position}
