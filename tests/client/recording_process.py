"""A process that records without end and tells each id that it has handed over, until it is killed."""

import sys

from modelkeep import Client

client = Client(sys.argv[1], spool=sys.argv[2], every=0.02, timeout=1)
for n in range(1_000_000):
    sys.stdout.write(client.record("price", features={"rooms": n, "area": 1.0}, output=float(n), id=f"p{n}") + "\n")
    sys.stdout.flush()
