"""Dot-stuffing of a message on its way out (RFC 5321 section 4.5.2).

Only whole lines count: a block may begin or end anywhere, and a dot at its start is doubled when the line
starts there and at no other time. (twisted.mail.smtp stuffs by block: its dots go out bare at block borders.)
"""


class Stuffer:
    """One message, block by block; its lines end in CRLF already."""

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last octets sent: a message starts at the start of a line

    def stuff(self, block: bytes) -> bytes:
        if b"." not in block:  # as in base64, which most of a large message is
            self._tail = (self._tail + block[-2:])[-2:]
            return block
        joined = self._tail + block
        stuffed = joined.replace(b"\r\n.", b"\r\n..")[len(self._tail) :]
        self._tail = joined[-2:]
        return stuffed

    def end(self) -> bytes:
        """The final dot, after a CRLF when the message lacks its last one."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
