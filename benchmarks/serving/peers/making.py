"""Trains the model that every server of the comparison serves: HistGradientBoosting, 8 features. ``making.py FOLDER``.

Each environment trains it itself, with the same data and settings, so that no pickle crosses versions.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor


def main():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 8))
    y = x[:, 0] * 2 + x[:, 1] * x[:, 2] + rng.normal(size=20_000) * 0.1
    model = HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(x, y)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(model))


main()
