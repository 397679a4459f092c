"""The task ``rotate``: every data key is wrapped under the newest master key, and what lies in the clear is sealed.

After it the former master key (``privacy.previous``) opens nothing any more and can be destroyed. Records are not
written anew for a new master key: only their keys are.
"""

from msgspec import Struct

from modelkeep.errors import BadInput
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.rooms import Done, Rooms, Run

TASK = "rotate"


class Rotation(Struct, frozen=True, kw_only=True):
    """What the task remembers and answers: keys wrapped anew, records and summaries sealed, and how far it came."""

    keys: int = 0
    records: int = 0
    summaries: int = 0
    after: int = 0


def rotate(rooms: Rooms, run: Run) -> Done:
    """Wrap every key under the newest master key, then seal records that lie in the clear."""
    done = run.memo(Rotation) or Rotation()
    with rooms.store.read() as ledger:
        if not ledger.persons.keys.sealer.encrypts:
            raise BadInput.of("privacy.encrypt", expected="on", got="off", remedy="set privacy.encrypt and privacy.key")
    while True:
        with rooms.store.write() as ledger:
            n = ledger.persons.keys.rewrap()
            done = Rotation(keys=done.keys + n, records=done.records, summaries=done.summaries, after=done.after)
            if not n:
                break
            run.step("keys", detail=f"{done.keys} keys", memo=done, ledger=ledger)
        failpoint("rotate.keys")
    while True:
        with rooms.store.write() as ledger:
            last, n = ledger.persons.seal_more(after=done.after)
            if last == done.after:
                break
            done = Rotation(keys=done.keys, records=done.records + n, summaries=done.summaries, after=last)
            if n:
                run.step("records", detail=f"{done.records} records", memo=done, ledger=ledger)
        failpoint("rotate.records")
    with rooms.store.write() as ledger:
        n = ledger.persons.seal_summaries()
    done = Rotation(keys=done.keys, records=done.records, summaries=n, after=done.after)
    rooms.store.sweep()
    return Done(result=done)
