"""gRPC's own tools at the port: health probes, reflection as grpcurl asks for it, and TLS, each with a real client."""

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import httpx
import pytest
import trustme
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from served_house import served
from started import free_port
from waiting import until

from modelkeep import settings
from modelkeep.edge.rpc import checking, reflecting
from modelkeep.edge.rpc.messages import SERVICE
from modelkeep.errors import BadSettings

UP, DOWN, UNKNOWN = 1, 2, 3
MINE = (("authorization", "Bearer s3cret-s3cret"),)
ALL = sorted([SERVICE, checking.SERVICE, reflecting.V1.service, reflecting.V1ALPHA.service])


@contextmanager
def reached(folder, **flags):
    """A server, and a channel to its gRPC port."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with grpc.insecure_channel(address) as channel, served(folder, server__grpc=port, **flags) as house:
        house.address, house.channel, house.health = address, channel, health_pb2_grpc.HealthStub(channel)
        yield house


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with reached(tmp_path_factory.mktemp("tools")) as found:
        found.keep("doubler")
        found.keep("north/shop")
        yield found


def asked(name):
    return health_pb2.HealthCheckRequest(service=name)


def told(message):
    fields = [(f.name, f.number, f.type, f.is_repeated) for f in message.fields]
    inner = [told(one) for one in message.nested_types]
    enums = [(e.name, [(v.name, v.number) for v in e.values]) for e in message.enum_types]
    return message.full_name, sorted(fields), [one.name for one in message.oneofs], inner, enums


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(checking.MESSAGES, health_pb2), (reflecting.MESSAGES[reflecting.V1ALPHA.service], reflection_pb2)],
    ids=["health", "reflection"],
)
def test_the_messages_are_those_of_the_standard(ours, theirs):
    known = theirs.DESCRIPTOR.message_types_by_name
    assert set(ours) == set(known)
    for name, message in ours.items():
        assert told(message.DESCRIPTOR) == told(known[name])
    service = next(iter(theirs.DESCRIPTOR.services_by_name.values()))
    file = next(iter(ours.values())).DESCRIPTOR.file
    mine = file.services_by_name[service.name]
    assert [m.name for m in mine.methods] == sorted(m.name for m in service.methods)
    for method in service.methods:
        own = mine.methods_by_name[method.name]
        for part in ("client_streaming", "server_streaming"):
            assert getattr(own, part) == getattr(method, part)
        assert (own.input_type.full_name, own.output_type.full_name) == (
            method.input_type.full_name, method.output_type.full_name,
        )  # fmt: skip


def test_a_probe_learns_of_the_server_of_a_service_and_of_a_model(house):
    """The standard client, as ``grpc_health_probe`` and Kubernetes ask."""
    for name in ("", SERVICE, checking.SERVICE, "doubler", "north/shop"):
        assert house.health.Check(asked(name), timeout=10).status == UP, name
    with pytest.raises(grpc.RpcError) as caught:
        house.health.Check(asked("doublr"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "doubler" in caught.value.details()
    everything = house.health.List(health_pb2.HealthListRequest(), timeout=10).statuses
    assert {name: one.status for name, one in everything.items()} == dict.fromkeys(
        ["", SERVICE, checking.SERVICE, "doubler", "north/shop"], UP
    )
    assert f'endpoint="{checking.SERVICE}/Check"' in house.get("/metrics").text


def test_whoever_watches_hears_of_every_change_and_of_the_end(tmp_path):
    with reached(tmp_path) as house:
        house.keep("doubler")
        heard = {name: [] for name in ("", "doubler", "later")}
        ended = []

        def listen(name):
            try:
                for answer in house.health.Watch(asked(name)):
                    heard[name].append(answer.status)
                ended.append((name, None))
            except grpc.RpcError as error:
                ended.append((name, error.code()))

        threads = [threading.Thread(target=listen, args=(name,)) for name in heard]
        for one in threads:
            one.start()
        until(lambda: all(heard.values()))
        assert heard == {"": [UP], "doubler": [UP], "later": [UNKNOWN]}
        assert house.post("/v1/models/doubler/disable", {"why": "a test"}).status_code == 200
        until(lambda: heard["doubler"] == [UP, DOWN])
        house.keep("later")
        assert house.post("/v1/models/doubler/enable", {}).status_code == 200
        until(lambda: heard["doubler"] == [UP, DOWN, UP] and heard["later"] == [UNKNOWN, UP])
        assert "ml_requests_in_progress 3" not in house.get("/metrics").text
        began = time.monotonic()
    for one in threads:
        one.join(10)
    assert time.monotonic() - began < 8, "a stop does not wait for those who watch"
    assert sorted(ended) == [("", None), ("doubler", None), ("later", None)]
    assert {name: found[-1] for name, found in heard.items()} == dict.fromkeys(heard, DOWN)


def test_probes_that_come_together_hear_the_same(house):
    """Who comes while somebody looks waits for what is found."""
    health = house.health
    for _ in range(3):
        time.sleep(checking.EVERY)
        calls = [health.Check.future(asked(""), timeout=10) for _ in range(20)]
        assert {call.result().status for call in calls} == {UP}


def listing(house):
    """A stream of reflection that has been answered once, and whose caller is silent from then on."""
    messages = reflecting.MESSAGES[reflecting.V1.service]
    call = house.channel.stream_stream(
        f"/{reflecting.V1.service}/ServerReflectionInfo",
        request_serializer=messages["ServerReflectionRequest"].SerializeToString,
        response_deserializer=messages["ServerReflectionResponse"].FromString,
    )
    silence = threading.Event()

    def requests():
        yield messages["ServerReflectionRequest"](list_services="")
        silence.wait(30)

    answers = call(requests())
    assert next(answers).list_services_response.service
    return answers, silence


def test_a_stop_waits_for_no_stream_and_the_ports_stop_together(tmp_path):
    """What is asked over HTTP is finished; meanwhile nothing new is taken over gRPC, as over HTTP."""
    slow = "import time\ndef predict(row):\n    time.sleep(max(row['x'], 0.05))\n    return 1.0\n"
    said = []
    with ThreadPoolExecutor(1) as pool:
        with reached(tmp_path) as house:
            house.keep("slow", slow)
            assert house.ask("slow", x=0.0).status_code == 200
            answers, silence = listing(house)
            body = {"features": {"x": 2.0, "plan": "gold"}}
            going = pool.submit(httpx.post, f"{house.url}/v1/models/slow/predict", json=body)
            until(lambda: house.rooms.gateway.counters.open == 1)

            def probe():
                time.sleep(1.0)  # within the stop
                said.append(answered(house.address, None))

            probing = threading.Thread(target=probe)
            probing.start()
            began = time.monotonic()
        took = time.monotonic() - began
        assert going.result(1).status_code == 200
        probing.join()
    assert list(answers) == []
    silence.set()
    assert took < 6, "a stop does not wait for a silent stream"
    assert said == [None]


def test_many_who_watch_are_bounded(house):
    calls = [house.health.Watch(asked("doubler")) for _ in range(201)]
    codes = []
    for call in calls:
        try:
            codes.append(next(call).status)
        except grpc.RpcError as error:
            codes.append(error.code())
    assert codes.count(UP) == 200
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 1
    for call in calls:
        call.cancel()
    until(lambda: next(house.health.Watch(asked("doubler"), timeout=5)).status == UP)


def test_a_probe_needs_no_token_where_it_learns_no_name(tmp_path):
    (tmp_path / "token").write_text("s3cret-s3cret")
    rate = {"overload__rate": 0.001, "overload__burst": 3}
    with reached(tmp_path / "data", server__token=f"file:{tmp_path / 'token'}", **rate) as house:
        house.keep("doubler")
        for _ in range(5):
            assert house.health.Check(asked(""), timeout=10).status == UP
            assert house.health.Check(asked(SERVICE), timeout=10).status == UP
        assert next(house.health.Watch(asked(""))).status == UP
        mirror = ProtoReflectionDescriptorDatabase(house.channel)
        for call in (
            lambda: house.health.Check(asked("doubler"), timeout=10),
            lambda: house.health.List(health_pb2.HealthListRequest(), timeout=10),
            mirror.get_services,
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            house.health.Check(asked("doubler"), timeout=10, metadata=MINE)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_tool_that_knows_nothing_asks_what_there_is_and_calls_it(house):
    """As grpcurl does: services, then the files of one, then a call with messages made from them."""
    mirror = ProtoReflectionDescriptorDatabase(house.channel)
    assert list(mirror.get_services()) == ALL
    pool = DescriptorPool(mirror)
    for name in ALL:
        assert pool.FindServiceByName(name).full_name == name
    method = pool.FindMethodByName(f"{SERVICE}.ModelInfer")
    asks, answers = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = house.channel.unary_unary(
        f"/{SERVICE}/ModelInfer", request_serializer=asks.SerializeToString, response_deserializer=answers.FromString
    )
    message = asks(model_name="doubler")
    message.inputs.add(name="x", datatype="FP64", shape=[1]).contents.fp64_contents.append(4.0)
    assert next(one for one in call(message).outputs if one.name == "y").contents.fp64_contents[0] == 8.0


@pytest.mark.parametrize("service", reflecting.MESSAGES)
def test_reflection_answers_each_question_in_both_versions(house, service):
    messages = reflecting.MESSAGES[service]
    asks = messages["ServerReflectionRequest"]
    call = house.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=asks.SerializeToString,
        response_deserializer=messages["ServerReflectionResponse"].FromString,
    )
    requests = [
        asks(host="here", list_services=""),
        asks(file_containing_symbol="grpc.health.v1.Health"),
        asks(file_by_filename="open_inference_grpc.proto"),
        asks(all_extension_numbers_of_type="inference.ModelInferRequest"),
        asks(file_containing_symbol="no.such.Thing"),
        asks(file_by_filename="/etc/passwd"),
        asks(all_extension_numbers_of_type="no.such.Thing"),
        asks(file_containing_extension={"containing_type": "inference.ModelInferRequest", "extension_number": 1}),
        asks(),
    ]
    answers = list(call(iter(requests), timeout=10))
    assert [one.original_request for one in answers] == requests
    assert answers[0].valid_host == "here"
    assert [one.name for one in answers[0].list_services_response.service] == ALL
    assert [bool(one.file_descriptor_response.file_descriptor_proto) for one in answers[1:3]] == [True, True]
    assert answers[3].all_extension_numbers_response.base_type_name == "inference.ModelInferRequest"
    assert [one.error_response.error_code for one in answers[4:]] == [5, 5, 5, 5, 3]


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """An authority, a certificate of the server and one of a client, and an authority that nobody knows."""
    folder = tmp_path_factory.mktemp("papers")
    ours, other = trustme.CA(), trustme.CA()
    server, client = ours.issue_cert("127.0.0.1", "localhost"), ours.issue_cert("ana@example.com")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    server.private_key_pem.write_to_path(folder / "server.key")
    ours.cert_pem.write_to_path(folder / "ours.pem")
    found = SimpleNamespace(folder=folder, ours=ours, other=other, client=client)
    found.flags = {
        "server__grpc_certificate": str(folder / "server.pem"),
        "server__grpc_key": str(folder / "server.key"),
    }
    return found


def trusting(authority, client=None):
    """What a client shows and believes."""
    shown = (client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()) if client else (None, None)
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *shown)


def answered(address, credentials):
    """What a probe over a channel of its own hears; None when it is not let in."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address)
    with channel:
        try:
            return health_pb2_grpc.HealthStub(channel).Check(asked(""), timeout=3).status
        except grpc.RpcError as error:
            return None if error.code() is grpc.StatusCode.UNAVAILABLE else error.code()


