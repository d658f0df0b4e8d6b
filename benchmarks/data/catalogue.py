"""What each collection is called, where it comes from and under which licence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.data import judged_sets, questions, sentences
from benchmarks.data.download import Download
from benchmarks.data.questions import Tables

GLASGOW = "fbergh/IR_Project@e34a57a807fd9622d8b62e0d4c390e6d181723fc"
UNSTATED = "none stated"

# Codes of Tatoeba; NTREX and FLORES name some languages otherwise.
ISO_639_3 = {
    "ar": "ara", "fa": "pes", "ru": "rus", "es": "spa", "fr": "fra", "de": "deu", "nl": "nld",
    "tr": "tur", "zh": "cmn", "ja": "jpn", "it": "ita", "hi": "hin", "bn": "ben", "te": "tel",
    "fi": "fin", "ko": "kor", "vi": "vie", "id": "ind", "sw": "swh",
}  # fmt: skip
NTREX = ISO_639_3 | {"ar": "arb", "fa": "fas", "zh": "zho-CN", "sw": "swa"}
SIB = {
    "en": "eng_Latn", "es": "spa_Latn", "ru": "rus_Cyrl", "fr": "fra_Latn", "vi": "vie_Latn",
    "fa": "pes_Arab", "id": "ind_Latn", "ar": "arb_Arab", "fi": "fin_Latn", "ko": "kor_Hang",
    "hi": "hin_Deva", "bn": "ben_Beng", "te": "tel_Telu", "sw": "swh_Latn", "de": "deu_Latn",
    "nl": "nld_Latn", "ja": "jpn_Jpan", "zh": "zho_Hans", "tr": "tur_Latn", "it": "ita_Latn",
}  # fmt: skip
XQUAD = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
JAQUAD = [
    (split, f"data/{split}/jaquad_{split}_{number:04d}.json")
    for split, files in (("train", 30), ("dev", 4))
    for number in range(files)
]


@dataclass(frozen=True)
class Origin:
    """How a collection is made.

    Args:
        what: in a line.
        licence: as its source states it.
        source: OWNER/NAME@VERSION on GitHub, or on the hub where `hub` says so.
        build: makes the tables of (download, name, source); None where no public source can be
            read in a way that gives the same set again.
        needs: collections that `build` is given too, by the name of its argument.
    """

    what: str
    licence: str
    source: str
    build: Callable[..., Tables] | None
    hub: bool = False
    needs: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> str:
        """Page of the source at this version."""
        name, _, version = self.source.partition("@")
        if self.hub:
            return f"https://huggingface.co/datasets/{name}/tree/{version}"
        return f"https://github.com/{name}/tree/{version}"


def make(name: str, download: Download) -> Tables:
    """Read a collection's source and make its tables, and those of what it needs."""
    origin = ORIGINS[name]
    if origin.build is None:
        raise LookupError(
            f"{name} cannot be fetched: {origin.what}. Put a folder of that name into "
            "$POLYMINE_DATA"
        )
    needed = {argument: make(other, download) for argument, other in origin.needs}
    return origin.build(download, name, origin.source, **needed)


def _smart(what: str, folder: str) -> Origin:
    return Origin(what, UNSTATED, GLASGOW, partial(judged_sets.smart, folder=f"data/{folder}/"))


def _squad(what: str, licence: str, source: str, language: str, *files: tuple[str, str]) -> Origin:
    build = partial(questions.squad_json, language=language, files=files)
    return Origin(what, licence, source, build)


