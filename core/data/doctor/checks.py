"""All checks, in the order in which the doctor makes them: what texts are made of, then what rows and labels say."""

from core.data.doctor.base import Check
from core.data.doctor.chat import CHAT_CHECKS
from core.data.doctor.classes import CLASS_CHECKS, ERROR_CHECKS
from core.data.doctor.counts import ROW_CHECKS
from core.data.doctor.labels import BLANK_LABEL_CHECKS, PLACEHOLDER_LABEL_CHECKS, SPELLING_CHECKS
from core.data.doctor.language import LANGUAGE_CHECKS
from core.data.doctor.leaking import LEAK_CHECKS
from core.data.doctor.pairs import PAIR_CHECKS
from core.data.doctor.privacy import PRIVACY_CHECKS
from core.data.doctor.repeats import REPEAT_CHECKS
from core.data.doctor.text import BLANK_CHECKS, CHARACTER_CHECKS, PLACEHOLDER_CHECKS

# Characters are mended before anything is compared, rows that are no examples go before any are counted, and masking
# comes before duplicates, which it may bring about.
CHECKS: tuple[Check, ...] = (
    *CHARACTER_CHECKS,
    *BLANK_CHECKS,
    *BLANK_LABEL_CHECKS,
    *PLACEHOLDER_CHECKS,
    *PLACEHOLDER_LABEL_CHECKS,
    *CHAT_CHECKS,
    *SPELLING_CHECKS,
    *PRIVACY_CHECKS,
    *LEAK_CHECKS,
    *REPEAT_CHECKS,
    *PAIR_CHECKS,
    *LANGUAGE_CHECKS,
    *CLASS_CHECKS,
    *ERROR_CHECKS,
    *ROW_CHECKS,
)