def test_the_port_speaks_tls_and_nothing_else(tmp_path, papers):
    import tritonclient.grpc as triton

    with reached(tmp_path, **papers.flags) as house:
        house.keep("doubler")
        assert answered(house.address, trusting(papers.ours)) == UP
        assert answered(house.address, trusting(papers.other)) is None
        assert answered(house.address, None) is None
        authority = str(papers.folder / "ours.pem")
        with triton.InferenceServerClient(house.address, ssl=True, root_certificates=authority) as client:
            assert client.is_model_ready("doubler")
        with socket.create_connection(("127.0.0.1", int(house.address.rpartition(":")[2]))) as plain:
            context = ssl.create_default_context(cadata=papers.ours.cert_pem.bytes().decode())
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["h2"])
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                assert secure.version() == "TLSv1.2"
                assert secure.selected_alpn_protocol() == "h2"


def test_with_an_authority_of_clients_only_those_it_signed_come_in(tmp_path, papers):
    flags = papers.flags | {"server__grpc_clients": str(papers.folder / "ours.pem")}
    with reached(tmp_path, **flags) as house:
        assert answered(house.address, trusting(papers.ours, papers.client)) == UP
        assert answered(house.address, trusting(papers.ours)) is None
        stranger = papers.other.issue_cert("eve@example.com")
        assert answered(house.address, trusting(papers.ours, stranger)) is None


