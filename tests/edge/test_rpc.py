"""The Open Inference Protocol over gRPC: a second wire to the same logic, spoken by other servers' own clients."""

import asyncio
import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
from making_models import BROKEN, DOUBLER
from msgspec import structs
from served_house import served
from started import free_port
from waiting import until

from modelkeep.edge.rpc.messages import MESSAGES, SERVICE
from modelkeep.errors import BadSettings
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Rollout, Signature

SLOW = "import time\ndef predict(row):\n    time.sleep(row['x'])\n    return row['x']\n"
KINDS = "def predict(row):\n    return 'many' if row['n'] > 3 and row['sure'] else 'few'\n"
MIXED = Signature(
    inputs=(
        Field(name="n", kind="integer"),
        Field(name="sure", kind="boolean"),
        Field(name="who", kind="text", nullable=True),
    ),
    output=Field(name="size", kind="category", categories=("few", "many")),
)


class Line:
    """A channel with the methods of the protocol, its messages made by hand."""

    def __init__(self, port, **more):
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.insecure_channel(self.address, **more)

    def call(self, name, message, **more):
        way = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=MESSAGES[f"{name}Request"].SerializeToString,
            response_deserializer=MESSAGES[f"{name}Response"].FromString,
        )
        return way.with_call(message, timeout=more.pop("timeout", 30), **more)

    def infer(self, message, **more):
        return self.call("ModelInfer", message, **more)[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    port = free_port()
    with served(tmp_path_factory.mktemp("rpc"), server__grpc=port, server__body="1MB") as found:
        found.keep("doubler")
        found.keep("broken", BROKEN)
        found.keep("slow", SLOW, policy=Policy(model="slow", limit=0.3))
        file = found.folder / "kinds.py"
        file.write_text(KINDS)
        register(found.rooms, Registration(model="kinds", path=file, trust=True, signature=MIXED, metrics={"f1": 1.0}))
        with found.rooms.store.write() as ledger:
            ledger.rollouts.put(Rollout(model="kinds", champion=1), None)
        found.rooms.router.refresh()
        found.line = Line(port)
        yield found
        found.line.channel.close()


def asking(model, *tensors, raw=(), **more):
    message = MESSAGES["ModelInferRequest"](model_name=model, raw_input_contents=raw, **more)
    for name, kind, values in tensors:
        tensor = message.inputs.add(name=name, datatype=kind, shape=[len(values)])
        place = {"FP64": "fp64", "FP32": "fp32", "INT64": "int64", "INT32": "int", "BOOL": "bool", "BYTES": "bytes"}
        if not raw:
            getattr(tensor.contents, f"{place[kind]}_contents").extend(values)
    return message


def doubling(*values, **more):
    return asking("doubler", ("x", "FP64", values), **more)


def output(answer, name):
    return next(one for one in answer.outputs if one.name == name)


def texts(data):
    found, place = [], 0
    while place < len(data):
        size = struct.unpack_from("<I", data, place)[0]
        found.append(data[place + 4 : place + 4 + size].decode())
        place += 4 + size
    return found


def refused(line, message, name="ModelInfer", **more):
    with pytest.raises(grpc.RpcError) as caught:
        line.call(name, message, **more)
    return caught.value.code(), caught.value.details(), dict(caught.value.trailing_metadata() or ())


def test_the_messages_are_those_of_the_standard():
    from tritonclient.grpc import service_pb2 as theirs

    def told(message):
        fields = [(f.name, f.number, f.type, f.is_repeated) for f in message.fields]
        return sorted(fields), [one.name for one in message.oneofs], message.GetOptions().map_entry

    for name, ours in MESSAGES.items():
        wanted = theirs.DESCRIPTOR.message_types_by_name[name.partition(".")[0]]
        for part in name.split(".")[1:]:
            wanted = wanted.nested_types_by_name[part]
        assert told(ours.DESCRIPTOR) == told(wanted), name
        for entry in ours.DESCRIPTOR.nested_types:
            assert told(entry) == told(wanted.nested_types_by_name[entry.name])
    assert theirs.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name == SERVICE


def test_tritons_client_works_here(house):
    """Triton's own client, as its users write it."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(house.line.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("doubler")
        assert client.is_model_ready("doubler", "1")
        assert client.get_server_metadata().name == "modelkeep"
        found = client.get_model_metadata("doubler")
        assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
            ("x", "FP64", [-1]),
            ("plan", "BYTES", [-1]),
        ]
        assert [one.name for one in found.outputs] == ["y", "prediction_id"]
        x, plan = triton.InferInput("x", [2, 1], "FP32"), triton.InferInput("plan", [2], "BYTES")
        x.set_data_from_numpy(np.array([[3], [4]], dtype=np.float32))
        plan.set_data_from_numpy(np.array(["gold", "gold"], dtype=object))
        for how in (None, "gzip", "deflate"):
            answer = client.infer("doubler", [x, plan], request_id="7", compression_algorithm=how)
            assert answer.as_numpy("y").tolist() == [6.0, 8.0]
            assert answer.get_response().id == "7"
        wanted = [triton.InferRequestedOutput("y")]
        only = client.infer("doubler", [x], outputs=wanted, model_version="1", parameters={"key": "shop 1"})
        assert [one.name for one in only.get_response().outputs] == ["y"]
        table = triton.InferInput("rows", [1, 2], "BYTES")
        table.set_data_from_numpy(np.array([["3", "gold"]], dtype=object))
        with pytest.raises(triton.InferenceServerException, match="x: expected number"):
            client.infer("doubler", [table])
        with pytest.raises(triton.InferenceServerException, match="known: broken"):
            client.is_model_ready("nobody")


def test_both_wires_say_the_same_byte_for_byte(house):
    """What comes back as bytes is what REST's binary extension brings, and typed contents are its JSON."""
    values = np.array([1.5, -2.25, 99.0, 1e-300], dtype="<f8")
    raw = house.line.infer(doubling(*values, raw=[values.tobytes()], id="a"))
    assert not output(raw, "y").HasField("contents")
    header = {
        "inputs": [{"name": "x", "shape": [4], "datatype": "FP64", "parameters": {"binary_data_size": 32}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(header).encode()
    rest = house.client.post(
        "/v2/models/doubler/infer",
        content=head + values.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    size = int(rest.headers["inference-header-content-length"])
    said = json.loads(rest.content[:size])
    assert rest.content[size : size + 32] == raw.raw_output_contents[0]
    assert [(o["name"], o["datatype"], o["shape"]) for o in said["outputs"]] == [
        (o.name, o.datatype, list(o.shape)) for o in raw.outputs
    ]
    typed = house.line.infer(doubling(*values, id="a"))
    plain = house.post(
        "/v2/models/doubler/infer",
        {"id": "a", "inputs": [{"name": "x", "shape": [4], "datatype": "FP64", "data": values.tolist()}]},
    ).json()
    assert list(output(typed, "y").contents.fp64_contents) == plain["outputs"][0]["data"]
    assert not typed.raw_output_contents
    assert (typed.model_name, typed.model_version, typed.id) == (plain["model_name"], plain["model_version"], "a")
    assert (
        len(
            {
                *texts(raw.raw_output_contents[1]),
                *(b.decode() for b in output(typed, "prediction_id").contents.bytes_contents),
            }
        )
        == 8
    )


def test_every_kind_of_value_is_taken_and_given(house):
    tensors = (("n", "INT32", [5, 1]), ("sure", "BOOL", [True, True]), ("who", "BYTES", [b"an\xc3\xa0", b""]))
    answer = house.line.infer(asking("kinds", *tensors))
    assert list(output(answer, "size").contents.bytes_contents) == [b"many", b"few"]
    who = b"\x04\x00\x00\x00an\xc3\xa0\x00\x00\x00\x00"
    raw = [np.array([5, 1], dtype="<i4").tobytes(), b"\x01\x01", who]
    other = house.line.infer(asking("kinds", *tensors, raw=raw))
    assert texts(other.raw_output_contents[0]) == ["many", "few"]
    name = texts(other.raw_output_contents[-1])[0]
    record = until(lambda: (found := house.get(f"/v1/predictions/{name}")).status_code == 200 and found.json())
    assert record["features"] == {"n": 5, "sure": True, "who": "anà"}


def test_predictions_are_recorded_under_their_key_and_request(house):
    message = doubling(1.0)
    message.parameters["key"].string_param = "shop 1"
    answer, _ = house.line.call("ModelInfer", message, metadata=(("x-request-id", "mine-1"),))
    assert answer.parameters["request_id"].string_param == "mine-1"
    name = output(answer, "prediction_id").contents.bytes_contents[0].decode()
    record = until(lambda: (found := house.get(f"/v1/predictions/{name}")).status_code == 200 and found.json())
    assert (record["key"], record["request_id"], record["prediction"], record["role"]) == (
        "shop 1", "mine-1", 2.0, "champion",
    )  # fmt: skip
    counted = house.get("/metrics").text
    assert f'route="{SERVICE}/ModelInfer",status="200"' in counted or f"{SERVICE}/ModelInfer" in counted


WRONG = {
    "no such model": (asking("doublr", ("x", "FP64", [1.0])), "NOT_FOUND", "no model 'doublr'; known: doubler"),
    "a name from elsewhere": (asking("größe", ("x", "FP64", [1.0])), "NOT_FOUND", "no model 'größe'"),
    "no such version": (doubling(1.0, model_version="7"), "NOT_FOUND", "'7'"),
    "no tensors": (asking("doubler"), "INVALID_ARGUMENT", "inputs: expected"),
    "an unknown name": (asking("doubler", ("y", "FP64", [1.0])), "INVALID_ARGUMENT", "x: expected number"),
    "a text for a number": (asking("doubler", ("x", "BYTES", [b"1"])), "INVALID_ARGUMENT", "x: expected number"),
    "out of range": (doubling(1000.0), "INVALID_ARGUMENT", "100"),
    "not a number": (doubling(float("nan")), "INVALID_ARGUMENT", "x: expected"),
    "no text": (
        asking("doubler", ("x", "FP64", [1.0]), ("plan", "BYTES", [b"\xff"])),
        "INVALID_ARGUMENT",
        "inputs.plan.contents: expected texts in UTF-8",
    ),
    "too few bytes": (doubling(1.0, raw=[b"1234"]), "INVALID_ARGUMENT", "8 for its shape [1]"),
    "bytes for nobody": (doubling(1.0, raw=[b"12345678"] * 2), "INVALID_ARGUMENT", "expected 1, one for each input"),
    "unequal": (
        asking("doubler", ("x", "FP64", [1.0]), ("plan", "BYTES", [b"gold"] * 2)),
        "INVALID_ARGUMENT",
        "inputs.plan.shape",
    ),
    "a row that fails": (asking("broken", ("x", "FP64", [1.0, 99.0])), "INTERNAL", "row 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_by_name(house, name):
    message, code, words = WRONG[name]
    found, details, metadata = refused(house.line, message)
    assert (found.name, words in details) == (code, True), details
    assert metadata["x-request-id"]
    assert metadata["error-code"]


def test_shapes_types_and_outputs_are_refused_by_name(house):
    message = doubling(1.0)
    message.inputs[0].shape[0] = 3
    assert "3 values for its shape [3], got 1" in refused(house.line, message)[1]
    message = doubling(1.0)
    message.inputs[0].datatype = "FP32"
    assert "inputs.x.contents: expected fp32_contents" in refused(house.line, message)[1]
    message.inputs[0].datatype = "FP65"
    assert "inputs.x.datatype" in refused(house.line, message)[1]
    message = doubling(1.0)
    message.outputs.add(name="z")
    assert "outputs: expected some of y, prediction_id" in refused(house.line, message)[1]
    message = doubling(1.0)
    message.raw_input_contents.append(b"12345678")
    assert "none beside raw_input_contents" in refused(house.line, message)[1]
    code, details, _ = refused(house.line, doubling(1.0), metadata=(("x-priority", "urgent"),))
    assert (code.name, "critical, normal or batch" in details) == ("INVALID_ARGUMENT", True)
    assert house.line.infer(doubling(1.0), metadata=(("x-priority", "critical"),)).outputs


def test_words_of_both_wires_are_the_same(house):
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1000]}]}
    said = house.post("/v2/models/doubler/infer", body).json()
    _, details, metadata = refused(house.line, asking("doubler", ("x", "INT64", [1000])))
    assert (details, metadata["error-code"]) == (said["error"], said["code"])


def test_a_message_is_not_larger_than_the_limit_compressed_or_not(house):
    bomb = doubling(1.0, raw=[b"\0" * (4 << 20)])
    assert len(gzip.compress(bomb.SerializeToString())) < 10_000
    for how in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        code, details, _ = refused(house.line, bomb, compression=how)
        assert code.name == "RESOURCE_EXHAUSTED"
        assert "larger than max" in details


def test_who_stops_waiting_is_let_go_and_what_was_asked_is_recorded(house):
    began = time.monotonic()
    code, _, _ = refused(house.line, asking("slow", ("x", "FP64", [0.2])), timeout=0.05)
    assert code.name == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 0.2
    until(lambda: house.get("/v1/models/slow/predictions").json()["predictions"])
    code, details, _ = refused(house.line, asking("slow", ("x", "FP64", [0.9])))
    assert (code.name, "0.3 s" in details) == ("DEADLINE_EXCEEDED", True), details


def test_many_at_once_each_get_their_own(house):
    async def all_of_them():
        async with grpc.aio.insecure_channel(house.line.address) as channel:
            way = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=MESSAGES["ModelInferRequest"].SerializeToString,
                response_deserializer=MESSAGES["ModelInferResponse"].FromString,
            )
            return await asyncio.gather(*(way(doubling(float(x % 100), id=str(x))) for x in range(300)))

    answers = asyncio.run(all_of_them())
    assert [one.id for one in answers] == [str(x) for x in range(300)]
    assert [list(output(one, "y").contents.fp64_contents) for one in answers] == [[2.0 * (x % 100)] for x in range(300)]
    assert len({bytes(output(one, "prediction_id").contents.bytes_contents[0]) for one in answers}) == 300


def test_who_stood_in_is_told_and_a_trial_is_drawn(house):
    """The same rollouts as everywhere: a fallback answers for a champion that fails, a canary gets its share."""
    first = house.keep("trial", DOUBLER)
    house.keep("trial", BROKEN)
    with house.rooms.store.write() as ledger:
        was = ledger.rollouts.get("trial")
        ledger.rollouts.put(structs.replace(was, champion=2, fallback=first.number), was)
    house.rooms.router.refresh()
    answer = house.line.infer(asking("trial", ("x", "FP64", [99.0])))
    assert output(answer, "y").contents.fp64_contents[0] == 198.0
    assert answer.parameters["fallback"].string_param
    assert "no such hour" in answer.parameters["fallback_reason"].string_param
    with house.rooms.store.write() as ledger:
        was = ledger.rollouts.get("trial")
        ledger.rollouts.put(structs.replace(was, challenger=1, mode="canary", share=0.5), was)
    house.rooms.router.refresh()
    drawn = []
    for n in range(40):
        message = asking("trial", ("x", "FP64", [1.0]))
        message.parameters["key"].string_param = f"shop {n}"
        drawn.append(house.line.infer(message).model_version)
    assert set(drawn) == {"1", "2"}
    pinned = [house.line.infer(asking("trial", ("x", "FP64", [1.0]), model_version="2")) for _ in range(10)]
    assert {one.model_version for one in pinned} == {"2"}


def test_a_disabled_model_is_not_ready(house):
    message = MESSAGES["ModelReadyRequest"](name="broken")
    assert house.line.call("ModelReady", message)[0].ready
    assert house.post("/v1/models/broken/disable", {"why": "a test"}).status_code == 200
    try:
        until(lambda: not house.line.call("ModelReady", message)[0].ready)
    finally:
        house.post("/v1/models/broken/enable", {})


def test_the_token_is_asked_for_here_too(tmp_path):
    (tmp_path / "token").write_text("s3cret-s3cret")
    port = free_port()
    more = {"server__token": f"file:{tmp_path / 'token'}", "overload__caller": "x-caller"}
    rated = {"overload__rate": 0.001, "overload__burst": 4}
    with served(tmp_path / "data", server__grpc=port, **more, **rated) as house:
        house.keep("doubler")
        line = Line(port)
        live = MESSAGES["ServerLiveRequest"]()
        code, details, _ = refused(line, live, name="ServerLive")
        assert (code.name, "Authorization: Bearer TOKEN" in details) == ("UNAUTHENTICATED", True)
        assert refused(line, doubling(1.0), metadata=(("authorization", "Bearer wrong"),))[0].name == "UNAUTHENTICATED"
        mine = (("authorization", "Bearer s3cret-s3cret"),)
        assert line.infer(doubling(4.0), metadata=mine).outputs[0].contents.fp64_contents[0] == 8.0
        assert line.call("ServerLive", live, metadata=mine)[0].live
        # Four requests at once are this caller's; another has its own.
        code, details, metadata = refused(line, doubling(1.0), metadata=mine)
        assert (code.name, "0.001 requests a second" in details) == ("RESOURCE_EXHAUSTED", True)
        assert int(metadata["retry-after"]) > 1
        assert line.infer(doubling(1.0), metadata=(*mine, ("x-caller", "other"))).outputs
        line.channel.close()


def test_a_stop_finishes_what_was_asked(tmp_path):
    port = free_port()
    with ThreadPoolExecutor(1) as pool:
        with served(tmp_path / "data", server__grpc=port) as house:
            house.keep("slow", SLOW)
            line = Line(port)
            assert line.infer(asking("slow", ("x", "FP64", [0.0]))).outputs
            going = pool.submit(line.infer, asking("slow", ("x", "FP64", [0.5])))
            until(lambda: house.rooms.gateway.counters.open == 1)
        assert output(going.result(10), "y").contents.fp64_contents[0] == 0.5
        assert refused(line, doubling(1.0), timeout=2)[0].name == "UNAVAILABLE"
        line.channel.close()


WITHOUT = """
import sys
sys.modules["grpc"] = None  # as if it were not installed
from modelkeep.edge.cli import main
for words in (["config", "check"], ["up"]):
    sys.argv[1:] = [*words, "-C", sys.argv[-1]]
    print(main())
"""


def test_a_missing_package_and_a_taken_port_are_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"cannot listen on 127.0.0.1:{port} for gRPC"):
            served(tmp_path, server__grpc=port).__enter__()
    (tmp_path / "modelkeep.toml").write_text("[server]\nlisten = [0]\ngrpc = 0\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=clean)
    assert [line for line in ran.stdout.splitlines() if line.isdigit()] == ["1", "1"]
    assert "gRPC: server.grpc needs packages that are missing: pip install 'modelkeep[grpc]'" in ran.stderr
    assert "server.grpc = 0 (modelkeep.toml, line 3) needs packages that are missing" in ran.stderr


@pytest.mark.prove
def test_several_processes_answer_on_the_port(tmp_path):
    port = free_port()
    with served(tmp_path / "data", server__grpc=port, server__workers=2) as house:
        house.keep("doubler")
        found = set()

        def ask():
            line = Line(port, options=[("grpc.use_local_subchannel_pool", 1)])
            try:
                answer = line.infer(doubling(1.0))
            except grpc.RpcError:
                pass  # the other process has not heard of the model yet
            else:
                name = output(answer, "prediction_id").contents.bytes_contents[0]
                found.add(name.partition(b"-")[0])
            line.channel.close()
            return len(found) == 2

        until(ask)
        threads = [threading.Thread(target=ask) for _ in range(20)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(found) == 2


KSERVE = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

async def main():
    client = InferenceGRPCClient(sys.argv[1])
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("doubler")
    for as_bytes in (True, False):
        given = InferInput("x", [2, 1], "FP64")
        given.set_data_from_numpy(np.array([[1.0], [4.0]]), binary_data=as_bytes)
        plan = InferInput("plan", [2], "BYTES")
        plan.set_data_from_numpy(np.array(["gold", "gold"], dtype=object), binary_data=as_bytes)
        answer = await client.infer(InferRequest("doubler", [given, plan], request_id="7"))
        assert answer.get_output_by_name("y").as_numpy().tolist() == [2.0, 8.0], answer
        assert answer.id == "7"
        assert len(answer.get_output_by_name("prediction_id").as_numpy()) == 2
    await client.close()
    print("fine")

asyncio.run(main())
"""


@pytest.mark.prove
def test_kserves_client_works_here(house):
    """Its own environment: ``MODELKEEP_KSERVE_PYTHON`` names the interpreter."""
    python = os.environ.get("MODELKEEP_KSERVE_PYTHON")
    if not python:
        pytest.skip("MODELKEEP_KSERVE_PYTHON names no interpreter with that client")
    ran = subprocess.run(
        [python, "-c", KSERVE, house.line.address], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.stdout.strip().endswith("fine"), ran.stdout + ran.stderr


def test_rest_takes_the_priority_too(house):
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}
    path = f"{house.url}/v2/models/doubler/infer"
    assert httpx.post(path, json=body, headers={"x-priority": "critical"}).status_code == 200
    wrong = httpx.post(path, json=body, headers={"x-priority": "urgent"})
    assert (wrong.status_code, "critical, normal or batch" in wrong.json()["error"]) == (422, True)
