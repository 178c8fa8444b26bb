"""How far a text is from one that people write, by its letters beyond ASCII: tells a right reading from a wrong one.

The cost is a rough negative log-likelihood, in nats: usual letters of a language are cheap, odd ones dear, and so are
letters in places where nobody puts them, such as a capital in the middle of a word. Every character counts, so that
readings of the same bytes can be compared although a double-byte one makes fewer characters of them. On lines of a few
words this is surer than statistics over whole documents.
"""

import re
from collections import Counter
from functools import cache

_ASCII = 3.0
_ODD = 11.0
_REPLACED = 9.0
_CAPITAL = 2.5

# Letters beyond ASCII (for other scripts: all), commonest first.
_LETTERS: dict[str, str] = {
    "fr": "éèàêçâîôùûëïœÿæ",
    "de": "üäößé",
    "es": "óíáéñúü",
    "pt": "ãçáéíóêúâõàôü",
    "it": "èàùòéìî",
    "nl": "ëéïèóöü",
    "ca": "àéèóíòçïúü",
    "sv": "äåöé",
    "da": "åøæéöäòü",
    "is": "áðíöúóéþæý",
    "et": "äõöüšž",
    "pl": "łąęóżśćńź",
    "cs": "íáěéýůřščžúňóťď",
    "sk": "áíéýčžúšťľôňäĺŕď",
    "hu": "áéöóüőíúű",
    "ro": "ăîâţşșț",
    "hr": "šžčćđ",
    "tr": "ışğüöçâîû",
    "ru": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
    "uk": "оанивтерслікдумпязьбгчйхїцжюєшщфґ",
    "be": "аніоеяртлскдўумыпзйчвшьгбцюэхжфё",
    "bg": "аоеитнрсвлкдпмъзяугчбйжцшхющьф",
    "sr": "аоиеурстнјвдклпмзгбшчцћжђњхљфџ",
    "el": "αοιετνσηυρπκμλςάίγόδέήώθύχφβξζψϊϋΐΰ",
    "he": "יוהלאתרבשמנדקחעכטפגסםזצןךףץ",
    "ar": "اليمونترةبعسدفهكقحجشصىخذطزضغءئثأإظآؤپچژگک",
}
_WESTERN = ("fr", "de", "es", "pt", "it", "nl", "ca", "sv", "da", "et")
# What a reading in each codec may be written in.
LANGUAGES: dict[str, tuple[str, ...]] = {
    "gb18030": ("zh-Hans",),
    "cp950": ("zh-Hant",),
    "big5hkscs": ("zh-Hant",),
    "cp932": ("ja",),
    "cp949": ("ko",),
    "cp1252": (*_WESTERN, "is"),
    "mac_roman": _WESTERN,
    "cp1250": ("pl", "cs", "sk", "hu", "ro", "hr", "de"),
    "cp1251": ("ru", "uk", "be", "bg", "sr"),
    "cp1253": ("el",),
    "cp1254": ("tr",),
    "cp1255": ("he",),
    "cp1256": ("ar", "fr"),
}
_ANY = (*_LETTERS, "zh-Hans", "zh-Hant", "ja", "ko")
_COMMON_HAN = {
    "zh-Hans": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实请问快很"
    "再吗吧给您谢买卖价钱货退款收送客服电话产品质量什喜欢太差评店换",
    "zh-Hant": "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡"
    "用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實請問快很"
    "再嗎吧給您謝買賣價錢貨退款收送客服電話產品質量什喜歡太差評店換",
    "ja": "日一人年大本中事出者見行国会気時分手自前後上下生今何方間入学高書来話食思言金新私買品物届返注文商電荷",
    "ko": "이다는을를에의가고하지은로도한니사기어나서시자아있해그리인들것요대수일안주세제게보전정습과으만부",
}
# The everyday characters of a double-byte set come first in it: GB 2312 level 1, Big5 level 1, JIS X 0208 level 1, the
# 2,350 syllables of KS X 1001. First and last lead byte of each.
_EVERYDAY = {
    "zh-Hans": ("gb2312", 0xB0, 0xD7),
    "zh-Hant": ("big5", 0xA4, 0xC6),
    "ja": ("shift_jis", 0x88, 0x97),
    "ko": ("euc_kr", 0xB0, 0xC8),
}
_MARKS = dict.fromkeys("’‘“”–—…„«»€°¿¡", 5.0) | dict.fromkeys("\u00a0，。！？：；、（）「」《》『』【】·", 4.5)
_SIGNS = dict.fromkeys("•‚‹›£©®™§´×½²³¼¾ªº†‡№¢¥±µ¶÷\u200b\ufeff～￥→％", 8.0)
_INSIDE_WORDS = dict.fromkeys("’‘·\u00ad\u00a0", 0.0) | dict.fromkeys("–—…", 2.0)
# Letters that are words, or stand by themselves in enumerations.
_ALONE = frozenset("àéèóíáýåöôäøæивскоуаяіηο")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def cost(text: str, codec: str | None = None) -> float:
    """What the text costs in the language that suits it best.

    Args:
        text: a line.
        codec: one of `LANGUAGES`, which it was read with; None for Unicode, where any language may come.
    """
    return _ASCII * (len(text) - len(_BEYOND_ASCII.findall(text))) + cost_beyond_ascii(text, codec)


