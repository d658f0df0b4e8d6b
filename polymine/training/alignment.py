"""LUSIFER's first stage: an encoder learns to speak to a language model that stays as it is.

The target reads what the connector makes of the encoder's states, then the tokens that it should
say, and is judged by their cross-entropy (arXiv 2501.00874, section 3.2):

    reconstruct  a document again, of which the encoder saw a part
    passage      the document that answers a query
    question     the query that a document answers

The encoder is told which by an instruction before the text, as in the authors' code; there the
instruction is part of what the target should say, and by default nothing is masked. Neither is
taken over.

A decoder says each next token. A target that reads both ways fills in those of its own tokens that
it does not see; one without a language head compares its states with its input embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, MaskedLMOutput

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import AlignSettings
from polymine.models.finding import adapter_base
from polymine.models.limits import most_tokens
from polymine.models.lusifer import (
    CONNECTOR,
    ENCODER,
    TARGET,
    attention,
    check_attention,
    embedding_size,
    is_decoder,
    packed,
    take,
)

if TYPE_CHECKING:
    from datasets import DatasetDict
    from sentence_transformers import SentenceTransformer
    from torch import Tensor, nn

UNSAID = -100  # as a label: not asked for; what cross_entropy leaves out
# What the encoder reads, what the target says, and what the encoder is told.
TASKS = {
    "reconstruct": ("positive", "positive", "Please reconstruct the following text.\n"),
    "passage": ("anchor", "positive", "Please write a passage that answers this question.\n"),
    "question": ("positive", "anchor", "Please write a question based on this passage.\n"),
}


def share_tasks(shares: Mapping[str, float], settings: AlignSettings) -> dict[str, float]:
    """Divide each part's batches among the tasks.

    Args:
        shares: of the step's batches, by part.
        settings: shares of the tasks.

    Returns:
        Share by `part | task`, tasks without one left out.
    """
    return {
        f"{part} | {task}": share * own
        for part, share in shares.items()
        for task in TASKS
        if (own := getattr(settings, task)) > 0
    }


def build_datasets(
    parts: Mapping[str, pl.DataFrame], tasks: Iterable[str], chain: SentenceTransformer
) -> DatasetDict:
    """Shape the parts as the trainer reads them.

    Args:
        parts: TrainingRows by part.
        tasks: keys of `share_tasks`.
        chain: whose target's tokenizer says what the labels are.

    Returns:
        By task: `anchor`, the text that the encoder reads, and `label`, the tokens that the target
        should say with their end, filled up with UNSAID.
    """
    from datasets import Dataset, DatasetDict

    shaped = {}
    for name in tasks:
        part, _, task = name.rpartition(" | ")
        read, said, _ = TASKS[task]
        labels = tokenize(parts[part][said].to_list(), chain)
        shaped[name] = Dataset.from_dict({"anchor": parts[part][read].to_list(), "label": labels})
    return DatasetDict(shaped)


def tokenize(texts: list[str], chain: SentenceTransformer) -> list[list[int]]:
    """Cut texts into the target's tokens with an end behind, of the chain's length at most."""
    target: Any = chain[TARGET]
    tokenizer = target.tokenizer
    end = tokenizer.eos_token_id
    end = tokenizer.sep_token_id if end is None else end
    longest = chain.max_seq_length or tokenizer.model_max_length
    cut = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=longest - 1)
    rows = [[*tokens, end] for tokens in cut["input_ids"]]
    labels = np.full((len(rows), max(map(len, rows))), UNSAID)
    for row, tokens in zip(labels, rows, strict=True):
        row[: len(tokens)] = tokens
    filled: list[list[int]] = labels.tolist()
    return filled


def check_chain(chain: SentenceTransformer, settings: AlignSettings) -> None:
    """Refuse, before any work, a chain that cannot be aligned.

    Args:
        chain: encoder, connector, target.
        settings: of the step.

    Raises:
        ModelError: a text and what is said of it have more tokens than the target has positions, an
            encoder that has no token to mask with or no room for a text, a target whose attention
            does not obey, or one that reads both ways and is to see all that it is asked.
    """
    target: Any = chain[TARGET]
    connector: Any = chain[CONNECTOR]
    longest, positions = chain.max_seq_length or 0, most_tokens(target)
    if positions is not None and 2 * longest + connector.tokens > positions:
        raise ModelError(
            f"alignment: a text and what the target says of it, {longest:,} tokens each and "
            f"{connector.tokens} added, are more than its {positions:,} positions; set "
            f"training.base.max_length to {(positions - connector.tokens) // 2:,} at most"
        )
    encoder: Any = chain[ENCODER]
    _mask_token(encoder, "encoder")
    asked = [told for task, (*_, told) in TASKS.items() if getattr(settings, task) > 0]
    most = max(len(encoder.tokenizer.tokenize(told)) for told in asked)
    most += encoder.tokenizer.num_special_tokens_to_add()
    if longest <= most:
        raise ModelError(
            f"alignment: what the encoder is told before a text takes {most:,} of the "
            f"{longest:,} tokens that it reads; set training.base.max_length above {most:,}, by as "
            "many as a text has"
        )
    if is_decoder(target):
        with attention(target, settings.causal):
            switch = f"align.causal = {str(not settings.causal).lower()}"
            check_attention(target, not settings.causal, f"`{switch}`")
    else:
        _mask_token(target, "target")
        if not settings.mask:
            raise ModelError(
                f"alignment: the target, a {target.config.model_type}, reads both ways and would "
                "see all that it is asked; set align.mask above 0"
            )


def load_language_model(
    chain: SentenceTransformer, name: str, trust_remote_code: bool = False
) -> nn.Module:
    """Put the language head of a chain's target on it.

    Args:
        chain: whose target is shared, not copied.
        name: of the target's model, where its head is stored; an adapter's lies with its base.
        trust_remote_code: whether code that lies beside the model may run.

    Returns:
        A frozen model that gives the `logits` of the target's last states, handed to it as
        inputs_embeds. A target that reads both ways and comes without a head compares them with its
        input embeddings.

    Raises:
        ModelError: a decoder without a head, or an encoder without one whose states cannot be
            compared with its embeddings.
    """
    target: Any = chain[TARGET]
    found = models.resolve(name)
    while base := adapter_base(found.folder):
        found = models.resolve(base)
    decodes = is_decoder(target)
    kind: Any = AutoModelForCausalLM if decodes else AutoModelForMaskedLM
    if not (decodes or trust_remote_code or type(target.config) in MODEL_FOR_MASKED_LM_MAPPING):
        return _TiedHead(target, name)
    with models.told(f"target: the language head of {name} could not be loaded"), models.quiet():
        whole, loading = kind.from_pretrained(
            found.location, dtype=torch.float32, output_loading_info=True, local_files_only=True,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
    if loading["missing_keys"]:
        if decodes:
            raise ModelError(
                f"target: {name} has no language head ({sorted(loading['missing_keys'])[0]} is "
                "missing), so nothing can be aligned with it; name a model that was saved with one"
            )
        return _TiedHead(target, name)
    whole.requires_grad_(False)
    setattr(whole, whole.base_model_prefix, _PassedThrough())
    language_model: nn.Module = whole.to(chain.device)
    return language_model


class _PassedThrough(torch.nn.Module):
    """Stands for the transformer of a language model: its states are computed already.

    So the head, whatever it is, scores those tokens alone that are asked for: of a vocabulary, a
    score of every position is more work than the transformer below.
    """

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)


class _TiedHead(torch.nn.Module):
    """Scores tokens by the dot products of states and input embeddings."""

    def __init__(self, target: Any, name: str) -> None:
        super().__init__()
        states, embeddings = target.get_embedding_dimension(), embedding_size(target)
        if states != embeddings:
            raise ModelError(
                f"target: {name} has no masked-token head, and none can be made of its embeddings: "
                f"they have {embeddings:,} components and its states {states:,}; name a model that "
                "was saved with a head"
            )
        self.model = target.model

    def forward(self, inputs_embeds: Tensor) -> MaskedLMOutput:
        model: Any = self.model
        return MaskedLMOutput(logits=inputs_embeds @ model.get_input_embeddings().weight.T)


class AlignmentLoss(torch.nn.Module):
    """Cross-entropy of what the target should say, a mean over the tokens of a batch.

    Args:
        model: the chain.
        language_model: of `load_language_model`.
        settings: the mask, and which way a decoder reads.
        mini_batch: rows whose activations are in memory at once; more are computed twice.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        language_model: nn.Module,
        settings: AlignSettings,
        mini_batch: int,
    ) -> None:
        super().__init__()
        self.model, self.language_model = model, language_model
        self.settings, self.mini_batch_size = settings, mini_batch
        self._decodes = is_decoder(model[TARGET])

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Judge a batch.

        Args:
            sentence_features: of one column, the texts that the encoder reads; `task` says which
                of TASKS it is.
            labels: (rows, n) tokens of the target, UNSAID for padding.

        Returns:
            The mean over all tokens asked, a scalar.
        """
        [features] = sentence_features
        read: dict[str, Tensor] = {
            name: features[name]
            for name in ("input_ids", "attention_mask", "token_type_ids")
            if name in features
        }
        if features.get("task") == "reconstruct":
            read["input_ids"] = hide_tokens(features, self.model[ENCODER], self.settings.mask)
        said, asked = labels.clamp(min=0), labels
        if not self._decodes:
            hidden = (torch.rand(labels.shape, device=labels.device) < self.settings.mask) & (
                labels != UNSAID
            )
            said = said.masked_fill(hidden, _mask_token(self.model[TARGET], "target"))
            asked = labels.masked_fill(~hidden, UNSAID)
        count = (asked != UNSAID).sum().clamp(min=1)
        rows, size = len(labels), self.mini_batch_size
        judge = (
            self._judge if rows <= size else partial(checkpoint, self._judge, use_reentrant=False)
        )
        total = labels.new_zeros((), dtype=torch.float32)
        for begin in range(0, rows, size):
            some = slice(begin, begin + size)
            part = {name: value[some] for name, value in read.items()}
            total = total + judge(part, said[some], asked[some], labels[some] != UNSAID)
        return total / count

    def _judge(
        self, read: dict[str, Tensor], said: Tensor, asked: Tensor, is_said: Tensor
    ) -> Tensor:
        """Sum the cross-entropy of some rows: the target reads the text, then what it says."""
        target: Any = self.model[TARGET]
        spoken = self.model[CONNECTOR](self.model[ENCODER](dict(read)))
        words = target.model.get_input_embeddings()(said)
        mask = torch.cat([spoken["attention_mask"], is_said.long()], dim=1)
        labels = torch.cat([torch.full_like(spoken["attention_mask"], UNSAID), asked], dim=1)
        order, mask = packed(mask)
        labels = labels.gather(1, order)
        embeds = take(torch.cat([spoken["inputs_embeds"], words], dim=1), order)
        with attention(target, self.settings.causal):
            states = target.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        if self._decodes:  # a position says the next token; the last of the text says the first
            states, labels = states[:, :-1], labels[:, 1:]
        wanted = labels != UNSAID
        logits = self.language_model(inputs_embeds=states[wanted][None]).logits[0]
        return cross_entropy(logits.float(), labels[wanted], reduction="sum")


def hide_tokens(features: dict[str, Any], encoder: Any, share: float) -> Tensor:
    """Put the mask's token over a share of a text's tokens, each by its own draw.

    Args:
        features: input_ids, attention_mask (texts, n), and the tokens of the instruction before
            the text as `prompt_length`.
        encoder: its special tokens, as the instruction's, are never hidden.
        share: from 0, nothing, to 1, all.

    Returns:
        input_ids (texts, n), a copy.
    """
    ids, mask = features["input_ids"], features["attention_mask"]
    before = features.get("prompt_length", 0)
    before = int(before.flatten()[0]) if isinstance(before, torch.Tensor) else before
    special = torch.tensor(encoder.tokenizer.all_special_ids, device=ids.device)
    text = (mask.cumsum(dim=1) > before) & (mask == 1) & ~torch.isin(ids, special)
    drawn = torch.rand(ids.shape, device=ids.device) < share
    hidden: Tensor = ids.masked_fill(text & drawn, _mask_token(encoder, "encoder"))
    return hidden


def _mask_token(module: Any, what: str) -> int:
    tokenizer = module.tokenizer
    for token in (tokenizer.mask_token_id, tokenizer.unk_token_id):
        if token is not None:
            return int(token)
    raise ModelError(
        f"alignment: the {what}'s tokenizer has neither a mask nor an unknown token to hide words "
        "behind; name another model"
    )
