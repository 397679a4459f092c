"""Looks at a window of a model's life and says what it sees: Window -> Readings, one concern a file, all pure."""

from modelkeep.profile import Measure
from modelkeep.watch.confidence import confidence
from modelkeep.watch.coverage import coverage
from modelkeep.watch.errors import errors
from modelkeep.watch.latency import latency
from modelkeep.watch.performance import performance
from modelkeep.watch.quality import quality
from modelkeep.watch.silence import silence
from modelkeep.watch.skill import skill

MEASURES: tuple[Measure, ...] = (latency, errors, quality, performance, skill, confidence, silence, coverage)
"""Every measure, in the order in which a page shows them."""

__all__ = ["MEASURES", "confidence", "coverage", "errors", "latency", "performance", "quality", "silence", "skill"]
