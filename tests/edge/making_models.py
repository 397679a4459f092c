"""Sources of tiny models."""

DOUBLER = "def predict(row):\n    return 2.0 * row['x']\n"
TRIPLER = "def predict(row):\n    return 3.0 * row['x']\n"
BROKEN = (
    "def predict(row):\n    if row['x'] > 50:\n        raise RuntimeError('no such hour')\n    return 2.0 * row['x']\n"
)
