"""Connections from proxies: what must come first, how long it may take, whose address counts, and what takes a place."""

import pytest
from structlog.testing import capture_logs

from gateway.config import Listen
from gateway.edge import listener
from gateway.edge.limits import Door
from gateway.edge.listener import SubmissionFactory
from tests.harness import Gateway, Security
from tests.proxy_header import LOCAL, version1, version2
from tests.unit.edge.line import AUTH, ENVELOPE, HELLO, MESSAGE, WRONG_AUTH, Line

PROXY = "10.0.0.5"
CLIENT = "203.0.113.9"
HEADERS = [version1(CLIENT), version2(CLIENT, b"\x04\x00\x03abc")]


class Proxied:
    """A listener behind proxies in 10.0.0.0/8 and fd00::/8."""

    def __init__(self, security: Security = "starttls") -> None:
        self.gateway = Gateway()
        listen = Listen(security=security, proxy_protocol_from=("10.0.0.0/8", "fd00::/8"))  # type: ignore[arg-type]
        self.listener = SubmissionFactory(self.gateway.edge, listen)

    def connect(self, *octets: bytes, host: str = PROXY) -> Line:
        line = Line(self.gateway, host=host, listener=self.listener)
        line.say(*octets)
        return line

    def connections(self, result: str) -> float:
        labels = {"listener": "127.0.0.1:2587", "result": result}
        return self.gateway.registry.get_sample_value("smtp_gateway_connections_total", labels) or 0.0

    def has_room(self) -> bool:
        """Whether every place is free."""
        door, places = self.gateway.edge.door, 0
        while door.reserve():
            places += 1
        for _ in range(places):
            door.release()
        return places == door.total


class TestHeader:
    @pytest.mark.parametrize("header", HEADERS)
    def test_nothing_is_said_before_it(self, header: bytes) -> None:
        proxied = Proxied()
        line = proxied.connect(header[:-1])
        assert line.text() == ""
        assert proxied.connections("accepted") == 0
        line.say(header[-1:])
        assert line.heard() == [220]
        assert proxied.connections("accepted") == 1

    @pytest.mark.parametrize("header", HEADERS)
    def test_an_octet_at_a_time(self, header: bytes) -> None:
        line = Proxied().connect(*[bytes([octet]) for octet in header + HELLO])
        assert line.heard() == [220, 250]

    @pytest.mark.parametrize("header", HEADERS)
    def test_what_comes_right_behind_it_is_the_clients(self, header: bytes) -> None:
        assert Proxied().connect(header + HELLO + b"BOGUS\r\n").heard() == [220, 250, 500]

    def test_a_second_one_is_a_bad_command(self) -> None:
        assert Proxied().connect(version1(CLIENT) + version1("192.0.2.1")).heard() == [220, 500]

    @pytest.mark.parametrize("octets", [HELLO, b"\x16\x03\x01\x02\x00", b"PROXY TCP4 x\r\n", b"\r\n\r\nQUIT"])
    def test_without_it_the_connection_ends_without_a_word(self, octets: bytes) -> None:
        proxied = Proxied()
        line = proxied.connect(octets)
        assert line.closing
        line.say(version1(CLIENT) + HELLO)
        assert line.text() == ""
        line.hang_up()
        assert proxied.connections("proxy_refused") == 1
        assert proxied.connections("proxy_gone") == proxied.connections("accepted") == 0
        assert proxied.has_room()

    def test_a_line_without_end_is_not_kept(self) -> None:
        line = Proxied().connect(b"PROXY UNKNOWN ", b"x" * 93)
        assert line.closing

    def test_it_has_five_seconds_and_no_octet_gives_more(self) -> None:
        proxied = Proxied()
        line = proxied.connect(b"PROXY ")
        for _ in range(4):
            line.advance(1)
            line.say(b"T")
        line.advance(0.9)
        assert not line.closing
        line.advance(0.1)
        assert line.closing
        assert line.text() == ""
        line.hang_up()
        assert proxied.connections("proxy_refused") == 1
        assert proxied.has_room()
        assert proxied.gateway.clock.getDelayedCalls() == []

    def test_a_slow_one_is_served(self) -> None:
        header = version1(CLIENT)
        line = Proxied().connect(header[:10])
        line.advance(listener.HEADER_WAIT - 0.1)
        line.say(header[10:])
        assert line.heard() == [220]
        line.advance(290)
        line.say(b"NOOP\r\n")
        assert line.heard() == [250]

    def test_one_that_just_looks_in_is_counted_apart_and_not_logged(self) -> None:
        proxied = Proxied()
        with capture_logs() as logs:
            proxied.connect().hang_up()
        assert logs == []
        assert proxied.connections("proxy_gone") == 1
        assert proxied.connections("proxy_refused") == 0
        assert proxied.has_room()
        assert proxied.gateway.clock.getDelayedCalls() == []

    def test_refusals_are_logged_once_a_minute_with_their_number(self) -> None:
        proxied = Proxied()
        with capture_logs() as logs:
            for _ in range(5):
                proxied.connect(HELLO)
            proxied.gateway.clock.advance(listener.SAY_EVERY)
            proxied.connect(HELLO)
        facts = [(line["event"], line["listener"], line["proxy"], line["connections"]) for line in logs]
        assert facts == [("proxy refused", "127.0.0.1:2587", PROXY, 1), ("proxy refused", "127.0.0.1:2587", PROXY, 5)]
        assert proxied.connections("proxy_refused") == 6


