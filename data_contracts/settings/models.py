"""A model and how to call it, wherever a model is named."""

from typing import Any, Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.locations import Model

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class ModelSettings(Settings):
    """A model and how to call it; a file may also give its name alone, as a string."""

    model: Model
    """Hub id (`name@revision`), local folder or `package:NAME`."""
    max_length: int | None = Field(None, ge=8, le=131072)
    """Tokens that are read of a text; the rest is cut off. The model's own limit if not set."""
    dtype: Dtype = "auto"
    """Precision to compute in. `auto` is the faster of bfloat16 and float32: a CPU that has both is
    measured once per model, and its answer kept in the user's cache; on a GPU that has bfloat16 it
    is that, or float16 for a model that was saved in it."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off, because it may do anything."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class EncoderSettings(ModelSettings):
    """A model that turns queries and documents into vectors."""

    query_prompt: str | None = None
    """Text put before every query, as `query: `. Models are trained with such prompts and search
    worse without. If not set, what the model's folder names; empty for none."""
    document_prompt: str | None = None
    """Text put before every document, as `passage: `; likewise."""

    similarity: Literal["auto", "cosine", "dot"] = "auto"
    """How its vectors are compared: by their angle, or by dot product, where their lengths count.
    `auto` is what the model's folder names, cosine where it names nothing."""

    def prompt_for(self, side: str) -> str:
        """Return the prompt of `queries` or `documents`, once it is settled; empty for none."""
        return (self.query_prompt if side == "queries" else self.document_prompt) or ""