ORIGINS: dict[str, Origin] = {
    "adi": _smart("82 documents on information science, for tests", "adi"),
    "arcd": _squad(
        "ARCD: questions on Arabic Wikipedia", "MIT",
        "husseinmozannar/SOQAL@1229d34aa2b7a0b9a2e4858c9268e68f45d7e3c4", "ar",
        ("train", "data/arcd-train.json"), ("test", "data/arcd-test.json"),
    ),
    "cacm": _smart("CACM titles and abstracts, completely judged", "cacm"),
    "cisi": _smart("CISI abstracts on information science, completely judged", "cisi"),
    "cranfield": _smart("Cranfield 1400, aerodynamics, completely judged in grades", "cran"),
    "epqa-dev": Origin(
        "ePQA: product questions with candidates judged 2, 1 or 0", "CDLA-Sharing-1.0",
        "amazon-science/contextual-product-qa@cec976cc2f2218aa76e562ecc9c7d79f1f3271bc",
        judged_sets.epqa,
    ),
    "jaquad": _squad(
        "JaQuAD: questions on Japanese Wikipedia", "CC BY-SA 3.0",
        "SkelterLabsInc/JaQuAD@23f5d72cc273c49b35e2d9efe0f51757aa1770bd", "ja", *JAQUAD,
    ),
    "lareqa-xquad-r": Origin(
        "LAReQA: answer sentences of XQuAD, relevant in eleven languages", "CC BY-SA 4.0",
        "google-research-datasets/lareqa@9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c",
        partial(questions.lareqa, languages=tuple(code for code in XQUAD if code != "ro")),
    ),
    "med": _smart("MEDLARS abstracts, completely judged", "med"),
    "medquad": Origin(
        "MedQuAD: questions and answers of NIH pages", "CC BY 4.0",
        "abachaa/MedQuAD@577bd37b96c02d1833b2c9eed2de9f96964e96cb", judged_sets.medquad,
    ),
    "ntrex": Origin(
        "NTREX-128: news in 19 languages with English", "CC BY-SA 4.0",
        "MicrosoftTranslator/NTREX@8561f6a622db9edad1217683e5c83daefd8bb2bf",
        partial(sentences.ntrex, codes=NTREX),
    ),
    "piaf": _squad(
        "PIAF 1.0: questions on French Wikipedia", "MIT",
        "etalab-ia/piaf-code@86948a73b26498948e70ad92e4b9b0231eac81f7", "fr",
        ("v1.0", "piaf-v1.0.json"),
    ),
    "pquad": _squad(
        "PQuAD: questions on Persian Wikipedia, some without an answer", "CC BY-SA 4.0",
        "AUT-NLP/PQuAD@b1724102bdb2f00a61c8ca9f81250ceff9db1872", "fa",
        ("validation", "Dataset/Validation.json"), ("test", "Dataset/Test.json"),
    ),
    "pubmedqa": Origin(
        "PubMedQA: research questions and their abstracts", "MIT",
        "pubmedqa/pubmedqa@1cbae8e92f72f20c8d3747cbb3bf5bc53554d997", judged_sets.pubmedqa,
    ),
    "scifact": Origin(
        "SciFact: claims and the abstracts they cite, as MTEB has them",
        "claims CC BY 4.0, abstracts ODC-By 1.0",
        "mteb/scifact@d56462d0e63a25450459c4f213e49ffdb866f7f9", judged_sets.scifact, hub=True,
    ),
    "sib200": Origin(
        "SIB-200: topics of FLORES sentences in 20 languages", "Apache 2.0, text CC BY-SA 4.0",
        "dadelani/sib-200@593cea88519930f776c1a4a1980b6a35b39dca57",
        partial(sentences.sib200, codes=SIB),
    ),
    "squad-dev": Origin(
        "SQuAD 1.1, dev set", "CC BY-SA 4.0",
        "rajpurkar/squad@7b6d24c440a36b6815f21b70d25016731768db1f", questions.squad_dev, hub=True,
    ),
    "squad-it": Origin(
        "SQuAD-it: its dev set in Italian", "CC BY-SA 4.0",
        "crux82/squad-it@86a19baebed654d07c4e790c07d39a02ceb6b15f", questions.squad_it,
        needs=(("squad", "squad-dev"),),
    ),
    "sts17": Origin(
        "the evaluation sets of SemEval 2017 are public only as archives without versions",
        "CC BY-SA 4.0", "eduardofv/sts_eval@b4cd273eb2c6cc0de34ebeffebd12ebf155ecff6", None,
    ),
    "stsb-multi-mt": Origin(
        "STS benchmark in eleven languages, translated by machine",
        "scores CC BY-SA 4.0; texts have their own, do not redistribute",
        "PhilipMay/stsb-multi-mt@30de0dec4ee199b7f42351d3f1a0b19592955385", sentences.stsb,
    ),
    "tatoeba": Origin(
        "Tatoeba of LASER: sentences in 19 languages with English", "CC BY 2.0 FR",
        "facebookresearch/LASER@74bc6ae7ffb7cba670fe0f428d0ede9f666fb821",
        partial(sentences.tatoeba, codes=ISO_639_3),
    ),
    "tquad": _squad(
        "TQuAD: questions on the history of science in Turkish", UNSTATED,
        "TQuad/turkish-nlp-qa-dataset@3bece60f62569182476fe00683793745ba92c32e", "tr",
        ("train", "train-v0.1.json"), ("dev", "dev-v0.1.json"),
    ),
    "xquad": Origin(
        "XQuAD: 240 paragraphs and 1,190 questions in 12 languages", "CC BY-SA 4.0",
        "google-deepmind/xquad@7d30520c717524000f0d9d2f9c10a069acd9d285",
        partial(questions.xquad, languages=XQUAD), needs=(("squad", "squad-dev"),),
    ),
}  # fmt: skip
