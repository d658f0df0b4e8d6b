"""How far apart the same meaning lies in different languages: which models, on which texts."""

from pydantic import Field, field_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.evaluation import EvaluatedModel, EvaluationSet


class GapSettings(Settings):
    """Which models are measured on which texts, and how surely."""

    models: tuple[EvaluatedModel, ...] = Field(min_length=1)
    """Bases, training runs, anything that encodes; each is compared with the first one."""
    sets: tuple[EvaluationSet, ...] = Field(min_length=1)
    """Texts in several languages: pairs, sentences with a `group_id`, a collection whose queries or
    documents have one, or pairs with scores (STS)."""
    texts: int = Field(1_000, ge=10, le=20_000)
    """Groups of a set that are compared at most, always the same ones: all pairs of their texts
    are, in every pair of languages."""
    points: int = Field(200, ge=10, le=2_000)
    """Groups among these that are drawn on the maps, and whose neighbours, clusters and language
    are looked at."""
    neighbours: int = Field(10, ge=1, le=100)
    """Nearest texts whose language is asked for, for the purity."""
    k: int = Field(10, ge=1, le=1000)
    """Ranks that count in a pool of documents in all languages."""
    fewest: int = Field(10, ge=3, le=1000)
    """Texts that a pair of languages needs to count in a mean; with fewer it is shown, marked."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Probability that an interval holds the true value."""
    resamples: int = Field(1_000, ge=100, le=1_000_000)
    """Draws of groups or questions that the intervals come from."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of these draws, of the groups that are taken, and of the maps."""

    @field_validator("models", "sets")
    @classmethod
    def _names_differ(cls, items: tuple[EvaluatedModel | EvaluationSet, ...]) -> object:
        names = [item.name for item in items]
        if len(set(names)) < len(names):
            raise ValueError(f"each needs a name of its own, got {', '.join(names)}")
        return items

    @field_validator("sets")
    @classmethod
    def _is_read_here(cls, sets: tuple[EvaluationSet, ...]) -> tuple[EvaluationSet, ...]:
        """Refuse what has no texts in several languages that could be compared."""
        for chosen in sets:
            if chosen.benchmark == "belebele-choice":
                raise ValueError(
                    f'{chosen.name}: multiple choice is no parallel text; name "belebele"'
                )
        return sets
