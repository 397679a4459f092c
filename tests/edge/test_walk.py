"""How far a prediction walks: our own frames and calls from the route to the model, counted while it really runs."""

import asyncio
import sys
from pathlib import Path

import modelkeep
from modelkeep.edge import hot
from modelkeep.edge.hosts import Hosts
from modelkeep.edge.traffic import Traffic
from modelkeep.settings.sections import ServerSettings

OWN = str(Path(modelkeep.__file__).parent)


def walked(house, body):
    """The functions of ours that are called before the model is, and those that stand on the stack when it is."""
    route = hot.route(house.app, Traffic(), hosts=Hosts(ServerSettings()), limit=10_000, token="")
    calls, stack, reached = [], [], []

    def profile(frame, event, _):
        if event != "call" or reached:
            return
        code = frame.f_code
        if code.co_name == "predict" and "model" in code.co_filename and not code.co_filename.startswith(OWN):
            reached.append(code.co_filename)
            while frame is not None:
                if frame.f_code.co_filename.startswith(OWN):
                    stack.append(frame.f_code.co_qualname)
                frame = frame.f_back
        elif code.co_filename.startswith(OWN):
            calls.append(code.co_qualname)

    async def receive():
        return {"type": "http.request", "body": body}

    answers = []

    async def send(message):
        answers.append(message)

    async def once():
        scope = {"type": "http", "method": "POST", "path": "/v1/models/doubler/predict", "headers": []}
        sys.setprofile(profile)
        try:
            await route(scope, receive, send)
        finally:
            sys.setprofile(None)

    asyncio.run(once())
    assert answers[0]["status"] == 200
    assert reached, "the model ran in another thread, or was not found"
    return calls, stack


def test_a_prediction_walks_at_most_four_frames_and_ten_calls(house):
    for _ in range(3):
        calls, stack = walked(house, b'{"features": {"x": 3, "plan": "gold"}, "key": "entity 1"}')
    print("stack:", stack)
    print("calls:", calls)
    assert len(stack) <= 4, stack
    assert len(calls) <= 10, calls
