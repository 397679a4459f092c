"""Ray Serve with its batching. Run: ``python ray_app.py MODEL PORT``."""

import pickle
import sys
import time
from pathlib import Path

import numpy as np
from ray import serve

MODEL = Path(sys.argv[1]).read_bytes()


@serve.deployment(max_ongoing_requests=256)
class Trees:
    def __init__(self, model):
        self.model = pickle.loads(model)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def many(self, several):
        sizes = [len(rows) for rows in several]
        found = self.model.predict(np.array([row for rows in several for row in rows]))
        return [part.tolist() for part in np.split(found, np.cumsum(sizes)[:-1])]

    async def __call__(self, request):
        return {"predictions": await self.many((await request.json())["rows"])}


serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
serve.run(Trees.bind(MODEL), route_prefix="/predict")
while True:
    time.sleep(60)
