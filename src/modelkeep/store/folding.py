"""What the recorder folds of a group of predictions, for the store to add to its hours."""

from msgspec import Struct

from modelkeep.profile import Profile


class Folded(Struct, frozen=True, kw_only=True):
    """The profile of the new predictions of one model, version and role within one hour (``hour`` is a moment)."""

    model: str
    version: int
    role: str
    hour: float
    profile: Profile
