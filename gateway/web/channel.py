"""HTTP connections of the operators' site, bounded in size, number and time.

Theory of operation. twisted.web reads and parses a whole body, in the reactor's thread, before it asks a page: 4 MB of
multipart stop all mail for seconds. So a request is judged when its header is complete. A method other than GET and HEAD, and
whatever announces a body, is refused at once. The connection is read no further then: the answer and the end of our side are
written, and shortly afterwards the connection is cut.

The wait for a request, from its first octet or from the end of the one before, has one limit that octets do not move. When all
places are taken, the connection that has been without a request for longest gives its place to the new one.
"""

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

MAX_CONNECTIONS = 100
MAX_FIELDS = 100  # of a request's header
MAX_HEADER = 16384  # octets, the request line included
REQUEST_WITHIN = 30.0  # seconds for a whole header, or without one
ANSWER_WITHIN = 30.0  # seconds for the client to take an answer
LINGER = 2.0  # seconds for a client that was refused to read why
METHODS = (b"GET", b"HEAD")

_NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"
_BAD = b"HTTP/1.1 400 Bad Request\r\n"
_NO_BODY = b"HTTP/1.1 413 Content Too Large\r\n"
_END = b"Connection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedChannel(HTTPChannel):
    """One connection."""

    maxHeaders = MAX_FIELDS
    totalHeadersSize = MAX_HEADER
    site: "BoundedSite"
    waiting = True  # no request is being answered
    _refused = False

    def dataReceived(self, data: bytes) -> None:
        """As HTTPChannel's, but for its way to give more time with each octet."""
        if not self._refused:
            super(HTTPChannel, self).dataReceived(data)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        if not self._refused:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        if self._command not in METHODS:
            self._refuse(_NOT_ALLOWED)
        elif _has_body(request):
            self._refuse(_NO_BODY)
        else:
            self.waiting = False
            super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        if not self._refused:
            super().rawDataReceived(data)

    def requestDone(self, request: Request) -> None:
        self.site.at_rest(self)
        if self._buffer or self._dataBuffer:  # a thousand requests in one go would be answered in one turn of the reactor
            self.persistent = False
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if not self.persistent:  # else the limit for the next request runs
            self.setTimeout(ANSWER_WITHIN)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.left(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(_BAD)

    def _refuse(self, status: bytes) -> None:
        """Answer, and leave what follows in the system's buffer: to close it unread would destroy the answer on its way."""
        self._refused = True
        self.length = None  # the base class then reads a body, which rawDataReceived drops
        transport: Any = self.transport
        transport.pauseProducing()
        transport.write(status + _END)
        transport.loseWriteConnection()
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._abortingCall = self.callLater(LINGER, self.forceAbortClient)  # type: ignore[no-untyped-call]

    def forceAbortClient(self) -> None:
        """Without the base class's log line for each: any peer can make thousands."""
        self._abortingCall = None
        transport: Any = self.transport
        transport.abortConnection()

    def timeoutConnection(self) -> None:
        self.forceAbortClient()


class BoundedSite(Site):
    """A Site with at most MAX_CONNECTIONS connections, each a `BoundedChannel`. `reactor` provides IReactorTime."""

    protocol = BoundedChannel  # type: ignore[assignment]  # not the proxy that chooses HTTP/2

    def __init__(self, root: Any, reactor: Any = None) -> None:
        super().__init__(root, timeout=REQUEST_WITHIN, reactor=reactor)  # type: ignore[no-untyped-call]
        self.noisy = False
        self.displayTracebacks = False
        self._channels: dict[BoundedChannel, None] = {}  # those without a request for longest first

    def buildProtocol(self, addr: Any) -> BoundedChannel | None:  # type: ignore[override]
        """A new connection; None turns it away, since all that are open are being answered."""
        if len(self._channels) >= MAX_CONNECTIONS and not self._make_room():
            return None
        channel: BoundedChannel = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self._channels[channel] = None
        return channel

    def at_rest(self, channel: BoundedChannel) -> None:
        """Its request is answered; it waits for another, behind all others that wait."""
        channel.waiting = True
        if channel in self._channels:
            del self._channels[channel]
            self._channels[channel] = None

    def left(self, channel: BoundedChannel) -> None:
        self._channels.pop(channel, None)

    def _make_room(self) -> bool:
        for channel in self._channels:
            if channel.waiting:
                del self._channels[channel]
                channel.forceAbortClient()
                return True
        return False


def _has_body(request: Request) -> bool:
    """Whether the header announces a body (RFC 9112 section 6)."""
    lengths = request.requestHeaders.getRawHeaders(b"content-length", [])
    return request.requestHeaders.hasHeader(b"transfer-encoding") or any(length.strip(b"0") for length in lengths)
