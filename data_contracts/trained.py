"""What a trained model's folder says of itself, so that it can be used again."""

from typing import Any

from pydantic import BaseModel, ConfigDict

BASE, OTHERS = "base", "*"  # the untouched model; every language without a route of its own


class TrainedModel(BaseModel):
    """`polymine.json` in the folder of a trained model.

    Args:
        base: name of the untouched model, as `polymine.models.resolve` reads it.
        routes: language (`*` for all others) to an adapter below `adapters/`, or `base`.
        query_prompt, document_prompt, max_length: as in training.
        fingerprint: of everything the adapters depend on.
        steps: how each adapter was made.
        rows: step to the fingerprint of the rows it learned from, as the store names them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    routes: dict[str, str]
    query_prompt: str = ""
    document_prompt: str = ""
    max_length: int | None = None
    fingerprint: str
    steps: list[dict[str, Any]] = []
    rows: dict[str, str] = {}

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that some language uses, sorted."""
        return tuple(sorted({name for name in self.routes.values() if name != BASE}))

    def adapter_of(self, language: str) -> str:
        """Name the adapter that encodes this language, or `base`."""
        return self.routes.get(language, self.routes.get(OTHERS, BASE))
