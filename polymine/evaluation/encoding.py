"""An encoder as the evaluation of benchmarks sees it: texts, their language, what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Role = Literal["query", "document", "text"]
Vectors = NDArray[np.float32]
# Texts of one language, that language, and what they are here (`text`: both sides are alike); one
# row of the result per text. The language decides on an adapter where there are several.
Encode = Callable[[Sequence[str], str, Role], Vectors]


class SentenceEncoder(Protocol):
    """The part of `SentenceTransformer` that is used here."""

    def encode(self, inputs: list[str], *, batch_size: int) -> Any:
        """One vector per text."""

    def encode_query(self, inputs: list[str], *, batch_size: int) -> Any:
        """The same with the prompt of queries."""

    def encode_document(self, inputs: list[str], *, batch_size: int) -> Any:
        """The same with the prompt of documents."""


def one_model(model: SentenceEncoder, batch_size: int = 32) -> Encode:
    """A `SentenceTransformer` as an `Encode` that treats all languages alike."""

    def encode(texts: Sequence[str], language: str, role: Role) -> Vectors:
        by_role = {
            "query": model.encode_query,
            "document": model.encode_document,
            "text": model.encode,
        }
        return np.asarray(by_role[role](list(texts), batch_size=batch_size), dtype=np.float32)

    return encode
