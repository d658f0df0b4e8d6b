"""What MTEB takes for a model, around an encoder that wants to know the language of its texts.

MTEB hands its models a task, a subset and, in retrieval, whether texts are queries or documents,
but never their language. `MtebModel` works it out:

- the two languages of a retrieval subset are the documents' and the queries';
- the two languages of a pair subset (STS, bitext mining) are those of `sentence1` and `sentence2`;
  which of them is being encoded is told by comparing the texts with the second column;
- texts to cluster are documents: nothing asks for them, and local sets are encoded so too;
- where one bitext holds all languages as columns, MTEB names the column as the subset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from polymine.evaluation.languages import short_code

if TYPE_CHECKING:
    from mteb import AbsTask

Role = Literal["query", "document", "text"]
Vectors = NDArray[np.float32]
# Texts of one language, that language, and what they are here (`text`: both sides are alike); one
# row of the result per text. The language decides on an adapter where there are several.
Encode = Callable[[Sequence[str], str, Role], Vectors]


class MtebModel:
    """`mteb.models.EncoderProtocol` around an `Encode`.

    Args:
        encode: called with texts of one language at a time.
        task: with its data loaded.
        subsets: (document, query) language of every subset that runs.
        similarity: `cosine` or `dot`.
    """

    def __init__(
        self,
        encode: Encode,
        task: AbsTask,
        subsets: Mapping[str, tuple[str, str]],
        similarity: str = "cosine",
    ) -> None:
        from mteb.models import ModelMeta

        self._encode = encode
        self._task = task
        self._subsets = subsets
        self._dot = similarity == "dot"
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(
        self, inputs: Iterable[Mapping[str, list[str]]], *, hf_split: str, hf_subset: str,
        prompt_type: Any = None, **_: Any,
    ) -> Vectors:  # fmt: skip
        """Encode all texts in one call; MTEB's batches are only how it hands them over.

        Args:
            inputs: batches with `text`.
            hf_split, hf_subset: that are being measured.
            prompt_type: query or document in retrieval, None elsewhere.

        Returns:
            float32 (n, d), in the order of the texts.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        role: Role = "text" if prompt_type is None else prompt_type.value
        language = self._language(texts, role, hf_subset, hf_split)
        if role == "text" and self._task.metadata.type == "Clustering":
            role = "document"  # as in clustering of local sentences
        return np.asarray(self._encode(texts, language, role), dtype=np.float32)

    def similarity(self, embeddings1: Vectors, embeddings2: Vectors) -> Any:
        """Compare all with all.

        Args:
            embeddings1, embeddings2: (n, d) and (m, d).

        Returns:
            A tensor (n, m).
        """
        from mteb.similarity_functions import cos_sim, dot_score

        return (dot_score if self._dot else cos_sim)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Vectors, embeddings2: Vectors) -> Any:
        """Compare row by row.

        Args:
            embeddings1, embeddings2: both (n, d).

        Returns:
            A tensor (n,).
        """
        from mteb.similarity_functions import pairwise_cos_sim, pairwise_dot_score

        compared = pairwise_dot_score if self._dot else pairwise_cos_sim
        return compared(embeddings1, embeddings2)

    def _language(self, texts: list[str], role: Role, subset: str, split: str) -> str:
        if subset not in self._subsets:
            return short_code(subset)
        documents, queries = self._subsets[subset]
        if role == "text" and documents != queries:
            data = rows_of(self._task, subset, split)
            return queries if list(data["sentence2"]) == texts else documents
        return queries if role == "query" else documents


def rows_of(task: AbsTask, subset: str, split: str) -> Any:
    """Find the rows of a subset.

    Args:
        task: with its data loaded.
        subset, split: as MTEB calls them.

    Returns:
        The rows; a task with one subset, or with languages as columns, has them by split only.
    """
    dataset = task.dataset
    assert dataset is not None
    return dataset[subset][split] if subset in dataset else dataset[split]
