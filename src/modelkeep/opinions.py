"""What people say of predictions."""

from __future__ import annotations

from msgspec import Struct


class Feedback(Struct, frozen=True, kw_only=True):
    """What a person says of one prediction: a ``rating`` from 1 (worst) to 5, and a comment.

    ``id`` makes it idempotent: sent again it changes nothing. ``model`` is empty while the prediction is not known.
    """

    id: str
    prediction: str
    rating: int
    at: float
    comment: str = ""
    by: str = ""
    model: str = ""


class Review(Struct, frozen=True, kw_only=True):
    """That a person has looked at one prediction, when, and what they noted."""

    prediction: str
    model: str
    by: str
    at: float
    note: str = ""
