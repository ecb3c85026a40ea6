"""A connection that sends at once what its socket takes, and asks the reactor to go on only with what is left.

Twisted's own puts everything into a buffer, has the reactor wait until the socket can be written to, writes, and ends the
waiting: two more system calls for each reply of ours, which nearly always fits. Each of those gives up Python's lock as well,
for which other threads stand in line.
"""

from twisted.internet.tcp import Port, Server


class PromptConnection(Server):
    """Nothing else is different: order, buffers and producers are Twisted's."""

    def write(self, data: bytes) -> None:
        if self.connected and not self._writeDisconnected and not self.dataBuffer and not self._tempDataLen:
            sent = self.writeSomeData(data)
            if not isinstance(sent, int):
                sent = 0  # the connection is lost, as the reactor finds out and tells
            data = data[sent:]
            if not data:
                return
        super().write(data)  # type: ignore[no-untyped-call]


def prompt(port: Port) -> Port:
    """Let the connections that `port` accepts from now on be such."""
    port.transport = PromptConnection
    return port
