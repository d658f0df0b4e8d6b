"""The one training function: a step of any recipe, on a base with whatever adapters it stands on.

mono, cross-lingual, sequential and stacked training differ in the data, in which adapter learns and
in which are frozen; all of that is in the step. The loop itself, mixed precision, checkpoints and
trackers are those of the sentence-transformers trainer; what is ours is that only the adapter is
stored, that texts pass through adapters by language, and that an interrupted step resumes. With a
target the model is a chain, of which several parts may learn (`chain.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from polymine import models
from polymine.data_contracts.notes import Chosen
from polymine.data_contracts.settings import StepSettings, TargetSettings, TrainingSettings
from polymine.evaluation.collection import EvaluationCollection
from polymine.progress import Progress, Silent
from polymine.training import adapters, batches
from polymine.training.chain import prepare_chain, write_chain
from polymine.training.checkpoints import find_checkpoint
from polymine.training.objectives import Objective, make_objective
from polymine.training.precision import learning_dtype
from polymine.training.processes import together
from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from polymine.training.watch import Watch

LOGGED = 200  # points of a training curve, at most about
TEXT = "adapter-"  # before a step's name: PEFT takes some short names for parts of its own


@dataclass(frozen=True)
class TrainedStep:
    """What a step made; `encoder` still carries its adapters and is in evaluation mode.

    `learned` names the parameters that learned. `looks` is a DevelopmentCurve; it and `chosen` are
    None without a development part.
    """

    encoder: SentenceTransformer
    adapter: str
    target: TargetSettings | None
    curve: pl.DataFrame
    rows: dict[str, int]
    shares: dict[str, float]
    steps: int
    tokens: int
    closed: int
    seconds: float
    learned: tuple[str, ...]
    looks: pl.DataFrame | None = None
    chosen: Chosen | None = None

    def write(self, folder: Path, base: str, *, trust_remote_code: bool = False) -> None:
        """Store what this step trained, without what it stands on: an adapter, or all weights."""
        if self.target is not None:
            write_chain(self.encoder, self.adapter, folder, base, self.target)
        elif adapters.has_adapter(self.encoder, self.adapter):
            adapters.write_adapter(self.encoder, self.adapter, folder, base)
        else:
            adapters.write_whole(self.encoder, folder, base, trust_remote_code=trust_remote_code)


def train_step(
    step: StepSettings,
    rows: pl.DataFrame,
    training: TrainingSettings,
    *,
    stack: adapters.AdapterStack = adapters.AdapterStack(),
    checkpoints: Path,
    fingerprint: str,
    device: str = "cpu",
    progress: Progress | None = None,
    development: EvaluationCollection | None = None,
    processes: int = 1,
) -> TrainedStep:
    """Train one step's adapter; returns the encoder with it, and what was trained on.

    Equal rows, settings, device, processes and thread count give equal weights, interrupted or not
    (CPU). Another number of processes changes them by rounding, and by what a dropout draws.

    Args:
        step: what to train, and how.
        rows: TrainingRows; `source` is `batches.source_name` of the part of data.
        training: the base, its prompts and length.
        stack: what the adapter stands on.
        checkpoints: folder for them; one of the same `fingerprint` is gone on from.
        fingerprint: of all that the result depends on.
        device: to train on, as `cuda:0`.
        progress: is told of optimizer steps.
        development: chooses step and scale (`polymine.training.watch`); else the last step stays.
        processes: that share each batch, the n-th with the n-th visible GPU, if `device` is one;
            a chain is trained by one.

    Raises:
        InputError: data that cannot be trained on.
        ModelError: no target layers, another's adapter or checkpoints, memory for not one row, or
            a process that was ended from outside.
    """
    if processes > 1:  # each would measure anew which precision is faster, and might differ
        dtype = learning_dtype(training.base, device)
        base = training.base.model_copy(update={"dtype": dtype})
        training = training.model_copy(update={"base": base})
    work = partial(
        train_with, step, rows, training, stack=stack, checkpoints=checkpoints,
        fingerprint=fingerprint, device=device, development=development,
    )  # fmt: skip
    progress = progress or Silent()
    if processes == 1:
        return work(ALONE, progress)
    on_gpus = not device.startswith("cpu")
    trained, weights = together(partial(_report, work), processes, progress, on_gpus=on_gpus)
    encoder, name, parents = prepare(step, training, stack, device)
    encoder.load_state_dict(weights, strict=False)
    adapters.activate(encoder, [*parents, name], None)
    whole: TrainedStep = replace(trained, encoder=encoder.eval())
    return whole


def _report(work: Callable[[Team, Progress], TrainedStep], team: Team, progress: Progress) -> Any:
    """Train as one of several processes; the first returns all but the base, which is at hand."""
    trained = work(team, progress)
    if not team.leads:
        return None
    state = trained.encoder.state_dict()
    weights = {name: state[name].cpu() for name in trained.learned}
    return replace(trained, encoder=cast(Any, None)), weights


def train_with(
    step: StepSettings,
    rows: pl.DataFrame,
    training: TrainingSettings,
    team: Team,
    progress: Progress,
    *,
    stack: adapters.AdapterStack,
    checkpoints: Path,
    fingerprint: str,
    device: str,
    development: EvaluationCollection | None,
) -> TrainedStep:
    """Train in this process: alone, or as one of several that call this with the same.

    Args:
        step, rows, training, stack, checkpoints, fingerprint, device, development: as of
            `train_step`.
        team: which of the processes it is.
        progress: is told of optimizer steps.

    Returns:
        What was made, the same in all of them but for the seconds.

    Raises:
        InputError, ModelError: as `train_step`.
    """
    from polymine.training.callbacks import own_run, read_curve

    parts = batches.split_rows(rows, mixed=step.schedule.mixed_languages)
    batches.check_parts(parts, step)
    resume = find_checkpoint(checkpoints, fingerprint)
    encoder, name, parents = prepare(step, training, stack, device)
    steps = batches.count_steps(parts, step)
    job = _Job(step, training, fingerprint, name, parents, steps, device, team)
    watch = job.watch(encoder, development) if development is not None else None
    with models.quiet(), own_run(job.trackers):
        trainer = job.build(encoder, parts, checkpoints, progress, watch)
        trainer.run(resume)
    learned = [name for name, value in encoder.named_parameters() if value.requires_grad]
    chosen = watch.choose(trainer.state.global_step) if watch else None
    adapters.activate(encoder, [*parents, name], None)
    curve = read_curve(trainer.state.log_history, step.name)
    return TrainedStep(
        encoder=encoder.eval(),
        adapter=name,
        target=training.target,
        curve=curve,
        rows={part: len(frame) for part, frame in batches.split_rows(rows).items()},
        shares=batches.share_parts(parts, step),
        steps=trainer.state.global_step,
        tokens=max(curve["tokens"], default=0),
        closed=trainer.closed,
        seconds=max(curve["seconds"], default=0.0),
        learned=tuple(learned),
        looks=watch.curve(step.name) if watch else None,
        chosen=chosen,
    )


def prepare(
    step: StepSettings, training: TrainingSettings, stack: adapters.AdapterStack, device: str
) -> tuple[SentenceTransformer, str, list[str]]:
    """Load the base with its adapters.

    Args:
        step: its LoRA, name and seed.
        training: its base.
        stack: what the step's adapter stands on.
        device: as `cuda:0`.

    Returns:
        The encoder with all adapters active, the name of the one that learns, and those of the
        frozen ones, the lowest first. Where all weights are trained there is no adapter.

    Raises:
        ModelError: a base without the target layers, or an adapter that does not fit.
    """
    name = TEXT + step.name
    if training.target is not None:
        return prepare_chain(step, training, stack.initial, name, device), name, []
    encoder = adapters.load_base(
        training.base.model,
        device=device,
        max_length=training.base.max_length,
        trust_remote_code=training.base.trust_remote_code,
    )
    if step.adapter == "full":
        adapters.unfreeze(encoder)
        return encoder.to(device), name, []
    parents = [f"parent-{number}" for number in range(len(stack.frozen))]
    for parent, folder in zip(parents, stack.frozen, strict=True):
        adapters.load_adapter(encoder, parent, folder)
    if stack.initial is not None:
        adapters.load_adapter(encoder, name, stack.initial, dropout=step.lora.dropout)
    else:
        adapters.add_fresh(encoder, name, step.lora, step.seed)
    for parent in parents:
        adapters.freeze(encoder, parent)
    encoder.to(device)
    adapters.activate(encoder, [*parents, name], name)
    return encoder, name, parents


@dataclass(frozen=True)
class _Job:
    """All that the trainer of one step needs to know."""

    step: StepSettings
    training: TrainingSettings
    fingerprint: str
    name: str
    parents: list[str]
    steps: int
    device: str
    team: Team

    @property
    def trackers(self) -> tuple[str, ...]:
        """Trackers that this process reports to: one of several does."""
        return self.training.report_to if self.team.leads else ()

    def build(
        self,
        encoder: SentenceTransformer,
        parts: dict[str, pl.DataFrame],
        folder: Path,
        progress: Progress,
        watch: Watch | None,
    ) -> Any:
        from polymine.training.callbacks import ProgressCallback, StepTrainer

        base = partial(adapters.untouched, encoder, self.names, self.name)
        objective = make_objective(
            encoder, parts, self.step, self.training, self.device, base, self.team
        )
        route_by_language(encoder, self.step, self.names, self.name)
        return StepTrainer(
            model=encoder,
            args=self.arguments(objective, folder),
            train_dataset=objective.datasets,
            loss=objective.loss,
            callbacks=[ProgressCallback(progress, self.step.name, self.steps)],
            step=self.step.name,
            fingerprint=self.fingerprint,
            facts=objective.facts,
            watch=watch,
            team=self.team,
        )

    def watch(self, encoder: SentenceTransformer, whole: EvaluationCollection) -> Watch | None:
        """Watch what the step can change of a development part; the base is measured first."""
        from polymine.training.development import Part
        from polymine.training.watch import Watch

        base, step = self.training.base, self.step
        part = Part.of(whole, step, self.training, self.half, self.team)
        if part is None:
            return None
        scores = None
        if self.training.target is not None:
            scores = part.score(
                adapters.load_base(
                    base.model, device=self.device, max_length=base.max_length,
                    trust_remote_code=base.trust_remote_code,
                )
            )  # fmt: skip
        elif self.parents or step.adapter == "continue":
            with adapters.untouched(encoder, self.names, self.name):
                scores = part.score(encoder)
        return Watch.of(encoder, part, step, self.training, self.steps, scores)

    @property
    def names(self) -> list[str]:
        """Adapters that texts pass through, the one that learns last."""
        return [*self.parents, self.name]

    @property
    def half(self) -> bool:
        """Whether it computes in bfloat16."""
        return learning_dtype(self.training.base, self.device) == "bfloat16"

    def arguments(self, objective: Objective, folder: Path) -> Any:
        from sentence_transformers import SentenceTransformerTrainingArguments

        plan = self.step.schedule
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            max_steps=self.steps,
            per_device_train_batch_size=plan.batch,
            learning_rate=plan.learning_rate,
            warmup_steps=plan.warmup,
            lr_scheduler_type="constant_with_warmup" if plan.decay == "constant" else plan.decay,
            weight_decay=plan.weight_decay,
            max_grad_norm=plan.gradient_norm,
            seed=self.step.seed,
            data_seed=self.step.seed,
            bf16=self.half,
            use_cpu=self.device == "cpu",
            prompts=objective.prompts,
            router_mapping=objective.tasks,
            batch_sampler=batches.sample_without_copies,
            multi_dataset_batch_sampler=partial(
                batches.SharedBatches, shares=objective.shares, steps=self.steps
            ),
            logging_steps=max(1, self.steps // LOGGED),
            logging_nan_inf_filter=False,  # it would write 0 for a loss that is no number
            save_strategy="steps",
            save_steps=self.training.checkpoint_steps,
            save_total_limit=2,
            report_to=list(self.trackers) or "none",
            run_name=f"{self.step.name}-{self.fingerprint[:8]}",  # Trackio goes on by the name
            disable_tqdm=True,
            dataloader_pin_memory=self.device != "cpu",
        )
        # Each visible GPU would get a batch: more rows a step than the settings say. See `team`.
        arguments._n_gpu = min(1, arguments.n_gpu)
        return arguments


def route_by_language(
    encoder: SentenceTransformer, step: StepSettings, names: Sequence[str], trainable: str
) -> None:
    """Let only texts of the step's languages pass through its adapters.

    The features of a column say its language as their `task`; a cached loss embeds every
    mini-batch twice, with the same features.

    Args:
        encoder: gets a hook before its transformer.
        step: its `languages`; nothing is done where there are none.
        names: of the adapters that these texts pass through.
        trainable: the one that learns.
    """
    if step.languages is None:
        return
    chosen, module = set(step.languages), encoder[0]

    def switch(_: Any, inputs: tuple[dict[str, Any], ...]) -> None:
        own = inputs[0].get("task") in chosen
        adapters.activate(encoder, names if own else (), trainable)

    module.register_forward_pre_hook(switch)