class TestTrust:
    @pytest.mark.parametrize("host", ["192.0.2.7", "9.255.255.255", "11.0.0.0", "2001:db8::1", "::ffff:192.0.2.7"])
    def test_others_are_greeted_at_once_and_their_header_is_a_bad_command(self, host: str) -> None:
        proxied = Proxied()
        line = proxied.connect(host=host)
        assert line.heard() == [220]
        line.say(version1(CLIENT))
        assert line.heard() == [500]
        assert line.protocol._peer.address == host

    @pytest.mark.parametrize("host", ["10.255.255.255", "::ffff:10.0.0.5", "fd00::1", "fd00::1%eth0"])
    def test_those_in_the_networks_have_to_say_who_they_speak_for(self, host: str) -> None:
        line = Proxied().connect(host=host)
        assert line.text() == ""
        line.say(version1(CLIENT))
        assert line.heard() == [220]
        assert line.protocol._peer.address == CLIENT

    def test_a_listener_without_proxies_greets_everybody_at_once(self) -> None:
        line = Line(Gateway(), host=PROXY)
        line.say(version1(CLIENT))
        assert line.heard() == [220, 500]


class TestWhoCounts:
    @pytest.mark.parametrize(
        ("header", "address", "network", "trust_network"),
        [
            (version1(CLIENT), CLIENT, "203.0.113.9/32", "203.0.113.0/24"),
            (version2("2001:db8:1:2::9"), "2001:db8:1:2::9", "2001:db8:1:2::/64", "2001:db8:1::/48"),
            (version2("::ffff:203.0.113.9"), CLIENT, "203.0.113.9/32", "203.0.113.0/24"),
            (LOCAL, PROXY, "10.0.0.5/32", "10.0.0.0/24"),
            (b"PROXY UNKNOWN\r\n", PROXY, "10.0.0.5/32", "10.0.0.0/24"),
        ],
    )
    def test_the_client_or_the_proxy_for_itself(self, header: bytes, address: str, network: str, trust_network: str) -> None:
        line = Proxied().connect(header)
        peer = line.protocol._peer
        assert (peer.address, peer.network, peer.trust_network) == (address, network, trust_network)

    def test_the_client_stands_in_received_and_in_the_log(self) -> None:
        proxied = Proxied("tls")
        proxied.gateway.rules.hide_client = False
        with capture_logs() as logs:
            line = proxied.connect(version1(CLIENT))
            line.protocol.handshakeCompleted()
            line.say(HELLO, AUTH, ENVELOPE, MESSAGE)
        assert line.heard() == [220, 250, 235, 250, 250, 354, 250]
        assert b"[203.0.113.9]" in proxied.gateway.queued[0].header
        assert PROXY.encode() not in proxied.gateway.queued[0].header
        assert {entry["network"] for entry in logs if "network" in entry} == {"203.0.113.9/32"}

    def test_sheets_of_failed_sign_ins_are_the_clients(self) -> None:
        proxied = Proxied("tls")
        proxied.gateway.limit(auth_failures_per_session=1)
        with capture_logs() as logs:
            for number in (1, 2):
                line = proxied.connect(version2(f"203.0.113.{number}"))
                line.protocol.handshakeCompleted()
                line.say(HELLO, WRONG_AUTH)
        networks = [entry["network"] for entry in logs if entry["event"] == "sign-in"]
        assert networks == ["203.0.113.1/32", "203.0.113.2/32"]


