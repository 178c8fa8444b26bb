"""Whether training was worth it: the model against the strongest of the methods it is compared with."""

from typing import Any

from core.evaluation.resampling import Measured, chance
from core.evaluation.scales import SCALES

# How unlikely a difference has to be by chance alone before it is called one.
UNLIKELY = 0.05


def code(better: bool, by_chance: float) -> str:
    """`beats_both` or `not_better` where chance is unlikely to have made the difference, else `unclear`."""
    if by_chance >= UNLIKELY:
        return "unclear"
    return "beats_both" if better else "not_better"


def compared(ours: Measured, others: dict[str, Measured], metric: str) -> dict[str, Any]:
    """The verdict on one score of the same rows, against the strongest of the others.

    Returns:
        `code` (`uncompared` where there is nothing to compare with), `metric`, `rows`, `ours`; and, where it is
        compared, `strongest`, `theirs` and `chance`.
    """
    rows = len(ours.rows)
    own = ours.values()[metric]
    facts: dict[str, Any] = {"metric": metric, "rows": rows, "ours": round(own, 4)}
    if not others:
        return {"code": "uncompared", **facts}
    sign = 1 if SCALES[metric].better == "higher" else -1
    values = {name: other.values()[metric] for name, other in others.items()}
    strongest = max(values, key=lambda name: sign * values[name])
    by_chance = chance(ours, others[strongest], metric)
    return {
        "code": code(sign * own > sign * values[strongest], by_chance),
        **facts,
        "strongest": strongest,
        "theirs": round(values[strongest], 4),
        "chance": round(by_chance, 4),
    }
