"""What a file holds for each flow, where its result goes and how the work is cut."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.comparison import ComparisonSettings
from polymine.data_contracts.settings.dataset import DatasetSettings
from polymine.data_contracts.settings.evaluation import HELD_OUT, TRAINED, EvaluationSettings
from polymine.data_contracts.settings.gap import GapSettings
from polymine.data_contracts.settings.loading import read_toml
from polymine.data_contracts.settings.locations import Location
from polymine.data_contracts.settings.mining import MiningSettings
from polymine.data_contracts.settings.training import TrainingSettings, name_round

View = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]
Format = Literal["flagembedding", "tevatron", "nemo", "ms-swift"]
ListFormat = Literal["sentence-transformers", "pylate", "flagembedding-kd", "tevatron-kd"]


Trains = TypeVar("Trains", "TrainingRunSettings", "ComparisonRunSettings")


class OutputSettings(Settings):
    """Where the result goes and in which shapes."""

    path: Annotated[str, Location("output")] = Field(
        min_length=1, pattern=r"^([^{}]|\{date\}|\{run\})+$"
    )
    """Folder of this run; `runs/` and the name of the settings file, if that does not say it.
    `{date}` stands for the day it was scheduled for (UTC), `{run}` for its id."""
    views: tuple[View, ...] = Field(("triplet",), min_length=1)
    """Shapes to write the training set in."""
    formats: tuple[Format, ...] = ()
    """Files to write for other trainers than sentence-transformers."""
    overwrite: bool = False
    """Replace another run's output at `path`."""

    @field_validator("path")
    @classmethod
    def _is_a_folder(cls, path: str) -> str:
        """Refuse a URI: a result is moved there in one step, which needs a folder."""
        if "://" in path:
            raise ValueError(
                "must be a folder, of this machine or mounted; `engine.store` may be a URI"
            )
        return path


class EngineSettings(Settings):
    """How the work is cut and where intermediate results are kept; changes no result, but for
    rounding by `training_processes`."""

    replaced = dict.fromkeys(
        ("shard_queries", "shard_texts", "shard_pairs", "tile_documents", "batch_tokens"),
        "`memory`, in GiB, decides how the work is cut",
    )

    kind: Literal["local", "ray"] = "local"
    """Who computes: this process, or a Ray cluster whose nodes share the store."""
    address: Annotated[str, Location("address")] | None = Field(None, min_length=1)
    """Of the Ray cluster: `host:port` of its head from one of its nodes, `ray://host:10001` from
    anywhere. If not set, this machine's cluster, or else one that this run starts."""
    store: Annotated[str, Location("store")] | None = None
    """Where results are kept for reuse: a folder, or a URI as `s3://bucket/prefix`;
    `$POLYMINE_HOME/store` if not set."""
    threads: int | None = Field(None, ge=1)
    """CPU threads; all cores if not set."""
    memory: float = Field(8.0, gt=0, le=65_536)
    """GiB that a process may fill with what it works on, its models not counted. Work is cut by
    this number alone, whatever the machine has: less memory makes smaller shards, which also lose
    less when a run dies."""
    stages_at_once: int = Field(1, ge=1)
    """How many stages that do not depend on each other run side by side, as the rankings by
    several teachers. More than 1 pays on a cluster and on many cores."""
    training_processes: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 1
    """Processes of one machine that train a step together, each with its part of every batch:
    `"auto"` is one for each visible GPU, and one where there is none. A number on a CPU divides its
    threads among them. One unless set: several GPUs have not been tried yet. `schedule.batch`
    counts the rows of all of them, each is the negative of all others, and `schedule.mini_batch`
    is what one has in memory at once: results are those of one process, up to rounding (and to
    what a LoRA's `dropout` draws). A chain (`training.target`) is trained by one."""
    gpu_pool: str | None = None
    """Prefect work pool that trains and evaluates, by the deployments `train/POOL` and
    `evaluate/POOL`; this process if not set."""

    @model_validator(mode="after")
    def _goes_where_it_says(self) -> "EngineSettings":
        """Refuse an address that nobody would go to."""
        if self.address is not None and self.kind != "ray":
            raise ValueError(
                f'address: {self.address} is of a Ray cluster; add kind = "ray", or take it out'
            )
        return self

    @property
    def shard_queries(self) -> int:
        """Queries per shard of a stage: 1,024 per GiB; no more than 8,192, for the many cores."""
        return min(8192, self._per_gib(1024))

    @property
    def shard_texts(self) -> int:
        """Texts per shard of embeddings."""
        return self._per_gib(1024)

    @property
    def shard_pairs(self) -> int:
        """Pairs per shard of the validator's scores."""
        return min(4096, self._per_gib(512))

    @property
    def tile_documents(self) -> int:
        """Documents compared at once with a shard's queries: at most a quarter of the memory."""
        return max(16, self._per_gib(8192))

    @property
    def batch_tokens(self) -> int:
        """Tokens per batch on a CPU, whose cache holds 2,048; a GPU takes 32 times as many."""
        return min(2048, max(64, self._per_gib(256)))

    def _per_gib(self, count: int) -> int:
        return max(1, round(self.memory * count))


