"""How sure one can be of a share of right answers, and of a difference between two models."""

import math
from collections.abc import Sequence
from typing import NamedTuple


Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


def wilson(right: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: (low, high).

    Unlike share ± Z * sqrt(p q / n) it stays inside [0, 1] and is not empty when all answers are
    right: wilson(100, 100) = (0.963, 1.0). Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209.
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, Z * Z
    middle = share + z2 / (2 * total)
    spread = Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    low, high = (middle - spread) / (1 + z2 / total), (middle + spread) / (1 + z2 / total)
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # against rounding


class McNemar(NamedTuple):
    only_first: int  # questions that only the first model got right
    only_second: int
    p: float  # how often chance alone gives so uneven a split


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Compare two models on the same questions: `first[i]` says whether the first got i right.

    Questions on which both agree tell nothing. If the models were equally good, each of the
    others would be a fair coin toss; p is the exact two-sided binomial probability of a split at
    least this uneven. Source: McNemar 1947, Psychometrika 12, 153.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1))  # of the 2^n equally likely outcomes
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**n))
