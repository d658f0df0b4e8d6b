"""The language gap: do models rank by meaning or by language, and who is at a disadvantage?"""

from typing import Any

from prefect import flow

from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EngineSettings, GapSettings, OutputSettings
from polymine.tasks.engine.cluster import working
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import open_measured
from polymine.tasks.evaluation.gap import Measures, gather_texts, measure_gap, score_gap
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.gap import report_gap
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.output import GAP, check_output, resolve_path


@flow(name="language-gap", persist_result=False, validate_parameters=True, **SHOWN)
@explains_failures
def language_gap(
    gap: GapSettings, output: OutputSettings, engine: EngineSettings = EngineSettings()
) -> dict[str, Any]:
    """Measure the language gap.

    Says how far apart the same meaning lies in different languages, for every model on every set,
    and which languages are at a disadvantage where documents of all of them are searched together.
    """
    output = resolve_path(output)
    check_roots(gap=gap, output=output, engine=engine)
    check_output(output, settings={"gap": gap}, kind=GAP)
    with working(engine) as run:
        return report_gap(run, *run_gap(run, gap), gap, output)


def run_gap(
    run: Context, gap: GapSettings
) -> tuple[Measures, Measures, dict[str, Measures], DatasetRef]:
    """Read the sets, gather their texts, measure every model on them, and score.

    Returns the sets' tables, their texts, the measures by model, and the scores.
    """
    models = [open_measured(call.name, call, shift=call.shift) for call in gap.models]
    tables = {chosen.name: read_set(run, chosen, gap.seed, scored=True) for chosen in gap.sets}
    texts = {s.name: gather_texts(run, s, tables[s.name], gap) for s in gap.sets}
    measures: dict[str, Measures] = {
        model.name: {
            chosen.name: measure_gap(
                run, model, chosen, tables[chosen.name], texts[chosen.name], gap
            )
            for chosen in gap.sets
        }
        for model in models
    }
    return tables, texts, measures, score_gap(run, texts, measures, gap)
