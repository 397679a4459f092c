"""A process that records until it is killed: prints each prediction's id, as it takes it or as it is acknowledged."""

import sys
import time
from pathlib import Path

from housing import NOW, House

from modelkeep.nouns import Prediction


def main() -> None:
    folder, durability = Path(sys.argv[1]), sys.argv[2]
    house = House(folder, durability=durability)
    house.recorder.start()
    print("ready", flush=True)
    while True:
        (name,) = house.recorder.new_ids(1)
        prediction = Prediction(
            id=name,
            model="m",
            version=1,
            role="champion",
            features={"x": 1.0},
            output=1.0,
            at=NOW,
            target=NOW,
            seconds=0.001,
        )
        taken = house.recorder.take([prediction])
        if durability == "sync":
            taken.result()
        else:
            time.sleep(0.0005)
        sys.stdout.write(f"{name} {time.perf_counter()}\n")
        sys.stdout.flush()


main()
