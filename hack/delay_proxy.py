"""A proxy on loopback that hands bytes on a while later, and counts them: a long line to a near port."""

import queue
import socket
import threading
import time


class Proxy:
    """Listens on `port`, a free one, for connections to another port of this machine, and delays each direction."""

    def __init__(self, target, seconds):
        self.target, self.seconds = target, seconds
        self.connections = self.sent = self.received = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.forward(client, server, "sent")
            self.forward(server, client, "received")

    def forward(self, source, sink, counted):
        waiting = queue.Queue()

        def read():
            data = b"."
            while data:
                try:
                    data = source.recv(1 << 16)
                except OSError:
                    data = b""
                setattr(self, counted, getattr(self, counted) + len(data))
                waiting.put((time.monotonic() + self.seconds, data))

        def write():
            data = b"."
            while data:
                due, data = waiting.get()
                time.sleep(max(0, due - time.monotonic()))
                try:
                    sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
                except OSError:
                    return

        for work in (read, write):
            threading.Thread(target=work, daemon=True).start()

    def counts(self):
        """Since the last call: connections, bytes sent to the other port, bytes received from it."""
        found = {"connections": self.connections, "sent": self.sent, "received": self.received}
        self.connections = self.sent = self.received = 0
        return found

    def close(self):
        self.listener.close()
