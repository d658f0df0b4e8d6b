"""A chain of base, connector and target in training: which parts learn, and what is stored of them.

Encoder and target learn by LoRA, as adapters on any base do; the connector and the projection learn
whole. A step that continues another one starts from all that it stored, and what the step does not
name stays as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import StepSettings, TargetSettings, TrainingSettings
from polymine.models import load_encoder
from polymine.models.finding import CHAIN
from polymine.models.loading import CHAIN_ADAPTERS, CHAIN_WEIGHTS
from polymine.training import adapters

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CONNECTOR = "connector"


def load_chain(training: TrainingSettings, device: str, seed: int = 0) -> SentenceTransformer:
    """Chain base and target, in float32, frozen and without dropout, by a fresh connector.

    Args:
        training: base and target.
        device: as `cuda:0`.
        seed: of the connector.

    Raises:
        ModelError: the two cannot be chained, or texts of `base.max_length` are longer than the
            target has positions for.
    """
    from polymine.models import lusifer

    base, target = training.base, training.target
    assert target is not None, "only training with a target has a chain"
    length = base.max_length
    encoder = load_encoder(
        base.model,
        device=device,
        dtype="float32",
        max_length=length,
        trust_remote_code=base.trust_remote_code,
        pooled=False,
    )
    behind = load_encoder(
        target.model,
        device=device,
        dtype="float32",
        trust_remote_code=base.trust_remote_code,
        pooled=False,
    )
    shape = target.model_dump(exclude={"model"})
    chain = lusifer.build(encoder, behind, **shape, seed=seed)
    if length is not None and (chain.max_seq_length or 0) < length:
        raise ModelError(
            f"training.base.max_length: {target.model} has positions for {chain.max_seq_length:,} "
            f"tokens beside the {target.tokens} added, and texts are read up to {length:,}; set it "
            f"to {chain.max_seq_length:,} at most"
        )
    adapters.freeze_base(chain, device)
    return chain


def parts_of(step: StepSettings) -> tuple[str, ...]:
    """Name the parts that learn in a step, all that may unless it says which."""
    if step.learns is not None:
        return step.learns
    return ("encoder", CONNECTOR) if step.loss.kind == "align" else ("encoder", CONNECTOR, "target")


def prepare_chain(
    step: StepSettings, training: TrainingSettings, before: Path | None, name: str, device: str
) -> SentenceTransformer:
    """Load a chain with what the step goes on from and what is new in it.

    Args:
        step: says which parts learn.
        training: base and target.
        before: folder that a step before wrote with `write_chain`; None to begin.
        name: of the adapters within encoder and target.
        device: as `cuda:0`.

    Returns:
        The chain; only the parts that learn have parameters that do.

    Raises:
        ModelError: as `load_chain`, or a base or target without the target layers of the LoRA.
    """
    from safetensors.torch import load_file

    from polymine.models.lusifer import CONNECTOR as PLACE
    from polymine.models.lusifer import load_own_state

    chain, learns = load_chain(training, device, step.seed), parts_of(step)
    for place, part in _places():
        stored = before / part if before is not None else None
        if stored is not None and stored.is_dir():
            adapters.load_adapter(chain, name, stored, dropout=step.lora.dropout, place=place)
        elif part in learns:
            adapters.add_fresh(chain, name, step.lora, step.seed, place=place)
    if before is not None:
        load_own_state(chain, load_file(str(before / CHAIN_WEIGHTS)), str(before))
    chain.to(device)
    adapters.activate(chain, [name], name)
    for place, part in _places():
        if part not in learns:
            adapters.freeze(chain, name, place=place)
    for module in list(chain.children())[PLACE:]:
        if not hasattr(module, "model"):  # connector and projection; pooling has nothing to learn
            module.requires_grad_(CONNECTOR in learns)
    return chain


def write_chain(
    chain: SentenceTransformer, name: str, folder: Path, base: str, target: TargetSettings
) -> None:
    """Store what may have been trained of a chain, as `polymine.models.load_encoder` reads it.

    Args:
        chain: with its adapters.
        name: of the adapters.
        folder: is made if it does not exist.
        base: name of the encoder's model.
        target: names the target, and the chain's shape.
    """
    from safetensors.torch import save_file

    from polymine.models.lusifer import own_state

    folder.mkdir(parents=True, exist_ok=True)
    for (place, part), model in zip(_places(), (base, target.model), strict=True):
        if adapters.has_adapter(chain, name, place):
            adapters.write_adapter(chain, name, folder / part, model, place=place)
    save_file(own_state(chain), str(folder / CHAIN_WEIGHTS), metadata={"format": "pt"})
    shape = target.model_dump(mode="json", exclude={"model"})
    _write_about(folder, {"encoder": base, "target": target.model, **shape})


def rename_bases(folder: Path, base: str, target: str) -> None:
    """Write other names of the same models into a folder of `write_chain`."""
    about = json.loads((folder / CHAIN).read_text(encoding="utf-8"))
    _write_about(folder, about | {"encoder": base, "target": target})
    for part, model in zip(CHAIN_ADAPTERS, (base, target), strict=True):
        config = folder / part / adapters.CONFIG
        if config.is_file():
            content = json.loads(config.read_text(encoding="utf-8"))
            content["base_model_name_or_path"] = model
            config.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _places() -> tuple[tuple[int, str], ...]:
    from polymine.models.lusifer import ENCODER, TARGET

    return tuple(zip((ENCODER, TARGET), CHAIN_ADAPTERS, strict=True))


def _write_about(folder: Path, about: dict[str, object]) -> None:
    (folder / CHAIN).write_text(json.dumps(about, indent=2), encoding="utf-8")
