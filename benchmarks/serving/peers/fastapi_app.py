"""The usual FastAPI service around a scikit-learn model. Run: ``python fastapi_app.py MODEL PORT``."""

import pickle
import sys
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

model = pickle.loads(Path(sys.argv[1]).read_bytes())
app = FastAPI()


class Rows(BaseModel):
    rows: list[list[float]]


@app.post("/predict")
def predict(asked: Rows):
    return {"predictions": model.predict(np.array(asked.rows)).tolist()}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
