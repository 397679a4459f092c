"""Servers that were started as processes of their own: a port for them, and a question that may find nobody."""

import json
import socket
import urllib.request
from contextlib import suppress


def free_port():
    """A loopback port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def asked(port, model, features, *, timeout=2.0):
    """What the model of the server on a port predicts; None when there is no answer in time."""
    body = json.dumps({"features": features}).encode()
    address = f"http://127.0.0.1:{port}/v1/models/{model}/predict"
    request = urllib.request.Request(address, data=body, headers={"content-type": "application/json"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())["prediction"]
    return None
