"""Webhooks against real servers on the loopback: what is sent, what an answer means, and where nothing is sent to."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec
import pytest

from intendant.adapters.publishers import Breaker, webhook
from intendant.adapters.publishers.addresses import AddressRefused
from intendant.adapters.publishers.breaker import State
from intendant.adapters.publishers.webhook_publisher import ANSWER_BYTES, DeliveryFailed, Webhook, seconds_of
from intendant.domain.errors import InvalidValue, TargetUnavailable, Undeliverable
from intendant.domain.state import Event
from intendant.supervisor import Backoff
from tests.adapters.publishers.receiver import NEXT_SECRET, SECRET, Receiver, Request, says, verified

pytestmark = pytest.mark.anyio

EVENT = Event("01ab-0", "acme", "desk-1", "01ab", "order.paid", {"total": 5, "note": "ö"}, 7, 1_700_000_000_123_456)
NEVER = Breaker(failures=1_000)


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with Receiver().listen() as listening:
        yield listening


def to(receiver: Receiver, **options: Any) -> Webhook:
    return to_url(options.pop("url", receiver.url), **options)


def to_url(url: str, **options: Any) -> Webhook:
    times: dict[str, Any] = {"timeout": 15.0, "connect_timeout": 5.0, "retry_after": 600.0}
    here: dict[str, Any] = {"secret": SECRET, "allow_private": ["127.0.0.0/8"], "breaker": NEVER, "tls": None}
    return Webhook(url, **{**times, **here, **options})


def state_of(hook: Webhook) -> State:
    return hook.circuit.state


async def outcome(hook: Webhook) -> Exception | None:
    try:
        with anyio.fail_after(5):
            await hook.publish(EVENT)
    except Exception as error:
        return error
    return None


async def test_what_is_sent_is_signed_and_the_same_each_time(receiver: Receiver) -> None:
    hook = to(receiver, secret=[NEXT_SECRET, SECRET])
    await hook.publish(EVENT)
    await hook.publish(EVENT)
    await hook.aclose()
    first, second = receiver.requests
    assert receiver.connections == 1
    assert first.line == "POST /hook?token=hidden HTTP/1.1"
    assert (first.id, first.body) == (second.id, second.body) == (EVENT.id, first.body)
    assert first.headers["host"] == f"127.0.0.1:{receiver.port}"
    for secret in (SECRET, NEXT_SECRET):
        assert verified(first, secret, int(time.time()))
    assert first.event == {
        "type": "order.paid",
        "timestamp": "2023-11-14T22:13:20.123456Z",
        "data": {"total": 5, "note": "ö"},
        "id": "01ab-0",
        "tenant": "acme",
        "session": "desk-1",
        "execution": "01ab",
        "position": 7,
    }


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_success(receiver: Receiver, status: int) -> None:
    receiver.answer = says(status)
    hook = to(receiver)
    assert await outcome(hook) is None
    await hook.aclose()


@pytest.mark.parametrize(
    ("answer", "error", "says_"),
    [
        (says(400), DeliveryFailed, "answered 400"),
        (says(404), DeliveryFailed, "answered 404"),
        (says(408), DeliveryFailed, "answered 408"),
        (says(500), DeliveryFailed, "answered 500"),
        (says(502), DeliveryFailed, "answered 502"),
        (says(410), Undeliverable, "answered 410"),
        (says(429), TargetUnavailable, "answered 429"),
        (says(503), TargetUnavailable, "answered 503"),
    ],
)
async def test_what_answers_mean(receiver: Receiver, answer: Any, error: type[Exception], says_: str) -> None:
    receiver.answer = answer
    hook = to(receiver)
    raised = await outcome(hook)
    await hook.aclose()
    assert type(raised) is error
    assert says_ in str(raised)
    assert "hidden" not in str(raised)


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with Receiver().listen() as other:
        receiver.answer = says(307, f"Location: {other.url}")
        hook = to(receiver)
        raised = await outcome(hook)
        await hook.aclose()
        assert isinstance(raised, DeliveryFailed)
        assert "redirects are not followed" in str(raised)
        assert (len(receiver.requests), other.connections) == (1, 0)


async def test_a_retry_after_opens_the_circuit_and_is_bounded(receiver: Receiver) -> None:
    receiver.answer = says(503, "Retry-After: 86400")
    hook = to(receiver, retry_after=50.0)
    for _ in range(2):
        raised = await outcome(hook)
        assert isinstance(raised, TargetUnavailable)
        assert raised.after == pytest.approx(50.0, abs=1.0)
    await hook.aclose()
    assert len(receiver.requests) == 1


async def test_the_breaker_opens_tries_one_and_closes(receiver: Receiver) -> None:
    pause = Backoff(initial=0.05, maximum=0.05, jitter=0.0)
    receiver.answer = says(500)
    hook = to(receiver, breaker=Breaker(failures=3, pause=pause))
    for _ in range(3):
        assert isinstance(await outcome(hook), DeliveryFailed)
    assert state_of(hook) is State.OPEN
    raised = await outcome(hook)
    assert isinstance(raised, TargetUnavailable)
    assert raised.after is not None
    assert 0 < raised.after <= 0.05
    assert len(receiver.requests) == 3
    receiver.answer = says(204)
    await anyio.sleep(raised.after)
    outcomes: list[Exception | None] = []

    async def come() -> None:
        outcomes.append(await outcome(hook))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(come)
    assert [type(each) for each in outcomes].count(type(None)) == 1, "one trial, whoever else comes is sent away"
    assert len(receiver.requests) == 4
    assert await outcome(hook) is None
    assert state_of(hook) is State.CLOSED
    await hook.aclose()


# --- time and size


async def test_a_silent_target_is_given_up(receiver: Receiver) -> None:
    async def nothing(_: Request, __: anyio.abc.ByteStream) -> None:
        await anyio.sleep_forever()

    receiver.answer = nothing
    hook = to(receiver, timeout=0.05)
    raised = await outcome(hook)
    await hook.aclose()
    assert isinstance(raised, DeliveryFailed), "it was sent: the event may be the cause"
    assert "no answer within 0.05 s" in str(raised)


async def test_an_answer_that_trickles_is_given_up(receiver: Receiver) -> None:
    async def trickle(_: Request, stream: anyio.abc.ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.01)

    receiver.answer = trickle
    hook = to(receiver, timeout=0.1)
    assert isinstance(await outcome(hook), DeliveryFailed)
    await hook.aclose()


async def test_of_a_huge_answer_little_is_read(receiver: Receiver) -> None:
    sent = 0

    async def flood(_: Request, stream: anyio.abc.ByteStream) -> None:
        nonlocal sent
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            await stream.send(b"x" * 65_536)
            sent += 65_536

    receiver.answer = flood
    hook = to(receiver)
    assert await outcome(hook) is None, "it was delivered, whatever else is said"
    assert sent < 400 * ANSWER_BYTES, "what the sockets hold, and no more"
    receiver.answer = says(204)
    assert await outcome(hook) is None
    assert receiver.connections == 2, "the first one was closed"
    await hook.aclose()


@pytest.mark.parametrize("ends", [b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH\r\n"])
async def test_what_is_no_answer_is_a_failure(receiver: Receiver, ends: bytes) -> None:
    async def hang_up(_: Request, stream: anyio.abc.ByteStream) -> None:
        if ends:
            await stream.send(ends)
        await stream.aclose()

    receiver.answer = hang_up
    hook = to(receiver)
    assert isinstance(await outcome(hook), DeliveryFailed)
    await hook.aclose()


async def test_nobody_listens(free_tcp_port: int) -> None:
    hook = to_url(f"http://127.0.0.1:{free_tcp_port}/")
    raised = await outcome(hook)
    await hook.aclose()
    assert isinstance(raised, TargetUnavailable)
    assert "no connection" in str(raised)


# --- where to


class Names:
    """A name server that gives another answer each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00::1"])
