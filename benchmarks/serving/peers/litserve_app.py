"""LitServe with its adaptive batching. Run: ``python litserve_app.py MODEL PORT``."""

import pickle
import sys
from pathlib import Path

import litserve
import numpy as np


class Trees(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002 - LitServe's own form
        self.model = pickle.loads(Path(sys.argv[1]).read_bytes())

    def decode_request(self, request):
        return np.array(request["rows"])

    def batch(self, inputs):
        self.sizes = [len(one) for one in inputs]
        return np.concatenate(inputs)

    def predict(self, x):
        return self.model.predict(x)

    def unbatch(self, output):
        return np.split(output, np.cumsum(self.sizes)[:-1])

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    served = litserve.LitServer(Trees(max_batch_size=64, batch_timeout=0.002), accelerator="cpu", workers_per_device=1)
    served.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
