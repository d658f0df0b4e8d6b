"""LoRA adapters on a frozen encoder: fresh, continued, or stacked on frozen ones.

A layer computes h = W x + sum_i (alpha_i / r_i) B_i A_i x over its active adapters. Stacked LoRA
(Patil et al., IJCNLP-AACL SRW 2025) is that sum with all but the last adapter frozen; a new B is 0,
so a stack starts as what it stands on, and without its last adapter is that again, bit for bit.
PEFT can hold the sum; what it does not do is keep the frozen part frozen: activating two adapters
makes both trainable and leaves their dropout on. That is done here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import LoraSettings
from polymine.models import load_encoder, quiet

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL_LINEAR = "all-linear"
_POOLER = "pooler"  # of BERT-like models, which sentence-transformers never reads
# Kinds of LoRA whose update is not alpha/rank times B A in every layer.
_VARIANTS = (
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "fan_in_fan_out",
)


@dataclass(frozen=True)
class AdapterStack:
    """What a step's adapter stands on.

    Args:
        frozen: folders of its parents, the lowest first, which stay as they are.
        initial: folder of the adapter it continues, or None for a fresh one.
    """

    frozen: tuple[Path, ...] = ()
    initial: Path | None = None


def load_base(
    name: str,
    *,
    device: str,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Load the model to adapt, in float32, frozen and without dropout.

    What does not learn needs no noise: with dropout off a text has one vector per step, and a
    stack on a frozen adapter equals training on the merged one.

    Args:
        name: as in `polymine.models.load_encoder`.
        device: as `cpu` or `cuda:0`.
        max_length: in tokens; the model's own if None.
        trust_remote_code: whether code of the model's repository may run.

    Returns:
        The encoder, with no parameter that learns.
    """
    encoder = load_encoder(
        name,
        device=device,
        dtype="float32",
        max_length=max_length,
        trust_remote_code=trust_remote_code,
    )
    freeze_base(encoder, device)
    return encoder


def freeze_base(encoder: SentenceTransformer, device: str) -> None:
    """Let nothing of a model learn, and no dropout be drawn in it; adapters come later.

    Args:
        encoder: a model or a chain of several, changed in place.
        device: that it trains on.
    """
    import torch

    module: Any
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        # Of a decoder's layers it is a number; where it is a module, it is one of those above.
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    if device == "cpu":
        # The fused attention's backward takes 70 % of a bfloat16 step on a CPU; plain one 5 %.
        for module in encoder.children():
            with contextlib.suppress(AttributeError, ValueError):  # models without a choice
                module.model.set_attn_implementation("eager")
    encoder.requires_grad_(False)


def unfreeze(encoder: SentenceTransformer) -> None:
    """Let all weights of a model learn but those that no vector depends on.

    Args:
        encoder: a model of `load_base`, changed in place.
    """
    for name, value in encoder.named_parameters():
        value.requires_grad_(_POOLER not in name.split("."))


def write_whole(
    encoder: SentenceTransformer, folder: Path, base: str, *, trust_remote_code: bool = False
) -> None:
    """Store a model whose weights were trained: its base, with its own length, and these weights.

    Args:
        encoder: carries the weights.
        folder: is made if it does not exist.
        base: name of the model it was.
        trust_remote_code: whether code of that model's repository may run.
    """
    whole = load_encoder(base, device="cpu", dtype="float32", trust_remote_code=trust_remote_code)
    whole.load_state_dict(encoder.state_dict())
    with quiet():
        whole.save_pretrained(str(folder), create_model_card=False)


