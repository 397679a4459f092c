"""Asks a server at fixed moments whatever becomes of the answers, and tells what of each delay was its own.

python benchmarks/overload/open_loop.py PORT --model slow --rates critical=100,normal=700,batch=200 --seconds 10
python benchmarks/overload/open_loop.py PORT --model slow --callers 8 --seconds 5     (closed: what a server can do)

One thread, epoll, keep-alive connections with one request at a time on each. A request is due at its moment; ``whole``
counts from there to when its answer was read here, ``served`` from when it was sent to when its answer was in this
machine's receive buffer (the kernel's own timestamp, Linux SO_TIMESTAMPNS): what lies between is this side's delay.
"""

import argparse
import json
import os
import select
import socket
import struct
import sys
import time
from collections import Counter

STAMPED = 35
"""SO_TIMESTAMPNS, which Python has no name for."""
IDLE = 3.0
"""The server closes a connection that was idle for five seconds; whoever uses one then may find it closing."""
PATIENCE = 60.0
OVERDUE = 0.05
"""A request that this side would send so many seconds late is left out and counted: sent at last, with all others that
are late, it would be a burst that nobody meant to send."""
BODY = b'{"features": {"x": %d.5}}'
HEAD = b"POST /v1/models/%b/predict HTTP/1.1\r\nhost: x\r\nx-priority: %b\r\ncontent-length: %d\r\n%b\r\n%b"


class Line:
    """One connection: the request that is under way on it, and what came of its answer."""

    __slots__ = ("due", "had", "priority", "sent", "since", "socket")

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, STAMPED, 1)
        self.had, self.priority, self.since, self.due, self.sent = b"", "", time.time(), 0.0, 0.0


class Answer:
    """One answer: its status (0 = none came), its two times in seconds, how late it was asked, and what it says."""

    __slots__ = ("at", "late", "lower", "priority", "served", "status", "told", "whole")

    def __init__(self, line, status, *, at, read, said):
        self.priority, self.status, self.at = line.priority, status, at
        self.whole, self.served, self.late = read - line.due, at - line.sent, line.sent - line.due
        self.told, self.lower = b"\r\nretry-after: " in said, b'"tier":"low"' in said


class Caller:
    """Everything that asks one server; ``more`` are further header lines."""

    def __init__(self, port, model, *, more=b""):
        self.port, self.model, self.more = port, model.encode(), more
        self.poll, self.busy, self.free = select.epoll(), {}, []
        self.made, self.number, self.answers, self.left_out = 0, 0, [], Counter()

    def ask(self, priority, due):
        """Send one request now that was due at a moment."""
        line = self._line()
        self.number += 1
        body = BODY % (self.number % 100)
        head = HEAD % (self.model, priority.encode(), len(body), self.more, body)
        line.priority, line.due, line.had = priority, due, b""
        self.busy[line.socket.fileno()] = line
        line.sent = time.time()
        line.socket.sendall(head)

    def _line(self):
        while self.free:
            line = self.free.pop()
            if time.time() - line.since < IDLE:
                return line
            self.poll.unregister(line.socket)
            line.socket.close()
        line = Line(self.port)
        self.poll.register(line.socket, select.EPOLLIN)
        self.made += 1
        return line

    def take(self, seconds):
        """Read what comes within so many seconds; how many answers were whole."""
        before = len(self.answers)
        for number, _ in self.poll.poll(max(seconds, 0.0)):
            line = self.busy.get(number)
            if line is not None:
                self._read(line)
        return len(self.answers) - before

    def _read(self, line):
        content, extra, _, _ = line.socket.recvmsg(65536, 64)
        read = time.time()
        at = read
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == STAMPED:
                seconds, nanoseconds = struct.unpack("qq", data)
                at = seconds + nanoseconds / 1e9
        line.had += content
        head, found, body = line.had.partition(b"\r\n\r\n")
        whole = found and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if content and not whole:
            return
        del self.busy[line.socket.fileno()]
        status = int(head[9:12]) if whole else 0
        self.answers.append(Answer(line, status, at=at, read=read, said=line.had))
        line.since = read
        if whole:
            self.free.append(line)
        else:
            self.poll.unregister(line.socket)
            line.socket.close()

    def close(self):
        for line in (*self.busy.values(), *self.free):
            line.socket.close()
        self.poll.close()


