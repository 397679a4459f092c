"""BentoML with adaptive batching; run as ``bentoml serve bentoml_app:Trees``. MODEL comes from the environment."""

import os
import pickle
from pathlib import Path

import bentoml
import numpy as np


@bentoml.service(workers=1, traffic={"timeout": 30})
class Trees:
    def __init__(self):
        self.model = pickle.loads(Path(os.environ["MODEL"]).read_bytes())

    @bentoml.api
    def predict(self, rows: list[list[float]]) -> list[float]:
        return self.model.predict(np.array(rows)).tolist()