def add_fresh(
    encoder: SentenceTransformer, name: str, lora: LoraSettings, seed: int, *, place: int = 0
) -> None:
    """Put a new adapter on the encoder; it changes no vector yet, since its B is 0.

    Args:
        encoder: is changed in place.
        name: of the adapter within the encoder.
        lora: rank, alpha, dropout and target layers.
        seed: of A; the global RNG state stays as it was.
        place: of the transformer among the model's modules.

    Raises:
        ModelError: the model has none of the target layers.
    """
    import torch
    from peft import LoraConfig

    targets = find_targets(encoder, lora.targets, place=place)
    alpha: Any = lora.alpha  # PEFT takes fractions, too
    config = LoraConfig(
        r=lora.rank, lora_alpha=alpha, lora_dropout=lora.dropout, target_modules=targets
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        _add(encoder, name, config, place)


def find_targets(
    encoder: SentenceTransformer, targets: Sequence[str], *, place: int = 0
) -> list[str]:
    """Name the linear layers that get an update.

    The pooler of BERT-like models is left out: sentence-transformers never reads it.

    Args:
        encoder: with or without adapters.
        targets: ends of layer names, as `query` or `output.dense`, or `all-linear`. Of a chain's
            two transformers either may lack some, but not all.
        place: of the transformer among the model's modules.

    Returns:
        Full names within the transformer, sorted.

    Raises:
        ModelError: no layer ends with a target; names it, and the layers there are.
    """
    linear = _linear_layers(_transformer(encoder, place))
    others = [module.model for module in encoder.children() if hasattr(module, "model")]
    anywhere = [*linear, *(name for model in others for name in _linear_layers(model))]
    found = sorted(name for name in linear if any(_ends_with(name, end) for end in targets))
    missing = [end for end in targets if not any(_ends_with(name, end) for name in anywhere)]
    if missing or not found:
        kinds = sorted({_kind(name) for name in linear})
        part = "target" if place else "base"
        if not linear:
            raise ModelError(
                f"training.lora: the {part} has no linear layer for a LoRA (GPT-2's, for one, are "
                "of a kind of its own); name another model"
            )
        raise ModelError(
            f"training.lora.targets: no linear layer of the {part} ends with "
            f"{', '.join(missing or targets)}; there are {', '.join(kinds[:12])}. Name "
            f"some of these, or `{ALL_LINEAR}`."
        )
    return found


def load_adapter(
    encoder: SentenceTransformer,
    name: str,
    folder: Path,
    dropout: float = 0.0,
    *,
    place: int = 0,
) -> None:
    """Put a stored adapter on the encoder.

    Args:
        encoder: is changed in place.
        name: of the adapter within the encoder.
        folder: as PEFT writes it.
        dropout: of the adapter's input, while it learns; the stored one is not used.
        place: of the transformer among the model's modules.

    Raises:
        ModelError: `folder` holds no adapter, or one for another model.
    """
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    check_adapter(folder)
    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode, config.lora_dropout = False, dropout
    try:
        with quiet():
            _add(encoder, name, config, place)
            loaded = set_peft_model_state_dict(
                _transformer(encoder, place), load_file(str(folder / WEIGHTS)), adapter_name=name
            )
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"Adapter {folder}: does not fit the base model: {str(error).splitlines()[0][:200]}. "
            "It was trained on another one; see base_model_name_or_path in its adapter_config.json."
        ) from error
    if loaded is not None and loaded.unexpected_keys:
        raise ModelError(
            f"Adapter {folder}: has {len(loaded.unexpected_keys)} weights for layers that the base "
            f"model does not have, such as {loaded.unexpected_keys[0]}"
        )


def check_adapter(folder: Path) -> None:
    """Check that a folder holds a plain LoRA adapter as PEFT writes it.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors.

    Raises:
        ModelError: a file is missing, or it is another kind of adapter (DoRA, rsLoRA, ...).
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        inside = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        inside += sorted(path.parent for path in folder.glob(f"*/*/{CONFIG}"))
        hint = f"; there are adapters in {', '.join(map(str, inside[:4]))}" if inside else ""
        raise ModelError(f"Adapter {folder}: expected {' and '.join(missing)} there{hint}")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"Adapter {folder}: expected a LoRA adapter, got {config.get('peft_type')}"
        )
    odd = [key for key in _VARIANTS if config.get(key)]
    odd += ["bias"] if config.get("bias", "none") != "none" else []
    odd += ["target_modules"] if not isinstance(config.get("target_modules"), list) else []
    if odd:
        raise ModelError(
            f"Adapter {folder}: expected plain LoRA with listed target_modules, and it sets "
            f"{', '.join(odd)}; merge it into its base, and take the result as the base"
        )


def activate(encoder: SentenceTransformer, names: Sequence[str], trainable: str | None) -> None:
    """Let texts pass through these adapters and no other.

    Args:
        encoder: is changed in place.
        names: of the active adapters; none for the untouched base.
        trainable: the adapter that may learn. It stays trainable while it is not active, so that
            the optimizer never loses sight of it.
    """
    for layer in _layers(encoder):
        layer.set_adapter([name for name in names if name in layer.lora_A], inference_mode=True)
        if trainable in layer.lora_A:
            layer.lora_A[trainable].requires_grad_(True)
            layer.lora_B[trainable].requires_grad_(True)


@contextlib.contextmanager
def untouched(
    encoder: SentenceTransformer, names: Sequence[str], trainable: str | None
) -> Iterator[None]:
    """Let texts pass through the base alone meanwhile; see `activate` for what comes after."""
    activate(encoder, (), trainable)
    try:
        yield
    finally:
        activate(encoder, names, trainable)


def freeze(encoder: SentenceTransformer, name: str, *, place: int = 0) -> None:
    """Turn off an adapter's dropout for good; `train()` would turn it on again."""
    import torch

    for layer in _layers(encoder[place]):
        if name in layer.lora_A:
            layer.lora_dropout[name] = torch.nn.Identity()
            layer.lora_A[name].requires_grad_(False)
            layer.lora_B[name].requires_grad_(False)


