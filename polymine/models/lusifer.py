"""An English model that reads what a multilingual encoder has understood: LUSIFER.

    Encoder -> Connector -> Target -> Pooling (-> Dense -> Dense)

The encoder's states pass through a feed-forward network of two layers into the target's space of
input embeddings, and trainable tokens follow them; the target reads both as if they were its own
words (Man et al., "LUSIFER: Language Universal Space Integration for Enhanced Multilingual
Embeddings with Large Language Models", arXiv 2501.00874). Trained on English alone, the chain can
embed the other languages of its encoder.

Encoder, target, pooling and projection are modules of sentence-transformers; the connector is ours.
The authors' code puts the added token behind the padding and lets the padding's length shift it;
here rows are packed first. Importing this module imports torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from polymine.data_contracts.errors import ModelError
from polymine.models.failures import told
from polymine.models.limits import most_tokens
from polymine.models.stored import StoredModule

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from torch import Tensor

ENCODER, CONNECTOR, TARGET = 0, 1, 2  # places in the chain
ALIKE = 0.95  # of the larger vocabulary: models of one family add some pieces of their own


class Connector(StoredModule):
    """Maps an encoder's states to a target's input embeddings and adds trainable tokens.

    Args:
        in_features: components of the encoder's states.
        out_features: components of the target's input embeddings.
        tokens: trainable tokens after each text.
    """

    config_keys = ["in_features", "out_features", "tokens"]

    def __init__(self, in_features: int, out_features: int, tokens: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.in_features, self.out_features, self.tokens = in_features, out_features, tokens
        self.inner = nn.Linear(in_features, in_features)
        self.outer = nn.Linear(in_features, out_features)
        self.added = nn.Parameter(torch.randn(tokens, out_features))
        self._longest: int | None = None

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Turn states into what the target reads.

        Args:
            features: token_embeddings (texts, n, in_features), attention_mask (texts, n); padding
                may stand on either side.

        Returns:
            inputs_embeds (texts, m, out_features) and attention_mask (texts, m) with
            m = longest text + tokens: each text, then the added tokens, then padding.

        Raises:
            ModelError: a row is longer than the target has positions.
        """
        states, mask = features["token_embeddings"], features["attention_mask"]
        mapped = self.outer(torch.relu(self.inner(states)))
        added = self.added.to(mapped.dtype).expand(len(mapped), -1, -1)
        whole = torch.cat([mapped, added], dim=1)
        mask = torch.cat([mask, mask.new_ones(added.shape[:2])], dim=1)
        order, mask = packed(mask)
        if self._longest is not None and mask.shape[1] > self._longest:
            raise ModelError(_too_long(mask.shape[1] - self.tokens, self.tokens, self._longest))
        return {"inputs_embeds": take(whole, order), "attention_mask": mask}

    def on_model_ready(self, model: BaseModel) -> None:
        """Check that what stands before and behind fits; sentence-transformers calls it.

        Raises:
            ModelError: sizes that do not fit, a target that takes no input embeddings or whose
                attention does not obey, or texts longer than its positions.
        """
        modules: list[Any] = list(model.children())
        place = modules.index(self)
        if place == 0 or place + 1 == len(modules):
            raise ModelError("a Connector stands between two transformers, not at an end")
        encoder, target = modules[place - 1], modules[place + 1]
        _check_target(target)
        sizes = (encoder.get_embedding_dimension(), embedding_size(target))
        if sizes != (self.in_features, self.out_features):
            raise ModelError(
                f"this connector maps {self.in_features} components to {self.out_features}, and "
                f"stands between an encoder of {sizes[0]} and a target of {sizes[1]}; it belongs "
                "to other models"
            )
        self._longest = most_tokens(target)
        longest = encoder.max_seq_length
        if self._longest is not None and longest and longest + self.tokens > self._longest:
            raise ModelError(_too_long(longest, self.tokens, self._longest))
        causal = is_decoder(target) and getattr(target.config, "is_causal", True)
        set_attention(target, causal)
        if next(target.parameters()).dtype == torch.float16:
            return  # a slope may round to 0; it was tried out in float32 when the chain was built
        switch = f"`bidirectional = {str(causal).lower()}`"
        check_attention(
            target, not causal, switch if is_decoder(target) else "`is_decoder` false in its config"
        )