def cost_beyond_ascii(text: str, codec: str | None = None) -> float:
    """The part of the cost that is not the same in every encoding."""
    counts = Counter(_BEYOND_ASCII.findall(text))
    # What could not be decoded is no better in one language than in another.
    languages = LANGUAGES[codec] if codec else _ANY if counts.keys() - {"\ufffd"} else _ANY[:1]
    letters = min(sum(n * _of(c, language) for c, n in counts.items()) for language in languages)
    return letters + sum(_place(text, found.start()) for found in _BEYOND_ASCII.finditer(text))


@cache
def _of(c: str, language: str) -> float:
    """What a character costs in a language."""
    if c == "\ufffd":
        return _REPLACED
    if c in _MARKS or c in _SIGNS:
        return _MARKS.get(c) or _SIGNS[c]
    if language in _EVERYDAY:
        return _east_asian(c, language)
    ranked = _LETTERS[language]
    if c.lower() in ranked:
        rank = ranked.index(c.lower())
        # Where every letter is beyond ASCII, they share the text among them more evenly.
        dear = 2.4 + 0.08 * rank if len(ranked) > 20 else 2.5 + 0.35 * rank
        return dear + (_CAPITAL if c.isupper() else 0.0)
    if c == "İ" and language == "tr":
        return 5.0
    return _elsewhere(c)


def _elsewhere(c: str) -> float:
    if 0x1F000 <= ord(c) <= 0x1FAFF or c in "\ufe0f\u200d":
        return 8.0
    if not c.isprintable():
        return _ODD + 3.0
    return _ODD


def _east_asian(c: str, language: str) -> float:
    code = ord(c)
    if c in _COMMON_HAN[language]:
        return 5.0
    if 0x3041 <= code <= 0x30FF:
        return {"ja": 4.0 if code < 0x30A0 else 5.0}.get(language, 10.0)
    if 0xFF61 <= code <= 0xFF9F:
        return 9.0
    if 0xFF01 <= code <= 0xFF5E:
        return 8.0
    charset, first, last = _EVERYDAY[language]
    try:
        everyday = first <= c.encode(charset)[0] <= last
    except UnicodeEncodeError:
        return 13.0 if 0x3400 <= code <= 0xD7AF else 16.0 if code >= 0x20000 else _elsewhere(c) + 2.0
    if everyday:
        return 7.0 if language == "ko" else 8.2
    return _ODD


def _place(text: str, at: int) -> float:
    """What a character costs for standing where it stands."""
    c, before, after = text[at], text[at - 1 : at] or " ", text[at + 1 : at + 2] or " "
    if not c.isalpha():
        inside = before.isalpha() and after.isalpha() and c < "\u2e80"
        return _INSIDE_WORDS.get(c, 5.0) if inside else 0.0
    if c >= "\u2e80":
        return 2.0 * sum(n.isascii() and n.isalpha() for n in (before, after))
    lonely = not before.isalpha() and not after.isalpha() and c.lower() not in _ALONE
    if c >= "\u0370":
        return (3.0 if lonely else 0.0) + 5.0 * sum(n.isascii() and n.isalpha() for n in (before, after))
    dear = 2.0 if lonely else 0.0
    word = text[max(0, at - 2) : at]
    if c in "ÂÃĂ" and not after.isalpha() and not (word.isalpha() and word.isupper()):
        dear += 6.0  # the first half of a character of UTF-8 that was cut in two
    if c.isupper() and before.islower():
        dear += 4.0
    elif c.islower() and before.isupper() and after.isupper():
        dear += 3.0
    return dear