def push(caller, rates, seconds):
    """Ask so many times a second of each priority; every answer, those in the end that never came included.

    What this side is too late for is not asked, and counted in ``caller.left_out``.
    """
    plan = sorted((i / rate, p) for p, rate in rates.items() for i in range(int(rate * seconds)))
    began, place = time.time() + 0.05, 0
    while place < len(plan):
        due, priority = plan[place]
        wait = began + due - time.time()
        if wait < -OVERDUE:
            caller.left_out[priority] += 1
            place += 1
        elif wait <= 0:
            caller.ask(priority, began + due)
            place += 1
            caller.take(0.0) if place % 4 == 0 else None
        else:
            caller.take(wait)
    end = time.time() + PATIENCE
    while caller.busy and time.time() < end:
        caller.take(0.1)
    for line in caller.busy.values():
        caller.answers.append(Answer(line, 0, at=end, read=end, said=b""))
    return caller.answers


def closed(caller, callers, seconds):
    """Answers a second when so many ask again as soon as they are answered; refusals are none."""
    end = time.time() + seconds
    for _ in range(callers):
        caller.ask("normal", time.time())
    while time.time() < end:
        for _ in range(caller.take(0.05)):
            caller.ask("normal", time.time())
    done = sum(answer.status == 200 for answer in caller.answers)
    while caller.busy:
        caller.take(0.1)
    return done / seconds


def quantile(values, q):
    values = sorted(values)
    return round(1000 * values[min(int(q * len(values)), len(values) - 1)], 2) if values else None


def told(answers, seconds):
    """What became of the requests, by priority; times in milliseconds."""
    found = {"asked_per_s": round(len(answers) / seconds, 1), "by": {}}
    good = [a for a in answers if a.status == 200]
    found["answered_per_s"] = round(len(good) / seconds, 1)
    for priority in sorted({a.priority for a in answers}):
        mine = [a for a in answers if a.priority == priority]
        fine = [a for a in mine if a.status == 200]
        found["by"][priority] = {
            "asked": len(mine), "success": round(len(fine) / len(mine), 5), "low_tier": sum(a.lower for a in fine),
            **times("whole", [a.whole for a in fine]), **times("served", [a.served for a in fine]),
        }  # fmt: skip
    shed = [a for a in answers if a.status in {429, 503}]
    found["shed"] = {
        "n": len(shed), "with_retry_after": all(a.told for a in shed),
        **times("whole", [a.whole for a in shed]), **times("served", [a.served for a in shed]),
    }  # fmt: skip
    found["others"] = {str(s): n for s, n in Counter(a.status for a in answers).items() if s not in {200, 429, 503}}
    found["asked_late"] = times("late", [a.late for a in answers])
    found["read_late"] = times("late", [a.whole - a.served - a.late for a in answers])
    return found


def times(name, values):
    return {f"{name}_p{int(100 * q)}_ms": quantile(values, q) for q in (0.5, 0.95, 0.99)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--model", default="slow")
    parser.add_argument("--rates", default="")
    parser.add_argument("--callers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pin", type=int, default=-1)
    parser.add_argument("--header", default="")
    asked = parser.parse_args()
    if asked.pin >= 0:
        os.sched_setaffinity(0, {asked.pin})
    caller = Caller(asked.port, asked.model, more=asked.header.encode() + b"\r\n" if asked.header else b"")
    if asked.callers:
        found = {"answered_per_s": round(closed(caller, asked.callers, asked.seconds), 1)}
        found |= told(caller.answers, asked.seconds)
    else:
        rates = {p: float(r) for p, r in (one.split("=") for one in asked.rates.split(","))}
        before = time.process_time()
        found = told(push(caller, rates, asked.seconds), asked.seconds)
        found["left_out"] = dict(caller.left_out)
        found["own_cpu"] = round((time.process_time() - before) / asked.seconds, 3)
    found["connections"] = caller.made
    caller.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
