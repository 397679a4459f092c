"""One bar: what must be reached, what was, and what the simple rules reach on the same rows."""

from typing import Literal

from msgspec import Struct


class Bar(Struct, frozen=True, kw_only=True):
    """A figure with its protocol.

    ``better`` says whether more or less is better; ``target`` is the bar and ``reached`` the figure, both in ``unit``.
    ``baselines`` are figures of simple rules by name, on the same ``n`` rows. ``seconds`` is the real time it took.
    """

    workload: str
    what: str
    protocol: str
    unit: str
    target: float
    reached: float
    better: Literal["less", "more"] = "less"
    baselines: dict[str, float] = {}
    n: int = 0
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the bar is reached; NaN reaches nothing."""
        return self.reached <= self.target if self.better == "less" else self.reached >= self.target

    @property
    def below(self) -> tuple[str, ...]:
        """The simple rules that are better than what was reached."""
        return tuple(
            name
            for name, value in self.baselines.items()
            if (value < self.reached if self.better == "less" else value > self.reached)
        )
