"""A measured model with the offsets of languages taken away for good, as a folder of its own."""

from collections.abc import Iterable
from pathlib import Path

from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.settings import GapSettings
from polymine.models import load_encoder
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import Measured, offsets_of, open_measured
from polymine.tasks.evaluation.gap import sides_measured
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.store.atomic import staged_new


def save_shifted(run: Context, gap: GapSettings, model: str, chosen: str, to: Path) -> list[str]:
    """Write the model called `model`, less what each language of the set `chosen` adds to it.

    Returns:
        The languages whose offsets it knows.

    Raises:
        SettingsError: no such model or set.
        ModelError: it has an adapter per language, or the set has one language.
        StoreError: the folder is there.
    """
    from polymine.models.shifted import LanguageShift

    called = {each.name: each for each in gap.models}
    sets = {each.name: each for each in gap.sets}
    for name, known in ((model, called), (chosen, sets)):
        if name not in known:
            raise SettingsError(f"the settings name no `{name}`; there are {', '.join(known)}")
    measured = open_measured(model, called[model], shift=True)
    tables = read_set(run, sets[chosen], gap.seed, scored=True)
    offsets = offsets_of(run, measured, sides_measured(tables))
    if not offsets:
        raise ModelError(f"the set {chosen} has texts in one language, and nothing to compare with")
    path = _only_path(measured, offsets)
    with staged_new(to) as beside:
        call = measured.call
        encoder = load_encoder(
            path, device="cpu", dtype="float32", max_length=call.max_length,
            trust_remote_code=call.trust_remote_code,
        )  # fmt: skip
        encoder.append(LanguageShift.of(offsets))
        encoder.prompts = {"query": call.query_prompt or "", "document": call.document_prompt or ""}
        encoder.save_pretrained(str(beside), create_model_card=False)
    return sorted(offsets)


def _only_path(measured: Measured, languages: Iterable[str]) -> str:
    """The one model that encodes all these languages."""
    paths = {measured.path_for(code) for code in languages}
    if len(paths) > 1:
        raise ModelError(
            f"{measured.name}: {len(paths)} adapters encode these languages, or the base some of "
            "them, and a folder holds one model; merge one of them first, by `polymine merge`"
        )
    return paths.pop()