async def test_a_name_of_a_private_address_is_refused(receiver: Receiver, address: str) -> None:
    names = Names(["93.184.215.14", address])
    hook = to(receiver, url=f"http://hooks.example:{receiver.port}/", allow_private=False, resolve=names)
    raised = await outcome(hook)
    await hook.aclose()
    assert isinstance(raised, AddressRefused)
    assert "hooks.example stands for" in str(raised)
    assert receiver.connections == 0


async def test_the_real_name_of_this_machine_is_refused(receiver: Receiver) -> None:
    for host in ("localhost", "127.1", "2130706433", "0x7f.0.0.1"):  # all of them are 127.0.0.1 to a resolver
        hook = to(receiver, url=f"http://{host}:{receiver.port}/", allow_private=False)
        assert isinstance(await outcome(hook), AddressRefused | TargetUnavailable), host
        await hook.aclose()
    assert receiver.connections == 0


async def test_a_name_that_turns_private_after_the_check_is_of_no_use(receiver: Receiver) -> None:
    """DNS rebinding: the name is looked up once for a connection, and what was checked is connected to."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    hook = to(receiver, url=f"http://hooks.example:{receiver.port}/", allow_private=["127.0.0.1/32"], resolve=names)
    assert await outcome(hook) is None
    assert (names.asked, receiver.connections) == (["hooks.example"], 1)
    assert receiver.requests[0].headers["host"] == f"hooks.example:{receiver.port}"
    await hook.aclose()
    assert isinstance(await outcome(hook), AddressRefused)
    await hook.aclose()
    assert receiver.connections == 1


async def test_one_address_that_is_silent_does_not_use_up_the_time(receiver: Receiver) -> None:
    names = Names(["127.0.0.9", "127.0.0.1"])  # nobody listens at the first
    hook = to(receiver, url=f"http://hooks.example:{receiver.port}/", resolve=names)
    assert await outcome(hook) is None
    await hook.aclose()


async def test_names_that_can_not_be_looked_up_are_an_outage(receiver: Receiver) -> None:
    async def fails(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async def hangs(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    for resolve in (fails, hangs, Names([])):
        hook = to(receiver, url="http://hooks.example/", resolve=resolve, connect_timeout=0.02)
        assert isinstance(await outcome(hook), TargetUnavailable)
        await hook.aclose()


async def test_tls_asks_for_the_name_and_checks_it(certificate: Path) -> None:
    """The address is connected to, and the certificate is the name's."""
    asked: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    client = ssl.create_default_context(cafile=str(certificate / "server.crt"))
    async with Receiver().listen(server) as receiver:
        for host, error in (("hooks.example", None), ("other.example", TargetUnavailable)):
            url = f"https://{host}:{receiver.port}/"
            hook = to(receiver, url=url, resolve=Names(["127.0.0.1"]), tls=client)
            raised = await outcome(hook)
            await hook.aclose()
            assert raised is None if error is None else isinstance(raised, error)
        hook = to(receiver, url=f"https://hooks.example:{receiver.port}/", resolve=Names(["127.0.0.1"]))
        assert isinstance(await outcome(hook), TargetUnavailable), "an unknown authority"
        await hook.aclose()
    assert asked == ["hooks.example", "other.example", "hooks.example"]
    assert len(receiver.requests) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import subprocess

    place = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=hooks.example",
         "-addext", "subjectAltName=DNS:hooks.example"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    return place


