"""Codes of one language: ISO 639-1 here, FLORES-200 on the hub, ISO 639-3 and a script in MTEB.

Only what is unambiguous has a two-letter code: Arabic is Modern Standard Arabic, Chinese is
simplified. Everything else (`arb_Latn`, `acm_Arab`, `zho_Hant`) is named by its FLORES code.
"""

# The languages of Belebele that have a two-letter code, in the script they are mostly written in.
FLORES = {
    "af": "afr_Latn", "am": "amh_Ethi", "ar": "arb_Arab", "as": "asm_Beng", "az": "azj_Latn",
    "bg": "bul_Cyrl", "bm": "bam_Latn", "bn": "ben_Beng", "bo": "bod_Tibt", "ca": "cat_Latn",
    "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn", "el": "ell_Grek", "en": "eng_Latn",
    "es": "spa_Latn", "et": "est_Latn", "eu": "eus_Latn", "fa": "pes_Arab", "fi": "fin_Latn",
    "fr": "fra_Latn", "gn": "grn_Latn", "gu": "guj_Gujr", "ha": "hau_Latn", "he": "heb_Hebr",
    "hi": "hin_Deva", "hr": "hrv_Latn", "ht": "hat_Latn", "hu": "hun_Latn", "hy": "hye_Armn",
    "id": "ind_Latn", "ig": "ibo_Latn", "is": "isl_Latn", "it": "ita_Latn", "ja": "jpn_Jpan",
    "jv": "jav_Latn", "ka": "kat_Geor", "kk": "kaz_Cyrl", "km": "khm_Khmr", "kn": "kan_Knda",
    "ko": "kor_Hang", "ky": "kir_Cyrl", "lg": "lug_Latn", "ln": "lin_Latn", "lo": "lao_Laoo",
    "lt": "lit_Latn", "lv": "lvs_Latn", "mg": "plt_Latn", "mi": "mri_Latn", "mk": "mkd_Cyrl",
    "ml": "mal_Mlym", "mn": "khk_Cyrl", "mr": "mar_Deva", "ms": "zsm_Latn", "mt": "mlt_Latn",
    "my": "mya_Mymr", "nb": "nob_Latn", "ne": "npi_Deva", "nl": "nld_Latn", "ny": "nya_Latn",
    "om": "gaz_Latn", "or": "ory_Orya", "pa": "pan_Guru", "pl": "pol_Latn", "ps": "pbt_Arab",
    "pt": "por_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "rw": "kin_Latn", "sd": "snd_Arab",
    "si": "sin_Sinh", "sk": "slk_Latn", "sl": "slv_Latn", "sn": "sna_Latn", "so": "som_Latn",
    "sq": "als_Latn", "sr": "srp_Cyrl", "ss": "ssw_Latn", "st": "sot_Latn", "su": "sun_Latn",
    "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "tg": "tgk_Cyrl",
    "th": "tha_Thai", "ti": "tir_Ethi", "tl": "tgl_Latn", "tn": "tsn_Latn", "tr": "tur_Latn",
    "ts": "tso_Latn", "uk": "ukr_Cyrl", "ur": "urd_Arab", "uz": "uzn_Latn", "vi": "vie_Latn",
    "wo": "wol_Latn", "xh": "xho_Latn", "yo": "yor_Latn", "zh": "zho_Hans", "zu": "zul_Latn",
}  # fmt: skip
# Belebele's languages and scripts without a two-letter code of their own.
OTHERS = (
    "acm_Arab", "apc_Arab", "arb_Latn", "ars_Arab", "ary_Arab", "arz_Arab", "ben_Latn", "ceb_Latn",
    "ckb_Arab", "fuv_Latn", "hin_Latn", "ilo_Latn", "kac_Latn", "kea_Latn", "luo_Latn", "npi_Latn",
    "nso_Latn", "shn_Mymr", "sin_Latn", "urd_Latn", "war_Latn", "zho_Hant",
)  # fmt: skip
# Two-letter codes of languages that Belebele has not and other benchmarks have.
_BEYOND = {
    "ba": "bak_Cyrl", "be": "bel_Cyrl", "bs": "bos_Latn", "cy": "cym_Latn", "ee": "ewe_Latn",
    "eo": "epo_Latn", "fo": "fao_Latn", "ga": "gle_Latn", "gd": "gla_Latn", "gl": "glg_Latn",
    "la": "lat_Latn", "lb": "ltz_Latn", "nn": "nno_Latn", "oc": "oci_Latn", "rn": "run_Latn",
    "sa": "san_Deva", "tk": "tuk_Latn", "tt": "tat_Cyrl", "ug": "uig_Arab", "yi": "ydd_Hebr",
}  # fmt: skip
# What other tables call a language of `FLORES`: the macrolanguage instead of its standard variety.
_MACRO = {
    "ara": "ar", "aze": "az", "cmn": "zh", "est": "et", "fas": "fa", "lav": "lv", "mlg": "mg",
    "mon": "mn", "msa": "ms", "nep": "ne", "ori": "or", "orm": "om", "pus": "ps", "sqi": "sq",
    "swa": "sw", "uzb": "uz",
}  # fmt: skip
_ALL = FLORES | _BEYOND
_BY_ISO_639_3 = {flores[:3]: code for code, flores in _ALL.items()} | _MACRO


def short_code(long: str) -> str:
    """The two-letter code of `eng_Latn`, `eng-Latn` or `eng`.

    A language without one, or in another script than it is mostly written in, keeps its long code,
    spelt as in FLORES: two subsets of a benchmark that differ in script are never taken for one.
    """
    flores = long.replace("-", "_")
    language, _, script = flores.partition("_")
    short = _BY_ISO_639_3.get(language)
    if short is None or script not in ("", _ALL[short][4:]):
        return flores
    return short