def has_adapter(encoder: SentenceTransformer, name: str, place: int = 0) -> bool:
    """Whether one of a model's transformers carries this adapter."""
    return name in getattr(_transformer(encoder, place), "peft_config", {})


def adapter_weights(
    encoder: SentenceTransformer, name: str, *, place: int = 0
) -> dict[str, torch.Tensor]:
    """Copy the weights of one adapter to the CPU.

    Args:
        encoder: carries the adapter.
        name: of the adapter within the encoder.
        place: of the transformer among the model's modules.

    Returns:
        Key to tensor, in PEFT's own names without the adapter's: A (rank, in), B (out, rank).
    """
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(_transformer(encoder, place), adapter_name=name)
    return {key: value.detach().contiguous().cpu().clone() for key, value in state.items()}


def write_adapter(
    encoder: SentenceTransformer, name: str, folder: Path, base: str, *, place: int = 0
) -> None:
    """Store one adapter as PEFT does.

    Args:
        encoder: carries the adapter.
        name: of the adapter within the encoder.
        folder: is made if it does not exist.
        base: the model's name as written into the config, never its path on this machine.
        place: of the transformer among the model's modules.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = adapter_weights(encoder, name, place=place)
    save_file(weights, str(folder / WEIGHTS), metadata={"format": "pt"})
    _write_config(_transformer(encoder, place).peft_config[name], folder, base)


def concatenate(parts: Sequence[Path], folder: Path, base: str) -> None:
    """Store a stack of adapters as one whose update is their sum: ranks add up.

    [s_1 B_1, s_2 B_2] [A_1; A_2] x = s_1 B_1 A_1 x + s_2 B_2 A_2 x, so plain PEFT can load a stack
    without knowing of any. A layer that only some parts adapt gets zeros from the others.

    Args:
        parts: folders of adapters of one base, the lowest first.
        folder: of the result, whose alpha equals its rank: the scales are in B.
        base: as in `write_adapter`.
    """
    import torch
    from peft import LoraConfig
    from safetensors.torch import load_file, save_file

    configs = [LoraConfig.from_pretrained(str(part)) for part in parts]
    states = [load_file(str(part / WEIGHTS)) for part in parts]
    keys = sorted({key for state in states for key in state})
    whole = {}
    for key in keys:
        like = next(state[key] for state in states if key in state)
        down = ".lora_A." in key
        blocks = []
        for config, state in zip(configs, states, strict=True):
            shape = (config.r, like.shape[1]) if down else (like.shape[0], config.r)
            block = state.get(key, torch.zeros(shape, dtype=like.dtype))
            blocks.append(block if down else block * (config.lora_alpha / config.r))
        whole[key] = torch.cat(blocks, dim=0 if down else 1).contiguous()
    rank = sum(config.r for config in configs)
    targets = sorted({target for config in configs for target in config.target_modules})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(whole, str(folder / WEIGHTS), metadata={"format": "pt"})
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, inference_mode=True)
    _write_config(config, folder, base)


def _write_config(config: Any, folder: Path, base: str) -> None:
    config = type(config)(**{**config.to_dict(), "base_model_name_or_path": base})
    config.target_modules = sorted(config.target_modules)  # PEFT keeps a set: no fixed order
    config.inference_mode = True
    config.save_pretrained(str(folder))


def _add(encoder: SentenceTransformer, name: str, config: Any, place: int) -> None:
    from peft import PeftModel, get_peft_model

    module: Any = encoder[place]
    if isinstance(module.model, PeftModel):
        module.model.add_adapter(name, config)
    else:
        module.model = get_peft_model(module.model, config, adapter_name=name)


def _transformer(encoder: SentenceTransformer, place: int) -> Any:
    module: Any = encoder[place]
    return module.model


def _layers(encoder: torch.nn.Module) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in encoder.modules() if isinstance(module, LoraLayer)]


def _linear_layers(transformer: Any) -> list[str]:
    """Name the linear layers of a model, whether they carry adapters already or not."""
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    if isinstance(transformer, PeftModel):
        transformer = transformer.base_model.model
    modules = dict(transformer.named_modules())
    adapted = [name for name, module in modules.items() if isinstance(module, LoraLayer)]
    plain = [name for name, module in modules.items() if isinstance(module, torch.nn.Linear)]
    inside = tuple(f"{name}." for name in adapted)
    names = adapted + [name for name in plain if not name.startswith(inside)]
    return sorted(name for name in set(names) if _POOLER not in name.split("."))


def _ends_with(name: str, target: str) -> bool:
    return target == ALL_LINEAR or name == target or name.endswith(f".{target}")


def _kind(name: str) -> str:
    """Drop the numbers of blocks: `encoder.layer.3.output.dense` is an `output.dense`."""
    parts = name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[numbers[-1] + 1 :] if numbers else parts)