# --- settings


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "ftp://hooks.example/secretpath"}, "begins with https:// or http://"),
        ({"url": "hooks.example/secretpath"}, "begins with"),
        ({"url": "https:///secretpath"}, "names no host"),
        ({"url": "https://user:secretpath@hooks.example/"}, "holds a user or password"),
        ({"url": "https://hooks.example:99999/secretpath"}, "can't be read"),
        ({"url": "https://hooks.example/secretpath#part"}, "fragment"),
        ({"url": "https://hooks.example/secret path"}, "blanks"),
        ({"url": "https://hooks.example/secretpath\r\nX: y"}, "blanks|can't be read"),
        ({"url": "https://höoks.example/secretpath"}, "xn--"),
        ({"url": "http://127.0.0.1/secretpath"}, "loopback.*allow_private"),
        ({"url": "http://[::ffff:169.254.169.254]/secretpath"}, "link-local"),
        ({"secret": "secretpath"}, "whsec_"),
        ({"timeout": 0.0}, "timeout=0.0"),
        ({"connect_timeout": -1.0}, "connect_timeout=-1.0"),
        ({"retry_after": float("nan")}, "retry_after=nan"),
        ({"allow_private": ["10.0.0.1/8"]}, "allow_private names networks"),
    ],
)
def test_settings_that_can_not_be(options: dict[str, Any], problem: str) -> None:
    given: dict[str, Any] = {"url": "https://hooks.example/", "secret": SECRET, **options}
    with pytest.raises(InvalidValue, match=problem) as raised:
        webhook(**given)
    assert "secretpath" not in str(raised.value)


