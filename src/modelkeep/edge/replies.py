"""The bodies of plain answers, put together from their parts: byte for byte what the ordinary road says."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import NamedTuple

import msgspec

from modelkeep.edge import refusals, tensors
from modelkeep.edge.questions import Question
from modelkeep.edge.refusals import Turned
from modelkeep.errors import ModelkeepError
from modelkeep.nouns import Block, Outputs, Signature
from modelkeep.operations.predictions import MemberView
from modelkeep.serving.calling import membership

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
BINARY = (
    b"HTTP/1.1 200 OK\r\ninference-header-content-length: %d\r\ncontent-length: %d\r\n"
    b"content-type: application/octet-stream\r\nx-request-id: %b\r\n\r\n%b"
)
_HEAD = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
_REQUEST, _END = b',"request_id":"', b'"}'
_BETWEEN = b"\r\n\r\n"
_BODY = _BETWEEN + b'{"prediction":'
"""What stands before the value of a row that is answered by itself, behind the name of its request."""
_FIXED = len(_BODY) - len(_BETWEEN) + len(_END)
_encode = msgspec.json.encode


class _Form(NamedTuple):
    """What all answers of a version have in common.

    ``before`` stands before a row's number, ``after`` behind it, up to the time that it took.
    """

    before: bytes
    after: bytes


@lru_cache(maxsize=1024)
def _form(writer: int, model: bytes, version: int, role: str) -> _Form:  # noqa: PLR0917 - names take half the time
    before = b',"prediction_id":"%d-' % writer
    return _Form(before, b'","model":%b,"version":%d,"role":"%b","latency_ms":' % (model, version, role.encode()))


@lru_cache(maxsize=1024)
def _head(size: int) -> bytes:
    """The head of an answer whose body has so many bytes, up to the name of its request."""
    return OK[: OK.index(_BETWEEN) - len(b"%b")] % size


class Replies:
    """What the answers of one block say; ``outputs`` is what was answered, an ensemble's members among it."""

    def __init__(self, block: Block, outputs: Outputs, *, signature: Signature, model: bytes) -> None:
        if signature.output.numeric:
            self._values = _encode(block.outputs)[1:-1].split(b",")
        else:
            self._values = [_encode(value) for value in block.outputs]
        self._block, self._signature = block, signature
        self._form = _form(block.writer, model, block.version, block.role)
        self._after = self._form.after + _encode(block.seconds * 1000) + _REQUEST
        """What stands behind a row's number, up to its request."""
        self._joined = None if outputs.weights is None else outputs
        self._simple = block.scores is None and block.intervals is None and self._joined is None

    def row(self, place: int, request: bytes) -> bytes:
        """What one row is answered: what ``operations.predictions.answered`` would say."""
        block = self._block
        parts = (self._values[place], self._form.before, block.first + place, self._after, request)
        if self._simple:
            return b'{"prediction":%b%b%d%b%b"}' % parts
        more = b"" if block.scores is None else b',"score":%b' % _encode(block.scores[place])
        if block.intervals is not None:
            more += b',"interval":%b' % _encode(block.intervals[place])
        if self._joined is not None:
            more += self._members(self._joined, place)
        return b'{"prediction":%b%b%d%b%b"%b}' % (*parts, more)

    def _members(self, outputs: Outputs, place: int) -> bytes:
        """The members that weighed in on a row, and the space in which they add up."""
        told, version = membership(outputs, place), self._block.version
        found = [MemberView(model=name, version=version, weight=w, prediction=own) for name, w, own in told.parts]
        return (b',"members":%b' % _encode(found) if found else b"") + b',"link":%b' % _encode(told.link)

    def rows(self, start: int, end: int, *, request: bytes) -> bytes:
        """What several rows are answered."""
        if not self._simple:
            return b'{"predictions":[%b]}' % b",".join([self.row(place, request) for place in range(start, end)])
        row = b'{"prediction":%b' + _literal(self._form.before) + b"%d" + _literal(self._after + request) + b'"},'
        seqs = range(self._block.first + start, self._block.first + end)
        pairs = chain.from_iterable(zip(self._values[start:end], seqs, strict=True))
        return b'{"predictions":[%b]}' % ((row * len(seqs))[:-1] % tuple(pairs))

    def ones(self, requests: list[str]) -> list[bytes]:
        """The whole answers to rows that were asked by themselves: heads and bodies."""
        names = [request.encode() for request in requests]
        if not self._simple:
            bodies = [self.row(place, name) for place, name in enumerate(names)]
            return [OK % (len(body), name, body) for body, name in zip(bodies, names, strict=True)]
        values, before, after = self._values, self._form.before, self._after
        put, first, fixed = b"".join, self._block.first, _FIXED + len(before) + len(after)
        seqs = _encode(list(range(first, first + len(values))))[1:-1].split(b",")
        return [
            put(
                (
                    _head(fixed + len(value) + len(seq) + len(name)),
                    name,
                    _BODY,
                    value,
                    before,
                    seq,
                    after,
                    name,
                    _END,
                )
            )
            for name, value, seq in zip(names, values, seqs, strict=True)
        ]

    def one(self, place: int, request: str) -> bytes:
        """``ones`` for a single row."""
        name = request.encode()
        content = self.row(place, name)
        return OK % (len(content), name, content)

    def several(self, question: Question, start: int, *, request: str) -> bytes:
        """The whole answer to a question whose rows begin at ``start``: head and body.

        Raises BadInput for an output that there is not.
        """
        name = request.encode()
        end = start + len(question.rows)
        if question.infer is None:
            content = self.rows(start, end, request=name)
        else:
            found = tensors.Columns.of(self._block, start=start, end=end)
            marks: tensors.Parameters = {"request_id": request}
            content, size = tensors.response(question.infer, found, signature=self._signature, parameters=marks)
            if size:
                return BINARY % (size, len(content), name, content)
        return OK % (len(content), name, content)


def refusal(error: ModelkeepError | Turned, request: str, *, content: bytes = b"") -> bytes:
    """A refusal as a whole answer; ``content`` is its body where another form than ours is due."""
    content = content or refusals.body(error, request)
    status = refusals.status(error)
    more = b"".join(b"%b: %b\r\n" % header for header in refusals.headers(error))
    return _HEAD % (status, HTTPStatus(status).phrase.encode(), len(content), request.encode(), more, content)


def _literal(text: bytes) -> bytes:
    """The text as it must be written to stand for itself in a pattern."""
    return text.replace(b"%", b"%%")
