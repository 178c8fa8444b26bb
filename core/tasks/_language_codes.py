"""How each family of translation models is told the languages: by codes in its vocabulary, by words, or not at all."""

import re
from dataclasses import dataclass
from typing import Any

from core.errors import UserError

# ISO 639-1 code, English name, code of FLORES-200 (NLLB Team, 2022, arXiv:2207.04672, table 1).
_TABLE = """
af Afrikaans afr_Latn|am Amharic amh_Ethi|ar Arabic arb_Arab|az Azerbaijani azj_Latn|ba Bashkir bak_Cyrl
be Belarusian bel_Cyrl|bg Bulgarian bul_Cyrl|bn Bengali ben_Beng|bs Bosnian bos_Latn|ca Catalan cat_Latn
cs Czech ces_Latn|cy Welsh cym_Latn|da Danish dan_Latn|de German deu_Latn|el Greek ell_Grek|en English eng_Latn
eo Esperanto epo_Latn|es Spanish spa_Latn|et Estonian est_Latn|eu Basque eus_Latn|fa Persian pes_Arab
fi Finnish fin_Latn|fo Faroese fao_Latn|fr French fra_Latn|ga Irish gle_Latn|gd Scottish_Gaelic gla_Latn
gl Galician glg_Latn|gu Gujarati guj_Gujr|ha Hausa hau_Latn|he Hebrew heb_Hebr|hi Hindi hin_Deva|hr Croatian hrv_Latn
ht Haitian_Creole hat_Latn|hu Hungarian hun_Latn|hy Armenian hye_Armn|id Indonesian ind_Latn|ig Igbo ibo_Latn
is Icelandic isl_Latn|it Italian ita_Latn|ja Japanese jpn_Jpan|jv Javanese jav_Latn|ka Georgian kat_Geor
kk Kazakh kaz_Cyrl|km Khmer khm_Khmr|kn Kannada kan_Knda|ko Korean kor_Hang|ku Kurdish kmr_Latn|ky Kyrgyz kir_Cyrl
lb Luxembourgish ltz_Latn|lg Ganda lug_Latn|ln Lingala lin_Latn|lo Lao lao_Laoo|lt Lithuanian lit_Latn
lv Latvian lvs_Latn|mg Malagasy plt_Latn|mi Maori mri_Latn|mk Macedonian mkd_Cyrl|ml Malayalam mal_Mlym
mn Mongolian khk_Cyrl|mr Marathi mar_Deva|ms Malay zsm_Latn|mt Maltese mlt_Latn|my Burmese mya_Mymr|ne Nepali npi_Deva
nl Dutch nld_Latn|no Norwegian nob_Latn|oc Occitan oci_Latn|or Odia ory_Orya|pa Punjabi pan_Guru|pl Polish pol_Latn
ps Pashto pbt_Arab|pt Portuguese por_Latn|ro Romanian ron_Latn|ru Russian rus_Cyrl|rw Kinyarwanda kin_Latn
sd Sindhi snd_Arab|si Sinhala sin_Sinh|sk Slovak slk_Latn|sl Slovenian slv_Latn|so Somali som_Latn|sq Albanian als_Latn
sr Serbian srp_Cyrl|ss Swati ssw_Latn|su Sundanese sun_Latn|sv Swedish swe_Latn|sw Swahili swh_Latn|ta Tamil tam_Taml
te Telugu tel_Telu|tg Tajik tgk_Cyrl|th Thai tha_Thai|tk Turkmen tuk_Latn|tl Tagalog tgl_Latn|tn Tswana tsn_Latn
tr Turkish tur_Latn|tt Tatar tat_Cyrl|ug Uyghur uig_Arab|uk Ukrainian ukr_Cyrl|ur Urdu urd_Arab|uz Uzbek uzn_Latn
vi Vietnamese vie_Latn|wo Wolof wol_Latn|xh Xhosa xho_Latn|yi Yiddish ydd_Hebr|yo Yoruba yor_Latn|zh Chinese zho_Hans
zu Zulu zul_Latn
"""
_LANGUAGES = {
    code: (name.replace("_", " "), flores)
    for code, name, flores in (entry.split() for entry in re.split(r"[|\n]", _TABLE.strip()))
}
# Opus-MT names some languages as a whole where FLORES names the variety that it has.
_WHOLE = {"ar": "ara", "zh": "cmn", "fa": "fas", "lv": "lav", "sw": "swa", "ms": "msa", "et": "est", "sq": "sqi"}
# What a code looks like in the vocabulary of each family.
_SHAPES = {
    "flores": re.compile(r"[a-z]{3}_[A-Z][a-z]{3}"),
    "mbart": re.compile(r"[a-z]{2}_[A-Z]{2}"),
    "m2m": re.compile(r"__[a-z]{2,3}__"),
    "marian": re.compile(r">>[a-z]{2,3}([-_][A-Za-z]+)*<<"),
}
_FAMILIES = {"m2m_100": ("flores", "m2m"), "mbart": ("mbart",), "marian": ("marian",)}
_SHOWN = 12