def test_it_shows_neither_path_nor_query() -> None:
    hook = webhook("https://hooks.example:8443/services/T0/hidden?token=hidden", secret=SECRET)
    assert repr(hook) == "<webhook https://hooks.example:8443>"
    assert SECRET not in repr(vars(hook)["_circuit"])


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (b"120", 120.0),
        (b" 0 ", 0.0),
        (b"86400", 600.0),
        (b"Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        (b"Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        (b"Tue, 14 Nov 2033 22:00:00 GMT", 600.0),
        (b"", None),
        (b"soon", None),
        (b"-5", None),
        (b"\xb2", None),
    ],
)
def test_what_a_retry_after_asks_for(asked: bytes, seconds: float | None) -> None:
    assert seconds_of(asked, 1_700_000_000_000_000, 600.0) == seconds


async def test_a_payload_that_is_no_json_is_no_failure_of_the_target(receiver: Receiver) -> None:
    hook = to(receiver, breaker=Breaker(failures=1))
    odd = msgspec.structs.replace(EVENT, payload={1: b"bytes", "nan": float("nan")})
    await hook.publish(odd)
    assert receiver.requests[0].event["data"] == {"1": "Ynl0ZXM=", "nan": None}
    with pytest.raises(TypeError):
        await hook.publish(msgspec.structs.replace(EVENT, payload=object()))
    assert hook.circuit.state is State.CLOSED
    await hook.aclose()


# --- planted


async def connects_to_the_name(self: Any, host: str, port: int, *rest: Any) -> Any:
    """What was checked is looked up again."""
    import httpcore

    await self._addresses(host, port, anyio.current_time() + 5)
    again = await self._resolve(host, port)
    network: Any = httpcore.AnyIOBackend()
    return await network.connect_tcp(again[0], port, *rest)


def looks_at_the_first(self: Any, host: str, addresses: Sequence[str]) -> list[str]:
    return [each for each in addresses[:1] if not self.problem(each)] + list(addresses[1:])


async def refuses_loopback(receiver: Receiver) -> None:
    await test_a_name_of_a_private_address_is_refused(receiver, "127.0.0.1")


@pytest.mark.parametrize(
    ("place", "bug", "find"),
    [
        (
            "intendant.adapters.publishers.webhook_publisher._CheckedNetwork.connect_tcp",
            connects_to_the_name,
            test_a_name_that_turns_private_after_the_check_is_of_no_use,
        ),
        (
            "intendant.adapters.publishers.addresses.AddressPolicy.check",
            looks_at_the_first,
            refuses_loopback,
        ),
    ],
    ids=["rebinding", "first-address"],
)
async def test_planted(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, place: str, bug: Any, find: Callable[[Receiver], Any]
) -> None:
    monkeypatch.setattr(place, bug)
    with pytest.raises(AssertionError):
        await find(receiver)
