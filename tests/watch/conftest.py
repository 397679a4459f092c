import numpy as np
import pytest

from modelkeep import profile
from modelkeep.nouns import Baseline, Field, Policy, Signature, Version
from modelkeep.profile import LATENCY_EDGES, Profile, Slice, Sums, Window

HOUR, DAY = 3600.0, 86400.0
START = 1_600_000_000.0 // DAY * DAY

SIGNATURE = Signature(
    inputs=(
        Field(name="age", kind="number", unit="a"),
        Field(name="town", kind="category", categories=("a", "b", "c")),
    ),
    output=Field(name="delay", kind="number", unit="min"),
)
CLASSES = Signature(inputs=SIGNATURE.inputs, output=Field(name="late", kind="category", categories=("no", "yes")))


class Builder:
    """Builds windows from what happened in each hour."""

    start = START
    classes = CLASSES

    def version(self, *, number=2, signature=SIGNATURE, **metrics):
        return Version(
            model="m",
            number=number,
            artifact="0" * 64,
            size=1,
            runtime="python",
            signature=signature,
            created=START,
            baseline=Baseline(metrics=metrics),
        )

    def sums(self, answers, truths):
        total = Sums()
        for answer, truth in zip(answers, truths, strict=True):
            total = total + Sums.of(answer, truth)
        return total

    def latency(self, *seconds):
        counts = np.zeros(len(LATENCY_EDGES) + 1)
        for value in seconds:
            counts[np.searchsorted(LATENCY_EDGES, value)] += 1
        return counts

    def slice(
        self, hour, *, n=0, failures=0, seconds=(), errors=None, columns=None, reference=None, signature=SIGNATURE
    ):
        """One hour (counted from the start); ``columns`` are lists of values."""
        held = {}
        if columns:
            fields = [f for f in (*signature.inputs, signature.output) if f.name in columns]
            held = profile.fold_columns(fields, columns, edges=reference.edges if reference else {})
        found = Profile(n=n, failures=failures, latency=self.latency(*seconds), errors=errors or {}, columns=held)
        return Slice(start=START + hour * HOUR, profile=found)

    def reference(self, columns, signature=SIGNATURE):
        return profile.reference(signature, columns)

    def window(self, slices=(), *, before=(), hours=7 * 24, version=None, policy=None, reference=None, end=None):
        return Window(
            version=version or self.version(),
            policy=policy or Policy(model="m"),
            role="champion",
            start=START,
            end=START + hours * HOUR if end is None else end,
            slices=tuple(slices),
            before=tuple(before),
            reference=reference,
        )


@pytest.fixture
def build():
    return Builder()


@pytest.fixture
def read():
    """Reads one reading by its name from what a measure found."""
    return lambda found, name: next(r for r in found if r.name == name)