@dataclass(frozen=True)
class Codes:
    """The language codes in a model's vocabulary.

    Attributes:
        style: `flores`, `mbart`, `m2m` or `marian`.
        tokens: every code as the vocabulary writes it -> its number.
    """

    style: str
    tokens: dict[str, int]

    @property
    def of_source(self) -> bool:
        """Whether the model is also told in which language the text is."""
        return self.style != "marian"

    def token(self, language: str) -> str:
        """The code of a language, as the vocabulary writes it.

        Args:
            language: an ISO 639 code, or the model's own.

        Raises:
            UserError: `language_pair_unknown`.
        """
        found = next((token for token in self._candidates(language.strip()) if token in self.tokens), None)
        if found is None:
            known = sorted(plain(token) for token in self.tokens)
            shown = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
            raise UserError("language_pair_unknown", language=language[:40], known=shown)
        return found

    def _candidates(self, language: str) -> list[str]:
        code = _main(language)
        flores = _LANGUAGES.get(code, ("", code))[1]
        if self.style == "marian":
            forms = [language, code, flores[:3], _WHOLE.get(code, ""), flores, "cmn" + flores[3:]]
            return [f">>{form}<<" for form in forms]
        if self.style == "m2m":
            return [f"__{language}__", f"__{code}__"]
        return [language, flores, *sorted(token for token in self.tokens if token.startswith(f"{code}_"))]


def codes_of(model: Any, tokenizer: Any) -> Codes | None:
    """The language codes that a model has to be told; None for a family, or a model of it, that has none.

    Around texts and answers the family's own tokenizer puts them; a tokenizer of another class cannot.
    """
    styles = _FAMILIES.get(model.config.model_type, ())
    vocabulary = tokenizer.get_vocab() | getattr(tokenizer, "lang_token_to_id", {}) if styles else {}
    for style in styles:
        if style != "marian" and not hasattr(tokenizer, "src_lang"):
            continue
        tokens = {word: int(number) for word, number in vocabulary.items() if _SHAPES[style].fullmatch(word)}
        if tokens:
            return Codes(style, tokens)
    return None


def tell_languages(model: Any, tokenizer: Any, source: str, target: str) -> str:
    """Set a model and its tokenizer to a pair of languages, and say what has to stand before each text.

    Families of many languages put codes around texts and answers (NLLB, M2M100, mBART), Opus-MT models with several
    target languages a word before the text; others are told nothing.

    Raises:
        UserError: `languages_not_told` where they are needed and empty, `language_pair_unknown`.
    """
    codes = codes_of(model, tokenizer)
    if codes is None:
        return ""
    if not target or (codes.of_source and not source):
        raise UserError("languages_not_told")
    if not codes.of_source:
        return codes.token(target) + " "
    tokenizer.src_lang, tokenizer.tgt_lang = plain(codes.token(source)), plain(codes.token(target))
    number = codes.tokens[codes.token(target)]
    if tokenizer(text_target="a")["input_ids"][0] == number:
        model.generation_config.forced_bos_token_id = number
    else:  # the first mBART has the code after an answer, and begins to write from it
        model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id = number
    return ""


def plain(token: str) -> str:
    """A code without the marks that its family puts around it."""
    return token.strip("_<>")


def english_name(language: str) -> str:
    """What a language is called in English, as instructions to a model say it; the code itself for rare ones."""
    return _LANGUAGES.get(_main(language), (language, ""))[0]


def _main(language: str) -> str:
    return re.split("[-_]", language.strip().lower())[0]
