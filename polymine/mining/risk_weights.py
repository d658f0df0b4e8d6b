"""The shipped weights of the risk: the prior every fit starts from, and the fallback."""

from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict

from polymine.data_contracts.risk import RiskModel
from polymine.mining.risk import Teachers, kinds_of

FILE = "weights.json"


class Shipped(BaseModel):
    """What `python -m shipped.fit_risk` writes.

    `without` holds the weights fitted without a collection, as `cranfield/dense+lexical`, so that
    they can be tested on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...]
    variants: tuple[RiskModel, ...]
    without: dict[str, RiskModel] = {}


@cache
def shipped() -> Shipped:
    """Read the embedded file."""
    place = resources.files("polymine") / "embedded" / "risk" / FILE
    return Shipped.model_validate_json(place.read_text(encoding="utf-8"))


def load_prior(
    teachers: Teachers, unseen: tuple[str, ...] = (), without: str | None = None
) -> RiskModel:
    """Choose the weights for some kinds of teachers.

    Args:
        teachers: name and kind of each.
        unseen: names of teachers whose models the weights were not fitted with; they are noted.
        without: a collection that must have taken no part in the fit.

    Returns:
        The model as shipped, with further notes.
    """
    kinds = kinds_of(teachers)
    key = f"{without}/{'+'.join(kinds)}"
    found = next(model for model in shipped().variants if model.kinds == kinds)
    chosen = shipped().without.get(key, found)
    notes = [
        f"the shipped weights were fitted with {', '.join(shipped().models)}; z-scores of {name} "
        "are expected to mean the same, which nobody has tested"
        for name in unseen
    ]
    return chosen.model_copy(update={"notes": (*chosen.notes, *notes)})