class TestTls:
    @pytest.mark.parametrize("header", HEADERS)
    def test_the_handshake_comes_after_the_header(self, header: bytes) -> None:
        line = Proxied("tls").connect(header[:-1])
        assert not line.wire.secured
        line.say(header[-1:])
        assert line.wire.secured
        line.protocol.handshakeCompleted()
        line.say(HELLO)
        assert line.heard() == [220, 250]


class TestPlaces:
    def test_those_who_wait_have_places_in_the_total_and_in_no_network(self) -> None:
        proxied = Proxied()
        proxied.gateway.edge.door = Door(3, 1)
        waiting = [proxied.connect() for _ in range(3)]
        with capture_logs() as logs:
            assert proxied.connect().heard() == [421]
        assert [(line["network"], line["why"]) for line in logs] == [("10.0.0.5/32", "too_many")]
        assert proxied.connect(host="192.0.2.7").heard() == [421]
        assert proxied.connections("too_many") == 2
        proxied.gateway.clock.advance(listener.HEADER_WAIT)
        assert all(line.closing for line in waiting)
        for line in waiting:
            line.hang_up()
        assert proxied.connect(host="192.0.2.7").heard() == [220]

    def test_a_header_takes_no_second_place(self) -> None:
        proxied = Proxied()
        proxied.gateway.edge.door = Door(1, 1)
        line = proxied.connect(version1(CLIENT))
        assert line.heard() == [220]
        assert proxied.connect().heard() == [421]
        line.hang_up()
        assert not proxied.gateway.edge.sessions
        assert proxied.has_room()

    def test_networks_are_those_of_clients(self) -> None:
        proxied = Proxied()
        proxied.gateway.edge.door = Door(10, 1)
        assert proxied.connect(version1(CLIENT)).heard() == [220]
        assert proxied.connect(version1("203.0.113.10")).heard() == [220]
        refused = proxied.connect(version2(CLIENT) + HELLO)
        assert refused.heard() == [421]
        assert refused.closing
        refused.hang_up()
        assert proxied.connections("too_many_of_network") == 1
        assert proxied.connect(host=CLIENT).heard() == [421]  # straight or by way of the proxy: one network

    def test_one_turned_away_before_its_header_is_told_nothing_in_clear_where_tls_is_expected(self) -> None:
        proxied = Proxied("tls")
        proxied.gateway.edge.door = Door(0, 1)
        line = proxied.connect(version1(CLIENT))
        assert line.text() == ""
        assert line.closing
        line.hang_up()
        assert not proxied.gateway.edge.sessions


class TestShuttingDown:
    def test_those_who_wait_are_ended_at_once(self) -> None:
        proxied = Proxied()
        line = proxied.connect()
        gone = proxied.gateway.edge.drain()
        assert line.closing
        assert line.text() == ""
        assert not gone.called
        line.hang_up()
        assert gone.called
        assert proxied.gateway.clock.getDelayedCalls() == []

    def test_abort(self) -> None:
        proxied = Proxied()
        line = proxied.connect()
        proxied.gateway.edge.abort()
        assert line.cut