def build(
    encoder: SentenceTransformer,
    target: SentenceTransformer,
    *,
    tokens: int = 1,
    bidirectional: bool = True,
    projection: bool = False,
    seed: int = 0,
) -> SentenceTransformer:
    """Chain an encoder and a target by a fresh connector.

    The chain reads as many tokens as its encoder does and its target has positions for.

    Args:
        encoder: multilingual; its first module, a transformer, is taken.
        target: English; its first module is taken, a decoder or an encoder.
        tokens: trainable tokens after each text.
        bidirectional: whether each token of the target sees those behind it, as an encoder's do
            anyway.
        projection: whether two further layers follow the mean, as in the authors' code.
        seed: of all that is drawn; the global RNG state stays as it was.

    Returns:
        The chain on the encoder's device, with its prompts. Both models are shared, not copied.

    Raises:
        ModelError: two models of one family, one that is no transformer or a chain itself, a target
            that takes no input embeddings or whose attention cannot be switched.
    """
    reader, writer = _transformer_of(encoder), _transformer_of(target)
    _check_target(writer)
    _check_families(reader, writer)
    width = embedding_size(writer)
    longest = most_tokens(writer)
    if longest is not None:
        reader.max_seq_length = min(reader.max_seq_length or longest, longest - tokens)
    reader.unpad_inputs = writer.unpad_inputs = False  # the connector packs rows of a rectangle
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        connector = Connector(reader.get_embedding_dimension(), width, tokens)
        with torch.no_grad():  # as large as the words that the target knows
            connector.added.mul_(writer.model.get_input_embeddings().weight.std().cpu())
        size = writer.get_embedding_dimension()
        dense = [Dense(size, size, activation_function=f) for f in (nn.ReLU(), nn.Identity())]
    modules = [reader, connector, writer, Pooling(size, "mean"), *(dense if projection else ())]
    if not (is_decoder(writer) or bidirectional):
        raise ModelError(
            f"target: a {writer.config.model_type} reads both ways; leave `bidirectional` on, or "
            "name a decoder"
        )
    set_attention(writer, not bidirectional)
    device = str(encoder.device)
    prompts: Any = encoder.prompts
    return SentenceTransformer(modules=modules, device=device, prompts=prompts).eval()


def _transformer_of(model: SentenceTransformer) -> Any:
    """Take the first module of a model that is to be a part of a chain."""
    if any(isinstance(module, Connector) for module in model.children()):
        raise ModelError(
            "LUSIFER chains an encoder and a target, and one of these is such a chain already"
        )
    first: Any = model[0]
    if not isinstance(first, Transformer):
        raise ModelError(
            f"LUSIFER chains two transformers, and one of these is a {type(first).__name__}"
        )
    return first


