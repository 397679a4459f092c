"""Clients of other servers work here: the Open Inference Protocol (v2) and MLflow's form."""

import gzip
import json
import os
import subprocess
import time

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making_models import BROKEN
from served_house import served

from modelkeep.edge import tensors
from modelkeep.edge.tensors import Infer, Tensor
from modelkeep.errors import BadInput
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Rollout, Signature

ADDER = "def predict(row):\n    return row['a'] + 10 * row['b'] + 100 * row['c']\n"
THREE = Signature(
    inputs=tuple(Field(name=name, kind="number") for name in "abc"), output=Field(name="sum", kind="number")
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with served(tmp_path_factory.mktemp("oip")) as found:
        found.keep("doubler")
        found.keep("broken", BROKEN)
        file = found.folder / "adder.py"
        file.write_text(ADDER)
        register(found.rooms, Registration(model="adder", path=file, trust=True, signature=THREE, metrics={"mae": 1.0}))
        with found.rooms.store.write() as ledger:
            ledger.rollouts.put(Rollout(model="adder", champion=1), None)
        found.rooms.router.refresh()
        yield found


def matrix(*rows):
    return {"name": "input", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": [list(r) for r in rows]}


def named(**columns):
    return [{"name": n, "shape": [len(v)], "datatype": "FP64", "data": v} for n, v in columns.items()]


def values(answer, name="sum"):
    assert answer.status_code == 200, answer.text
    return next(out["data"] for out in answer.json()["outputs"] if out["name"] == name)


def test_the_server_and_its_models_describe_themselves(house):
    assert house.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert house.get("/v2/health/live").json() == {"live": True}
    assert house.get("/v2/health/ready").json() == {"ready": True}
    found = house.get("/v2/models/adder").json()
    assert (found["name"], found["versions"]) == ("adder", ["1"])
    assert found["inputs"][0] == {"name": "a", "datatype": "FP64", "shape": [-1]}
    assert [out["name"] for out in found["outputs"]] == ["sum", "prediction_id"]
    assert house.get("/v2/models/adder/versions/1").json() == found
    assert house.get("/v2/models/adder/ready").json() == {"name": "adder", "ready": True}
    assert house.get("/v2/models/adder/versions/1/ready").status_code == 200
    assert "adder" in house.get("/v2/models/addr").json()["error"]
    assert house.get("/v2/models/adder/versions/2/ready").status_code == 404


def test_a_matrix_and_a_tensor_for_each_feature_say_the_same(house):
    one = house.post("/v2/models/adder/infer", {"inputs": [matrix((1, 2, 3), (4, 5, 6))]})
    other = house.post("/v2/models/adder/infer", {"inputs": named(c=[3, 6], a=[1, 4], b=[2, 5])})
    flat = {"name": "x", "shape": [2, 3], "datatype": "INT64", "data": [1, 2, 3, 4, 5, 6]}
    third = house.post("/v2/models/adder/versions/1/infer", {"inputs": [flat]})
    assert values(one) == values(other) == values(third) == [321.0, 654.0]


def test_a_request_keeps_its_id_and_its_predictions_are_recorded_under_their_key(house):
    answer = house.post(
        "/v2/models/adder/infer", {"id": "call 7", "parameters": {"key": "shop 1"}, "inputs": [matrix((1, 1, 1))]}
    )
    assert answer.json()["id"] == "call 7"
    (name,) = values(answer, "prediction_id")
    until = time.monotonic() + 10
    while (record := house.get(f"/v1/predictions/{name}")).status_code == 404:
        assert time.monotonic() < until
    assert record.json()["features"] == {"a": 1, "b": 1, "c": 1}
    assert (record.json()["key"], record.json()["prediction"]) == ("shop 1", 111.0)
    assert record.json()["request_id"] == answer.json()["parameters"]["request_id"] == answer.headers["x-request-id"]


def test_only_the_outputs_that_are_asked_for_come(house):
    body = {"inputs": [matrix((1, 1, 1))], "outputs": [{"name": "sum"}]}
    assert [out["name"] for out in house.post("/v2/models/adder/infer", body).json()["outputs"]] == ["sum"]
    wrong = house.post("/v2/models/adder/infer", {"inputs": [matrix((1, 1, 1))], "outputs": [{"name": "sun"}]})
    assert wrong.status_code == 422
    assert "sum" in wrong.json()["error"]


def binary(house, path, header, data, **headers):
    content = json.dumps(header).encode()
    length = {"Inference-Header-Content-Length": str(len(content))}
    return house.client.post(path, content=content + data, headers=length | headers)


def test_tensors_come_and_go_as_bytes(house):
    table = np.array([[1, 2, 3], [4, 5, 6]], dtype="<f4")
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": table.nbytes}}
    header = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    answer = binary(house, "/v2/models/adder/infer", header, table.tobytes())
    size = int(answer.headers["inference-header-content-length"])
    found = json.loads(answer.content[:size])
    first = found["outputs"][0]["parameters"]["binary_data_size"]
    assert np.frombuffer(answer.content[size : size + first]).tolist() == [321.0, 654.0]
    assert answer.content[size + first + 4 :].startswith(b"1-")
    text = b"\x04\x00\x00\x00gold"
    plan = {"name": "plan", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(text)}}
    x = {"name": "x", "shape": [1], "datatype": "FP64", "data": [3]}
    assert values(binary(house, "/v2/models/doubler/infer", {"inputs": [x, plan]}, text), "y") == [6.0]


def test_a_compressed_body_is_unpacked_within_the_limit(house):
    body = gzip.compress(json.dumps({"inputs": [matrix((1, 2, 3))]}).encode())
    headers = {"content-encoding": "gzip"}
    assert values(house.client.post("/v2/models/adder/infer", content=body, headers=headers)) == [321.0]
    bomb = gzip.compress(b" " * (20 << 20))
    assert house.client.post("/v2/models/adder/infer", content=bomb, headers=headers).status_code == 413
    assert house.client.post("/v2/models/adder/infer", content=b"no", headers=headers).status_code == 422


WRONG = {
    "no inputs": {"inputs": []},
    "too few columns": {"inputs": [matrix((1, 2))]},
    "too few values": {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [1]}]},
    "a hole": {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, None]}]},
    "text": {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, "3"]}]},
    "an unknown type": {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP65", "data": [1, 2, 3]}]},
    "an unknown feature": {"inputs": named(a=[1], b=[1], c=[1], d=[1])},
    "a missing feature": {"inputs": named(a=[1], b=[1])},
    "unequal": {"inputs": named(a=[1], b=[1, 2], c=[1])},
    "negative": {"inputs": [{"name": "x", "shape": [-1, 3], "datatype": "FP64", "data": []}]},
    "nothing": {},
    "nested deeper": {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [[[1, 2, 3]]]}]},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_by_name(house, name):
    answer = house.post("/v2/models/adder/infer", WRONG[name])
    assert answer.status_code == 422, answer.text
    assert isinstance(answer.json()["error"], str)
    assert answer.json()["problems"]


