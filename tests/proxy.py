"""A TCP proxy before a server on a Unix socket, which passes on, hangs, or drops what is there."""

import contextlib
import queue
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

CHUNK_BYTES = 65536


class Proxy:
    """Listens on 127.0.0.1. One thread does everything, so that nothing is closed while it is used."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._hung: list[socket.socket] = []
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def hang(self) -> None:
        """Never pass anything on again for the connections that there are, and leave them open."""
        self._orders.put(lambda: self._hung.extend(self._forget_all()))

    def drop(self) -> None:
        """End the connections that there are, in the middle of whatever they say."""
        self._orders.put(lambda: [end.close() for end in self._forget_all()])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped = True
        self._thread.join()
        for end in [*self._forget_all(), *self._hung, self._listener]:
            end.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._is_stopped:
            with contextlib.suppress(queue.Empty):
                self._orders.get_nowait()()
            for key, _ in self._selector.select(0.01):
                if key.data is None:
                    self._accept()
                elif key.fd in self._selector.get_map():
                    self._pass_on(key.fileobj, key.data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._server))
        except OSError:
            client.close()
            return
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = source.recv(CHUNK_BYTES)
            if data:
                target.sendall(data)
                return
        for end in (source, target):
            self._selector.unregister(end)
            end.close()

    def _forget_all(self) -> list[socket.socket]:
        ends = [key.fileobj for key in list(self._selector.get_map().values()) if key.data is not None]
        for end in ends:
            self._selector.unregister(end)
        return ends
