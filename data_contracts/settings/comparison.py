"""Several ways to mine or to train, the same evaluation: which is best?"""

from typing import Literal

from pydantic import Field, field_validator

from polymine.data_contracts.settings.base import NAME, Settings


class ArmSettings(Settings):
    """One way to find negatives, and to train on them."""

    name: str = Field(pattern=NAME)
    """Short name, used in tables."""
    miner: Literal["polymine", "sentence-transformers", "random"] = "polymine"
    """`polymine`, with `set` changing `[mining]`; `mine_hard_negatives` of sentence-transformers,
    with `set` as its arguments; or documents at random that are not known positives."""
    set: tuple[str, ...] = ()
    """What is different in this arm, as on the command line: `selection.rule=percent`."""
    training: tuple[str, ...] = ()
    """What of `[training]` is different in this arm, the same way: `recipe.name=lusifer`."""


class ComparisonSettings(Settings):
    """Which arms, how often."""

    arms: tuple[ArmSettings, ...] = Field(
        (
            ArmSettings(name="random", miner="random"),
            ArmSettings(name="naive", set=("selection.rule=naive",)),
            ArmSettings(
                name="st-percent", miner="sentence-transformers", set=("relative_margin=0.05",)
            ),
            ArmSettings(name="default"),
        ),
        min_length=1,
    )
    """Ways to mine and train that are compared. The untouched base is always measured, too."""
    seeds: tuple[int, ...] = Field((0, 1), min_length=1)
    """Each arm is trained once per seed: the spread between seeds is noise."""

    @field_validator("arms")
    @classmethod
    def _names_differ(cls, arms: tuple[ArmSettings, ...]) -> tuple[ArmSettings, ...]:
        names = [arm.name for arm in arms]
        if len(set(names)) < len(names) or "base" in names:
            raise ValueError(f"arms need different names and none `base`, got {', '.join(names)}")
        return arms

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed twice is the same training twice, got {list(seeds)}")
        return seeds