def test_a_row_that_nobody_can_answer_fails_the_request(house):
    body = {"inputs": named(x=[1, 99])}
    answer = house.post("/v2/models/broken/infer", body)
    assert answer.status_code == 502
    assert "row 1" in answer.json()["error"]


@given(st.binary(max_size=60), st.sampled_from([*tensors.NUMBERS, "BYTES", "X"]), st.lists(st.integers(-2, 9)))
def test_no_bytes_break_the_reader(data, kind, shape):
    tensor = Tensor(name="a", shape=shape, datatype=kind, parameters={"binary_data_size": len(data)})
    try:
        rows, keys = tensors.rows_of(Infer(inputs=[tensor]), THREE, binary=data)
    except BadInput:
        return
    assert len(rows) == len(keys) > 0


# ---------------------------------------------------------------------------------------------------- MLflow

FORMS = (
    {"dataframe_split": {"columns": ["b", "a", "c"], "data": [[2, 1, 3], [5, 4, 6]]}},
    {"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}]},
    {"instances": [[1, 2, 3], [4, 5, 6]]},
    {"instances": [{"a": 1, "b": [2], "c": 3}, {"a": 4, "b": 5, "c": 6}]},
    {"inputs": {"a": [1, 4], "b": [2, 5], "c": [3, 6]}},
    {"inputs": [[1, 2, 3], [4, 5, 6]]},
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_mlflow_is_taken(house, form):
    answer = house.client.post("/invocations?model=adder", json=form)
    assert answer.json() == {"predictions": [321.0, 654.0]}


def test_mlflows_form_says_what_is_wrong(house):
    lacking = house.post("/invocations", FORMS[0])
    assert lacking.status_code == 422
    assert "model" in lacking.json()["message"]
    wrong = house.client.post("/invocations?model=adder", json={"instances": [[1, 2]]})
    assert wrong.json()["error_code"] == "BAD_REQUEST"
    assert "3 values" in wrong.json()["message"]
    both = house.client.post("/invocations?model=adder", json=FORMS[0] | FORMS[1])
    assert both.status_code == 422
    nobody = house.client.post("/invocations?model=addr", json=FORMS[0])
    assert nobody.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert house.get("/ping").status_code == 200


# --------------------------------------------------------------------------------------------- other clients

TRITON = """
import sys
import numpy as np
import tritonclient.http as http

client = http.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("adder")
assert client.is_model_ready("adder", "1") and not client.is_model_ready("nobody")
assert client.get_server_metadata()["name"] == "modelkeep"
found = client.get_model_metadata("adder", "1")
assert [one["name"] for one in found["inputs"]] == ["a", "b", "c"]
table = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float64)
for as_bytes in (True, False):
    given = http.InferInput("x", table.shape, "FP64")
    given.set_data_from_numpy(table, binary_data=as_bytes)
    wanted = [http.InferRequestedOutput("sum", binary_data=as_bytes)]
    for outputs in (wanted, None):
        for how in (None, "gzip"):
            answer = client.infer("adder", [given], outputs=outputs, request_id="7", request_compression_algorithm=how)
            assert answer.as_numpy("sum").tolist() == [321.0, 654.0]
            assert answer.get_response()["id"] == "7"
columns = []
for place, name in enumerate("abc"):
    columns.append(http.InferInput(name, [2, 1], "FP32"))
    columns[-1].set_data_from_numpy(table[:, [place]].astype(np.float32))
assert client.infer("adder", columns, model_version="1").as_numpy("sum").tolist() == [321.0, 654.0]
x, plan = http.InferInput("x", [1], "FP64"), http.InferInput("plan", [1], "BYTES")
x.set_data_from_numpy(np.array([3.0]))
plan.set_data_from_numpy(np.array(["gold"], dtype=object))
assert client.infer("doubler", [x, plan]).as_numpy("y").tolist() == [6.0]
try:
    client.infer("adder", columns[:2])
except http.InferenceServerException as error:
    assert "c: expected number" in error.message(), error.message()
else:
    raise SystemExit("a missing tensor was not refused")
print("fine")
"""
KSERVE = """
import asyncio, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = "http://" + sys.argv[1]
    assert await client.is_server_live(base) and await client.is_server_ready(base)
    assert await client.is_model_ready(base, "adder")
    for as_bytes in (True, False):
        given = InferInput("x", [2, 3], "FP64")
        given.set_data_from_numpy(np.array([[1, 2, 3], [4, 5, 6.0]]), binary_data=as_bytes)
        answer = await client.infer(base, InferRequest("adder", [given], request_id="7"), model_name="adder")
        assert answer.outputs[0].as_numpy().tolist() == [321.0, 654.0], answer
        assert answer.id == "7"
    print("fine")

asyncio.run(main())
"""


@pytest.mark.prove
@pytest.mark.parametrize(("client", "script"), [("TRITON", TRITON), ("KSERVE", KSERVE)])
def test_other_servers_clients_work_here(house, client, script):
    """Their own environments: ``MODELKEEP_TRITON_PYTHON`` and ``MODELKEEP_KSERVE_PYTHON`` name the interpreters."""
    python = os.environ.get(f"MODELKEEP_{client}_PYTHON")
    if not python:
        pytest.skip(f"MODELKEEP_{client}_PYTHON names no interpreter with that client")
    address = httpx.URL(house.url).netloc.decode()
    ran = subprocess.run([python, "-c", script, address], capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.strip().endswith("fine"), ran.stdout + ran.stderr
