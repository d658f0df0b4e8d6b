"""What a teacher's vectors are stored under."""

import pytest

from polymine.tasks.mining.embedding import name_family
from tests.conftest import MINILM


@pytest.mark.parametrize(
    "change", [{"max_length": 64}, {"dtype": "bfloat16"}, {"trust_remote_code": True}]
)
def test_what_changes_a_vector_changes_its_family(change: dict[str, object]) -> None:
    assert name_family(MINILM.model_copy(update=change), "") != name_family(MINILM, "")
    assert name_family(MINILM, "query: ") != name_family(MINILM, "")


@pytest.mark.parametrize("change", [{"name": "other"}, {"k1": 2.0}, {"query_prompt": "q: "}])
def test_what_changes_no_vector_does_not(change: dict[str, object]) -> None:
    assert name_family(MINILM.model_copy(update=change), "") == name_family(MINILM, "")
