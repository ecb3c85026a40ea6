"""The TLS layer between a session and its transport: order, closing from both sides, broken octets, and resumed sessions."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from gateway.edge import tls as server_tls
from gateway.edge.tls import ServerTls
from gateway.net.tls_layer import MAX_ANSWERS
from tests.unit.edge.certificate_files import NOW, settings, write_pair
from tests.unit.edge.tls_case import TlsTalk, client_context
from tests.unit.edge.tls_records import APPLICATION_DATA, Records, context_with_secrets

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class World:
    """A gateway's TLS whose clock stands at `now`."""

    def __init__(self, folder: Path) -> None:
        write_pair(folder, "a", "smtp.example.com")
        self.now = NOW
        self.settings = settings(folder)
        self.tls = ServerTls(self.settings, lambda: self.now)

    def talk(self, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None) -> TlsTalk:
        talk = TlsTalk(self.tls, context or client_context(), session)
        talk.run()
        assert talk.shaken
        return talk


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def context(request: pytest.FixtureRequest) -> ssl.SSLContext:
    context = client_context()
    context.maximum_version = request.param
    return context


class TestTalk:
    def test_what_is_written_before_the_handshake_comes_first_behind_it(self, world: World, context: ssl.SSLContext) -> None:
        talk = TlsTalk(world.tls, context)
        talk.inner.layer.write(b"220 ")
        talk.inner.layer.write(b"ready\r\n")
        talk.run()
        talk.inner.layer.write(b"more\r\n")
        talk.run()
        assert talk.heard == b"220 ready\r\nmore\r\n"
        assert talk.inner.told == ["handshake"]
        assert talk.inner.layer.version == talk.client.version()

    @given(said=st.lists(st.binary(min_size=1, max_size=40_000), max_size=4), piece=st.integers(1, 30_000))
    def test_octets_arrive_whole_and_in_order_however_they_are_cut(self, world: World, said: list[bytes], piece: int) -> None:
        talk = world.talk()
        for octets in said:
            talk.say(octets)
            talk.inner.layer.write(octets)
        talk.run(max(piece, sum(map(len, said)) // 500))
        assert talk.inner.heard == talk.heard == b"".join(said)

    def test_a_handshake_may_come_octet_by_octet(self, world: World, context: ssl.SSLContext) -> None:
        talk = TlsTalk(world.tls, context)
        talk.run(1)
        assert talk.inner.told == ["handshake"]

    def test_records_that_came_together_are_handed_on_together(self, world: World) -> None:
        talk = world.talk()
        talk.inner.answers = {b"one\r\ntwo\r\n": b"both"}
        talk.say(b"one\r\n")
        talk.say(b"two\r\n")
        talk.run()
        assert talk.heard == b"both"

    def test_a_ticket_goes_with_our_first_words(self, world: World) -> None:
        talk = world.talk()
        assert talk.wire.value() == b""
        talk.inner.answers = {b"EHLO": b"250 OK\r\n"}
        writes: list[bytes] = []
        talk.wire.write = writes.append
        talk.say(b"EHLO\r\n")
        talk.wire.protocol.dataReceived(talk.out.read())
        assert len(writes) == 1
        assert len(writes[0]) > 150, "no ticket with it"

    def test_an_answer_is_one_write(self, world: World) -> None:
        talk = world.talk()
        talk.wire.clear()
        writes: list[bytes] = []
        talk.wire.write = writes.append
        talk.inner.layer.write(b"x" * 50_000)
        assert len(writes) == 1


class TestClosing:
    def test_our_last_words_and_our_end_reach_the_client_and_then_its_end_ours(
        self, world: World, context: ssl.SSLContext
    ) -> None:
        talk = world.talk(context)
        talk.inner.layer.write(b"221 Bye\r\n")
        talk.inner.layer.loseConnection()
        assert not talk.wire.disconnecting  # the client may still be speaking
        talk.run()
        assert (talk.heard, talk.closed) == (b"221 Bye\r\n", True)
        talk.client.unwrap()
        talk.run()
        assert talk.wire.disconnecting

    def test_what_is_said_after_our_end_is_dropped(self, world: World) -> None:
        talk = world.talk()
        talk.inner.layer.loseConnection()
        talk.say(b"x" * 100_000)
        talk.inner.layer.write(b"too late")
        talk.run()
        assert talk.inner.heard == talk.heard == b""
        assert not talk.wire.disconnecting

    def test_the_clients_end_is_answered_and_what_it_said_before_is_heard(self, world: World, context: ssl.SSLContext) -> None:
        talk = world.talk(context)
        talk.say(b"QUIT\r\n")
        with pytest.raises(ssl.SSLWantReadError):
            talk.client.unwrap()
        talk.run()
        assert talk.inner.heard == b"QUIT\r\n"
        assert talk.wire.disconnecting
        assert talk.closed

    def test_one_that_is_closed_in_its_handshake_says_its_last_words_behind_it(self, world: World) -> None:
        talk = TlsTalk(world.tls, client_context())
        talk.inner.layer.write(b"421 later\r\n")
        talk.inner.layer.loseConnection()
        assert not talk.wire.disconnecting
        talk.run()
        assert (talk.heard, talk.closed) == (b"421 later\r\n", True)

    def test_a_producer_does_not_keep_it_open(self, world: World) -> None:
        talk = world.talk()
        talk.inner.layer.registerProducer(object(), True)
        with pytest.raises(ssl.SSLWantReadError):
            talk.client.unwrap()
        talk.run()
        assert talk.wire.producer is None

    def test_an_aborted_one_hears_nothing_more(self, world: World) -> None:
        talk = world.talk()
        talk.say(b"x")
        talk.inner.layer.abortConnection()
        talk.run()
        assert talk.inner.heard == b""
        assert talk.wire.disconnected

    def test_a_lost_one_is_told_once_and_takes_no_more(self, world: World) -> None:
        talk = world.talk()
        talk.wire.protocol.connectionLost(Failure(ConnectionLost()))
        talk.inner.layer.write(b"x")
        talk.inner.layer.loseConnection()
        assert talk.inner.told == ["handshake", "lost"]


class TestBrokenOctets:
    def test_no_handshake_at_all_ends_it(self, world: World) -> None:
        talk = TlsTalk(world.tls, client_context())
        talk.wire.protocol.dataReceived(b"EHLO client.example\r\n")
        assert talk.wire.disconnecting
        talk.wire.protocol.dataReceived(b"EHLO client.example\r\n")
        assert talk.inner.told == []
        assert talk.inner.heard == b""

    def test_a_record_that_was_changed_on_its_way_ends_it_and_is_not_heard(self, world: World, context: ssl.SSLContext) -> None:
        talk = world.talk(context)
        talk.say(b"MAIL FROM:<demo@example.com>\r\n")
        record = bytearray(talk.out.read())
        record[-1] ^= 1
        talk.wire.protocol.dataReceived(bytes(record))
        assert talk.inner.heard == b""
        assert talk.wire.disconnecting
        talk.inner.layer.write(b"x")
        talk.wire.protocol.dataReceived(bytes(record))
        assert talk.inner.heard == b""

    @given(st.binary(min_size=1, max_size=2000))
    def test_no_octets_do_harm(self, world: World, octets: bytes) -> None:
        for talk in (TlsTalk(world.tls, client_context()), world.talk()):
            talk.wire.protocol.dataReceived(octets)
            assert talk.inner.heard == b""


class TestAnswersOfItsOwn:
    """A peer that has TLS answer for ever and does not read must not fill the memory with answers."""

    @pytest.fixture
    def records(self, world: World, tmp_path: Path) -> tuple[TlsTalk, Records]:
        talk = world.talk(context_with_secrets(tmp_path / "secrets"))
        return talk, Records(tmp_path / "secrets")

    def test_keys_may_change_now_and_then(self, records: tuple[TlsTalk, Records]) -> None:
        talk, client = records
        for _ in range(100):
            talk.wire.protocol.dataReceived(client.new_keys())
            talk.wire.protocol.dataReceived(client.record(APPLICATION_DATA, b"NOOP\r\n"))
        talk.inner.layer.write(b"250 OK\r\n")
        talk.run()
        assert talk.inner.heard == b"NOOP\r\n" * 100
        assert talk.heard == b"250 OK\r\n"

    def test_new_keys_are_answered_though_nothing_is_said(self, records: tuple[TlsTalk, Records]) -> None:
        talk, client = records
        talk.wire.clear()
        talk.wire.protocol.dataReceived(client.new_keys())
        assert talk.wire.value()

    def test_keys_that_change_for_ever_end_it(self, records: tuple[TlsTalk, Records]) -> None:
        talk, client = records
        for _ in range(2000):
            talk.wire.protocol.dataReceived(client.new_keys())
        assert talk.wire.disconnected
        assert len(talk.wire.value()) <= MAX_ANSWERS


def session_of(world: World, context: ssl.SSLContext) -> ssl.SSLSession:
    """What a client may resume after a first talk: in TLS 1.3, the ticket comes with our first words."""
    talk = world.talk(context)
    talk.inner.layer.write(b"250 OK\r\n")
    talk.run()
    session = talk.client.session
    assert session is not None
    return session


class TestResuming:
    def test_a_client_that_comes_again_resumes(self, world: World, context: ssl.SSLContext) -> None:
        again = world.talk(context, session_of(world, context))
        assert again.client.session_reused
        again.say(b"EHLO")
        again.run()
        assert again.inner.heard == b"EHLO"

    def test_not_with_keys_that_are_a_day_old(self, world: World, context: ssl.SSLContext) -> None:
        session = session_of(world, context)
        world.now += server_tls.TICKET_KEYS_FOR - 3600
        world.tls.load_if_changed(world.settings)
        assert world.talk(context, session).client.session_reused
        world.now += 3600
        with capture_logs() as logs:
            world.tls.load_if_changed(world.settings)
        assert logs == []
        assert not world.talk(context, session).client.session_reused

    def test_not_in_another_process(self, world: World, context: ssl.SSLContext) -> None:
        session = session_of(world, context)
        world.tls = ServerTls(world.settings, lambda: world.now)
        assert not world.talk(context, session).client.session_reused


def test_a_client_may_not_renegotiate(world: World) -> None:
    assert world.tls._default.options & ssl.OP_NO_RENEGOTIATION
