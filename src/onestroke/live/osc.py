"""Signals from other programs by OSC (Open Sound Control): /knob/1 0.5 is the signal remote.knob.1."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from onestroke.documents import is_number
from onestroke.errors import UserError
from onestroke.live.signals import Signals
from onestroke.packages import require


class Osc:
    """Receives OSC messages over UDP, in a thread.

    The address without its first slash, with dots for the others, is the name of a remote signal, and the first number
    of the message its value; other messages are skipped.

    Args:
        host, port: where to listen; port 0 takes a free one, see `port`.
        signals: where they go.

    Raises:
        UserError: the port is taken, or the host is no address of this machine.
    """

    def __init__(self, host: str, port: int, signals: Signals) -> None:
        dispatcher = require("pythonosc.dispatcher", "live").Dispatcher()
        dispatcher.set_default_handler(self._take)
        self._signals = signals
        try:
            self._server: Any = require("pythonosc.osc_server", "live").BlockingOSCUDPServer((host, port), dispatcher)
        except OSError as error:
            raise UserError(f"can't listen for OSC on {host}:{port}: {error.strerror or error}") from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="osc", daemon=True)
        self._thread.start()

    def _take(self, address: str, *values: object) -> None:
        value = next((value for value in values if is_number(value)), None)
        if value is not None:
            with suppress(UserError):  # a name that is none: the sender can't be told
                self._signals.put({"remote." + address.strip("/").replace("/", "."): value}, "osc")

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