def packed(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Say how to move the tokens of each row to its beginning, in their order.

    Args:
        mask: (rows, n), 1 for what is a token.

    Returns:
        Places to take from, (rows, m), and the mask then, with m the tokens of the longest row.
    """
    order = mask.long().argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(mask.sum(dim=1).max())]
    return order, mask.gather(1, order)


def take(values: Tensor, order: Tensor) -> Tensor:
    """Take values (rows, n, d) from the places (rows, m) that `packed` gave: (rows, m, d)."""
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[-1]))


def own_state(chain: SentenceTransformer) -> dict[str, Tensor]:
    """Copy what a chain has beside its two transformers to the CPU: connector and projection."""
    others = tuple(f"{place}." for place in (ENCODER, TARGET))
    return {
        name: value.detach().cpu().contiguous().clone()
        for name, value in chain.state_dict().items()
        if not name.startswith(others)
    }


def load_own_state(chain: SentenceTransformer, state: dict[str, Tensor], source: str) -> None:
    """Put back what `own_state` copied; ModelError names `source` where it is of another chain."""
    expected = {name: value.shape for name, value in own_state(chain).items()}
    if expected != {name: value.shape for name, value in state.items()}:
        raise ModelError(f"{source}: the connector belongs to other models, or has another shape")
    chain.load_state_dict(state, strict=False)


def embedding_size(target: Any) -> int:
    """Count the components of a transformer's input embeddings."""
    return int(target.model.get_input_embeddings().weight.shape[1])


def is_decoder(target: Any) -> bool:
    """Whether a transformer reads from left to right unless it is told otherwise."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(target.config)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING


def set_attention(target: Any, causal: bool) -> None:
    """Let a decoder's tokens see only those before them, or all; an encoder stays as it is.

    transformers reads `config.is_causal` when it makes a mask; where a batch needs none, its layers
    say.
    """
    if not is_decoder(target):
        return
    target.config.is_causal = causal
    for module in target.model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = causal


@contextmanager
def attention(target: Any, causal: bool) -> Iterator[None]:
    """Switch a decoder's attention for a while."""
    before = getattr(target.config, "is_causal", True)
    set_attention(target, causal)
    try:
        yield
    finally:
        set_attention(target, before)


def sees_ahead(target: Any) -> list[bool]:
    """Say of each layer whether a token's state depends on a token behind it, with padding or not.

    Its gradient tells: what is not seen has none. Hybrid models read from left to right in some
    layers whatever their attention does, and some attentions obey only where nothing is padded.

    Args:
        target: a transformer; four embeddings pass through it.

    Returns:
        (2 x layers,), first without padding, then with it.
    """
    weight = target.model.get_input_embeddings().weight
    seen = []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        drawn = torch.randn(1, 4, weight.shape[1]).to(weight) * weight.std()
        embeds = drawn.detach().requires_grad_()
        for ending in (1, 0):
            mask = torch.tensor([[1, 1, 1, ending]], device=weight.device)
            states = target.model(
                inputs_embeds=embeds, attention_mask=mask, output_hidden_states=True
            ).hidden_states
            for before, after in pairwise(states):
                # Not their sum, which a LayerNorm makes the same whatever it reads.
                first = after[0, 0] @ torch.randn(after.shape[-1]).to(after)
                (slope,) = torch.autograd.grad(first, before, retain_graph=True)
                seen.append(bool(slope[0, 2].any()))
    return seen


def check_attention(target: Any, bidirectional: bool, instead: str) -> None:
    """See that a transformer's attention is what it was switched to, in every layer.

    Args:
        target: is tried out.
        bidirectional: whether each token should see those behind it.
        instead: the setting that asks for nothing that the target cannot do.

    Raises:
        ModelError: it is not.
    """
    kind = target.config.model_type
    with told(f"target: a {kind} could not be tried out on input embeddings"):
        seen = sees_ahead(target)
    if wrong := seen.count(not bidirectional):
        raise ModelError(
            f"target: the attention of a {kind} cannot be switched to "
            f"{'bidirectional' if bidirectional else 'causal'} in this version of transformers "
            f"({wrong} of {len(seen)} trials failed: each layer with and without padding); set "
            f"{instead}, or name another target"
        )


def _check_target(target: Any) -> None:
    model = getattr(target, "model", None)
    if model is None or "inputs_embeds" not in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"target: a {type(model or target).__name__} takes no `inputs_embeds`, so it cannot "
            "read an encoder's states; name another model"
        )


def _check_families(encoder: Any, target: Any) -> None:
    one, other = (part.tokenizer.get_vocab() for part in (encoder, target))
    same = len(one.items() & other.items())
    if same > ALIKE * max(len(one), len(other)):
        raise ModelError(
            f"encoder and target are of one family: {same:,} pieces of the vocabularies are the "
            f"same ({len(one):,} and {len(other):,}). A multilingual encoder and an English target "
            "have different ones; see that neither is named in the other's place"
        )


def _too_long(length: int, tokens: int, longest: int) -> str:
    return (
        f"texts of {length:,} tokens and {tokens} added are more than the {longest:,} positions "
        f"of the target; set `max_length` to {longest - tokens:,} at most"
    )