class RunSettings(Settings):
    """One mining run."""

    dataset: DatasetSettings
    mining: MiningSettings = MiningSettings()
    output: OutputSettings
    engine: EngineSettings = EngineSettings()


class TrainingRunSettings(Settings):
    """One training run on data that is there; `evaluation.sets` are kept out of it."""

    training: TrainingSettings
    output: OutputSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _leaves_own_name(self) -> "TrainingRunSettings":
        """Keep the name whose overlaps are a pipeline's own affair."""
        if any(item.name == HELD_OUT for item in self.evaluation.sets):
            raise ValueError(f"evaluation.sets: `{HELD_OUT}` is a pipeline's own; rename it")
        return self

    @model_validator(mode="after")
    def _has_one_round(self) -> "TrainingRunSettings":
        return _one_round(self)


def _one_round(settings: Trains) -> Trains:
    if settings.training.rounds > 1:
        raise ValueError(
            f"training.rounds: {settings.training.rounds} rounds mine again after each training, "
            "which `polymine pipeline` alone does; leave it out here"
        )
    return settings


class EvaluationRunSettings(Settings):
    """One evaluation of models that are there."""

    evaluation: EvaluationSettings
    output: OutputSettings
    engine: EngineSettings = EngineSettings()


class GapRunSettings(Settings):
    """How far apart the same meaning lies in different languages, for models that are there."""

    gap: GapSettings
    output: OutputSettings
    engine: EngineSettings = EngineSettings()


class PipelineSettings(RunSettings):
    """Mine, train, evaluate, report."""

    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _leaves_own_names(self) -> "PipelineSettings":
        """Keep the names that a pipeline gives its own set and model."""
        earlier = [name_round(number) for number in range(1, self.training.rounds)]
        owned = dict.fromkeys(earlier, "the model of an earlier round")
        owned[TRAINED] = "the model that is trained here"
        mines = {name.replace("-", "_"): "what an earlier round trained" for name in earlier}
        for kind, items, reserved in (
            ("evaluation.sets", self.evaluation.sets, {HELD_OUT: "what is held out here"}),
            ("evaluation.models", self.evaluation.models, owned),
            ("mining.teachers", self.mining.teachers, mines),
        ):
            if taken := [item.name for item in items if item.name in reserved]:
                raise ValueError(
                    f"{kind}: no other one may be called `{taken[0]}`, the name of "
                    f"{reserved[taken[0]]}; give it another `name`"
                )
        return self


class ComparisonRunSettings(PipelineSettings):
    """The pipeline once per way to mine and seed."""

    comparison: ComparisonSettings = ComparisonSettings()

    @model_validator(mode="after")
    def _has_one_round(self) -> "ComparisonRunSettings":
        return _one_round(self)


COMMANDS = {
    "run": "mine", "pipeline": "pipeline", "train": "train", "evaluate": "evaluate",
    "compare": "compare", "gap": "language_gap",
}  # fmt: skip


def flow_of(command: str | None, file: Path) -> str:
    """Name the flow of a command; without one, that which a file's sections are of."""
    if command is not None:
        if command not in COMMANDS:
            raise SettingsError(f"{command}: no command has settings; known: {', '.join(COMMANDS)}")
        return COMMANDS[command]
    sections = set(read_toml(file))
    if "gap" in sections:
        return "language_gap"
    if "comparison" in sections:
        return "compare"
    if "dataset" in sections:
        return "pipeline" if sections & {"training", "evaluation"} else "mine"
    return "train" if "training" in sections else "evaluate" if "evaluation" in sections else "mine"


SETTINGS: dict[str, type[Settings]] = {
    "mine": RunSettings,
    "train": TrainingRunSettings,
    "evaluate": EvaluationRunSettings,
    "pipeline": PipelineSettings,
    "compare": ComparisonRunSettings,
    "language_gap": GapRunSettings,
}
