"""A score head that compares the tokens of query and passage after they have read each other.

    score(q, d) = s * sum_i a_i max_j cos(h_i, h_j)  +  w . h_CLS + b
    a = softmax_i(u . h_i)      i over query tokens, j over passage tokens

This is ColBERT's MaxSim (Khattab and Zaharia, 2020) on jointly encoded states. The usual head, a
linear layer on [CLS], starts from chance and needs hundreds of thousands of pairs; this one starts
where the encoder already is (u = w = b = 0 is the plain mean of the best matches) and therefore
learns from a few thousand. Importing this module imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class MaxSimHead(nn.Module):
    """Turns `token_embeddings` into `scores`; a module of a sentence-transformers CrossEncoder."""

    special: torch.Tensor

    def __init__(self, width: int, special: tuple[int, ...]) -> None:
        """`width` of the hidden states; `special` are the ids of [CLS], [SEP] and [PAD]."""
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.attention = nn.Parameter(torch.zeros(width))
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(()))
        self.register_buffer("special", torch.tensor(special))

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Score pairs from their tokens.

        Always computed in float32: bfloat16 has 3 digits, too few to order close candidates.

        Args:
            features: token_embeddings (pairs, tokens, width); attention_mask, input_ids and
                token_type_ids (pairs, tokens), the last with 0 for the query and 1 for the passage.

        Returns:
            The same dictionary with `scores`: (pairs, 1), float32.
        """
        states = features["token_embeddings"]
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            is_text = features["attention_mask"].bool()
            is_text = is_text & ~torch.isin(features["input_ids"], self.special)
            is_query = is_text & (features["token_type_ids"] == 0)
            is_passage = is_text & (features["token_type_ids"] == 1)
            unit = F.normalize(states, dim=-1)
            # A pair without passage tokens matches nothing: cosine -1 rather than -inf or NaN.
            cosine = unit @ unit.transpose(1, 2)
            best = cosine.masked_fill(~is_passage[:, None, :], -1.0).amax(dim=-1)
            # Sums, not matrix-vector products: the last bits of those depend on the batch.
            weighed = (states * self.attention.float()).sum(dim=-1)
            share = weighed.masked_fill(~is_query, -1e4).softmax(dim=-1)
            matched = (share * best).sum(dim=-1)
            read = (states[:, 0] * self.weight.float()).sum(dim=-1)
            scores = self.scale.float() * matched + read + self.bias.float()
        features["scores"] = scores[:, None]
        return features