def test_a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(tmp_path, papers, caplog):
    folder = tmp_path / "data"
    folder.mkdir()
    files = [folder / "server.pem", folder / "server.key"]

    def write(authority):
        fresh = authority.issue_cert("127.0.0.1")
        fresh.cert_chain_pems[0].write_to_path(files[0])
        fresh.private_key_pem.write_to_path(files[1])

    write(papers.ours)
    with reached(folder, server__grpc_certificate="server.pem", server__grpc_key="server.key") as house:
        assert answered(house.address, trusting(papers.ours)) == UP
        write(papers.other)
        assert answered(house.address, trusting(papers.other)) == UP
        assert answered(house.address, trusting(papers.ours)) is None
        files[0].write_text("no certificate\n")
        assert answered(house.address, trusting(papers.other)) == UP
        files[1].unlink()
        assert answered(house.address, trusting(papers.other)) == UP
        write(papers.ours)
        assert answered(house.address, trusting(papers.ours)) == UP
        caplog.clear()
        files[1].unlink()
        assert answered(house.address, trusting(papers.ours)) == UP
        assert "stays as it is" in caplog.text, "it is told again when the files were whole meanwhile"


def test_wrong_papers_are_told_before_anything_listens(tmp_path, papers):
    strange = papers.other.issue_cert("127.0.0.1")
    strange.private_key_pem.write_to_path(tmp_path / "strange.key")
    (tmp_path / "words.pem").write_text("words\n")
    cases = [
        ({"server__grpc_key": str(tmp_path / "strange.key")}, "do not go together"),
        ({"server__grpc_key": "gone.key"}, "gone.key"),
        ({"server__grpc_certificate": str(tmp_path / "words.pem")}, "do not go together"),
        ({"server__grpc_clients": str(tmp_path / "words.pem")}, "holds no certificate"),
    ]
    for number, (wrong, said) in enumerate(cases):
        with pytest.raises(BadSettings, match=said), reached(tmp_path / str(number), **papers.flags | wrong):
            pass
    halves = [("grpc_certificate", "grpc_key"), ("grpc_key", "grpc_certificate"), ("grpc_clients", "grpc_certificate")]
    for given, lacks in halves:
        with pytest.raises(BadSettings, match=f"server.{given} is set .*no server.{lacks}"):
            settings.load(folder=tmp_path, environ={}, flags={f"server.{given}": "a.pem"}).check()


def test_off_loopback_a_token_is_needed_with_tls_too(tmp_path, papers):
    flags = {name.replace("__", "."): value for name, value in papers.flags.items()}
    exposed = {"server.host": "0.0.0.0", "server.grpc": 0}
    for more in ({}, flags):
        with pytest.raises(BadSettings, match="lets other machines in, and there is no token"):
            settings.load(folder=tmp_path, environ={}, flags=exposed | more).check()
    assert not any(tmp_path.iterdir())
