"""A model whose vectors lose what their language adds to all of them: SHIFT, kept in its folder.

    Transformer -> Pooling (-> Normalize) -> LanguageShift

The offsets are estimated once, from texts in several languages (`polymine.evaluation.gap.shift`,
arXiv 2606.18801), and every text names its language: `model.encode(texts, language="ru")`.
Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from polymine.data_contracts.errors import ModelError
from polymine.models.stored import StoredModule

NOTHING = 1e-6  # length below which what is left of a vector has no direction


class LanguageShift(StoredModule):
    """Subtracts a language's mean offset from unit vectors, and makes them unit vectors again.

    Args:
        languages: codes, one per offset.
        components: of a vector.
    """

    config_keys = ["languages", "components"]
    forward_kwargs = {"language"}

    def __init__(self, languages: list[str], components: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.languages, self.components = list(languages), components
        self.offsets: torch.Tensor
        self.register_buffer("offsets", torch.zeros(len(languages), components))

    @classmethod
    def of(cls, offsets: Mapping[str, NDArray[np.float64]]) -> LanguageShift:
        """Make the module of offsets by language, (d,) each."""
        codes = sorted(offsets)
        module = cls(codes, len(offsets[codes[0]]))
        module.offsets.copy_(torch.from_numpy(np.stack([offsets[code] for code in codes])))
        return module

    def forward(
        self, features: dict[str, Any], language: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """Shift the vectors of texts that are all in one language.

        Args:
            features: sentence_embedding (texts, components).
            language: of the texts.

        Returns:
            The features, with unit vectors.

        Raises:
            ModelError: no language, or one whose offset is not known.
        """
        if language not in self.languages:
            what = "needs the language of the texts" if language is None else f"has no {language!r}"
            raise ModelError(
                f'this model {what}, as `encode(texts, language="{self.languages[0]}")`; it knows '
                f"{', '.join(self.languages)}. Within Polymine name the plain model with `shift = "
                "true`, which estimates the offsets from the texts at hand"
            )
        given = normalize(features["sentence_embedding"].float())
        moved = given - self.offsets[self.languages.index(language)]
        length = moved.norm(dim=1, keepdim=True)
        shifted = torch.where(length > NOTHING, moved / length.clamp(min=NOTHING), given)
        features["sentence_embedding"] = shifted
        return features
