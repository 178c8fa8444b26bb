"""Which encoding from before Unicode bytes are in, told by the letters that come out."""

import math
from itertools import pairwise

from core.data.letters import cost, cost_beyond_ascii
from core.errors import UserError

# What people's spreadsheets write. Of equals the first is taken. Latin-1 is not asked for: as the WHATWG's Encoding
# Standard has it, what calls itself that is cp1252.
_DOUBLE_BYTE = ("gb18030", "cp950", "big5hkscs", "cp932", "cp949")
_SINGLE_BYTE = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "mac_roman")
CODECS = _SINGLE_BYTE + _DOUBLE_BYTE
# How much rarer such files are, in nats, for one that has a letter or two to tell by.
_RARER = {"cp1250": 1.0, "cp1254": 1.0, "cp1255": 2.0, "cp1256": 2.0, "mac_roman": 2.0}
# Texts cost less for each character beyond ASCII, noise more: in double-byte sets, in others, and a little in all.
_DOUBLE_BYTE_NOISE, _NOISE, _NOISE_IN_ALL = 10.0, 7.0, 40.0
_WRONG_IN_ALL = 5
# So many characters that are not UTF-8, and more than those that are, need no weighing, nor so many right for a wrong.
_SURE = 4
_WEIGHED_BYTES = 32 * 1024
# Files that were put together change their encoding once. A few bytes of an older one may be UTF-8 by chance, as those
# of 谢谢 in GBK are.
_SWITCH = 7.0
# A damaged line is rarer than one whose letters are odd.
_DAMAGE = 4.0


def guess(lines: list[tuple[bytes, bool]]) -> tuple[str, str]:
    """The encoding of a file that is not all UTF-8: an older one, UTF-8 with older lines in it, or damaged UTF-8.

    Args:
        lines: in their order, those that are not plain ASCII, and whether they are valid in UTF-8.

    Returns:
        The codec, and the codec of the lines that are not in UTF-8 (empty where they are damaged ones of it).

    Raises:
        UserError: `file_encoding_unknown`, for noise.
    """
    valid = [line for line, is_utf8 in lines if is_utf8]
    invalid = [line for line, is_utf8 in lines if not is_utf8]
    utf8 = sum(cost(line.decode("utf-8", "replace")) for line in valid)
    utf8 += _SWITCH * sum(one[1] != next_one[1] for one, next_one in pairwise(lines))
    damaged = [_cost_damaged(line, known=bool(valid)) for line in invalid]
    alone: dict[str, float] = {}
    mixed: dict[str, float] = {}
    for name in CODECS:
        rarer = _RARER.get(name, 0.0)
        costs = [cost(line.decode(name, "replace"), name) for line in invalid]
        alone[name] = rarer + sum(costs) + sum(cost(line.decode(name, "replace"), name) for line in valid)
        mixed[name] = rarer + utf8 + sum(map(min, costs, damaged))
    whole = min(alone, key=alone.__getitem__)
    other = min(mixed, key=mixed.__getitem__)
    if alone[whole] <= mixed[other]:
        _refuse_noise(whole, valid + invalid)
        return whole, ""
    if mixed[other] < utf8 + sum(damaged) + _RARER.get(other, 0.0):
        return "utf-8", other
    _refuse_ruins(valid + invalid)
    return "utf-8", ""


def _cost_damaged(line: bytes, *, known: bool) -> float:
    """What a line costs as damaged UTF-8, which nothing speaks for unless there is a character of it somewhere."""
    text = line.decode("utf-8", "replace")
    return _DAMAGE + cost(text) if known or text.count("\ufffd") < _beyond_ascii(text) else math.inf


def decode_line(raw: bytes, other: str) -> tuple[str, bool]:
    """A line of a file in UTF-8 and another encoding, and whether it is in that and not a damaged line of UTF-8."""
    try:
        return raw.decode(), False
    except UnicodeDecodeError:
        damaged = raw.decode("utf-8", "replace")
    try:
        text = raw.decode(other)
    except UnicodeDecodeError:
        return damaged, False
    wrong = damaged.count("\ufffd")
    right = _beyond_ascii(damaged) - wrong
    if wrong >= max(_SURE, right + 1):
        return text, True
    if right >= _SURE * wrong:
        return damaged, False
    head = raw[:_WEIGHED_BYTES]
    old, new = cost(head.decode(other, "replace"), other), _DAMAGE + cost(head.decode("utf-8", "replace"))
    return (text, True) if old < new else (damaged, False)


def _refuse_noise(name: str, lines: list[bytes]) -> None:
    texts = [line.decode(name, "replace") for line in lines]
    characters = sum(map(_beyond_ascii, texts))
    most = _DOUBLE_BYTE_NOISE if name in _DOUBLE_BYTE else _NOISE
    found = sum(cost_beyond_ascii(text, name) + _DAMAGE * text.count("\ufffd") for text in texts)
    if found > most * characters + _NOISE_IN_ALL:
        raise UserError("file_encoding_unknown")


def _refuse_ruins(lines: list[bytes]) -> None:
    text = "".join(line.decode("utf-8", "replace") for line in lines)
    wrong = text.count("\ufffd")
    if wrong > _beyond_ascii(text) - wrong + _WRONG_IN_ALL:
        raise UserError("file_encoding_unknown")


def _beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))
