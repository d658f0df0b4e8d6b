"""A model and how to call it, wherever a model is named."""

from typing import Any, Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.locations import Model

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class ModelSettings(Settings):
    """A model and how to call it; a file may also give its name alone, as a string."""

    model: Model = Field(
        description="Hub id (`name@revision`), local folder, `package:NAME` or "
        "`embedded:validator`."
    )
    max_length: int | None = Field(
        None,
        ge=8,
        le=131072,
        description="Tokens that are read; longer texts are cut. The model's own if not set.",
    )
    dtype: Dtype = Field(
        "auto",
        description="Precision to compute in. `auto`: bfloat16 where the hardware has it, else "
        "float32.",
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class EncoderSettings(ModelSettings):
    """A model that turns queries and documents into vectors."""

    query_prompt: str = Field("", description="Text put before every query.")
    document_prompt: str = Field("", description="Text put before every document.")
