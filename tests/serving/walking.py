"""Counts our own frames and calls between a request and the model.

A comprehension is not counted: it is a part of its function (and no frame any more from Python 3.12 on).
"""

import asyncio
import sys
from pathlib import Path

import modelkeep

OURS = str(Path(modelkeep.__file__).parent)


def walk(gateway, ask, *, enters):
    """The names of our functions called before the model is entered, and those still open then.

    ``enters`` tells by its code object that a frame, or by its function that a C call, is the model's.
    """
    called, stack, found = [], [], {}

    def look(frame, event, arg):
        if found:
            return
        if (event == "call" and enters(frame.f_code)) or (event == "c_call" and enters(arg)):
            found.update(frames=list(stack), calls=list(called))
        elif event == "call" and ours(frame):
            called.append(frame.f_code.co_qualname)
            stack.append(frame.f_code.co_qualname)
        elif event == "return" and ours(frame):
            stack.pop()

    def ours(frame):
        return frame.f_code.co_filename.startswith(OURS) and not frame.f_code.co_name.endswith("comp>")

    async def predict():
        sys.setprofile(look)
        try:
            return await gateway.predict(ask)
        finally:
            sys.setprofile(None)

    asyncio.run(predict())
    return found["frames"], found["calls"]
