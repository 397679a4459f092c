"""Whether photos are measured by a wrong yardstick: then weights of all materials are off by one and the same factor.

A coin of 20.5 mm taken for one of 25 mm makes every length 25/20.5 times too long and every weight 1.8 times too
heavy, whatever the material; what goes wrong with a material, an object or a model does not look like that. The remedy
is the right coin: a model that learns the wrong one is wrong again when it is put right, so nothing is trained.
"""

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct

LEAST_PAIRS, LEAST_MATERIALS = 12, 3
LEAST_SHIFT = math.log(1.2)
"""Weights that are all off by less than a fifth are a bias like others."""
ONE_SIDED = 0.8
ALIKE, MOST = 0.5, 0.75
"""Three quarters of the materials differ by no more than this share of what they have in common."""


class Pair(Struct, frozen=True, kw_only=True):
    """One weighed photo: its material, and the logarithm of what was expected over what was weighed."""

    material: str
    error: float


class Shift(Struct, frozen=True, kw_only=True):
    """Weights of so many materials are all ``factor`` times too heavy (below 1: too light)."""

    factor: float
    pairs: int
    materials: tuple[str, ...]
    one_sided: float

    @property
    def yardstick(self) -> float:
        """How many times too long lengths are: the cube root, as weight goes with the third power."""
        return math.exp(math.log(self.factor) / 3)

    def words(self) -> str:
        """What was found, for a person.

        >>> Shift(factor=1.8, pairs=9, materials=("steel", "zinc"), one_sided=1.0).words()
        'weights of all 2 materials are about 1.80 times too heavy (9 photos), as if a coin were 1.22 times as wide'
        """
        heavy = self.factor > 1
        return (
            f"weights of all {len(self.materials)} materials are about {max(self.factor, 1 / self.factor):.2f} times"
            f" too {'heavy' if heavy else 'light'} ({self.pairs} photos), as if a coin were {self.yardstick:.2f} times"
            " as wide"
        )


def shift_of(pairs: Sequence[Pair]) -> Shift | None:
    """The factor by which all materials are off alike, or None when they are not, or too few were weighed.

    Twelve pairs of three materials at least; four fifths of the pairs err to one side, most materials alike.
    """
    by: dict[str, list[float]] = {}
    for pair in pairs:
        by.setdefault(pair.material, []).append(pair.error)
    if len(pairs) < LEAST_PAIRS or len(by) < LEAST_MATERIALS:
        return None
    middles = {name: statistics.median(errors) for name, errors in by.items()}
    common = statistics.median(middles.values())
    if abs(common) < LEAST_SHIFT:
        return None
    side = sum((pair.error > 0) == (common > 0) for pair in pairs) / len(pairs)
    firm = [name for name, errors in by.items() if len(errors) > 1] or list(by)
    alike = sum(abs(middles[name] - common) <= ALIKE * abs(common) for name in firm) / len(firm)
    if side < ONE_SIDED or alike < MOST:
        return None
    return Shift(factor=math.exp(common), pairs=len(pairs), materials=tuple(sorted(by)), one_sided=side)


def wrong_coin(
    table: dict[str, list[float | int | str | bool | None]],
) -> dict[str, list[float | int | str | bool | None]]:
    """The injection ``wrong_coin``: from the second quarter of a recorded table on, the coin is one of 20.5 mm.

    It is still taken for the one of 25 mm, so its box shrinks about its middle by 20.5/25.
    """
    from modelkeep.workloads.weight.preparing import moments  # noqa: PLC0415 - only where a table is replayed

    at = moments(table)
    known = sorted(moment for moment in at if moment is not None)
    start = known[len(known) // 4] if known else 0.0
    found = {name: list(values) for name, values in table.items()}
    for one, other in (("cx0", "cx1"), ("cy0", "cy1")):
        for place, moment in enumerate(at):
            low, high = found[one][place], found[other][place]
            if moment is None or moment < start or isinstance(low, str | None) or isinstance(high, str | None):
                continue
            middle, half = (low + high) / 2, (high - low) / 2 * 20.5 / 25.0
            found[one][place], found[other][place] = middle - half, middle + half
    return found
