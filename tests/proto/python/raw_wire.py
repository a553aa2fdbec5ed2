# SPDX-License-Identifier: Apache-2.0
"""raw_wire - ZMTP 3.0 by hand, for what no ZeroMQ library would send: silence, halves, no end.

A Raw is a plain socket that has said the greeting and READY of a DEALER, with the mechanism NULL.
"""

import socket
import struct
import time

MORE, LONG, COMMAND = 1, 2, 4

GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32


def frame(payload, flags=0):
    if len(payload) > 255:
        return struct.pack(">BQ", flags | LONG, len(payload)) + payload
    return struct.pack(">BB", flags, len(payload)) + payload


def message(*frames):
    return b"".join(frame(f, MORE) for f in frames[:-1]) + frame(frames[-1])


def prop(name, value):
    return bytes((len(name),)) + name + struct.pack(">I", len(value)) + value


READY = frame(b"\x05READY" + prop(b"Socket-Type", b"DEALER") + prop(b"Identity", b""), COMMAND)


class Raw:
    def __init__(self, endpoint, handshake=True, seconds=10.0):
        kind, _, address = endpoint.partition("://")
        if kind == "ipc":
            self.socket = socket.socket(socket.AF_UNIX)
            target = address
        else:
            self.socket = socket.socket(socket.AF_INET)
            host, _, port = address.rpartition(":")
            target = (host, int(port))
        self.socket.settimeout(seconds)
        end = time.monotonic() + seconds
        while True:
            try:
                self.socket.connect(target)
                break
            except BlockingIOError:  # more wait to be accepted than may
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)  # between two tries
        if handshake:
            self.socket.sendall(GREETING + READY)

    def settle(self, patient=False):
        """Waits for the head's side of the handshake; nothing may be sent before. `patient`: False
        where it does not come, and no error."""
        got = b""
        while len(got) < len(GREETING) + 2 or len(got) < len(GREETING) + 2 + got[65]:
            try:
                part = self.socket.recv(4096)
            except OSError:
                part = b""
            if not part and patient:
                return False
            if not part:
                raise ConnectionError("the head closed the connection")
            got += part
        return True

    def send(self, data):
        """False once the other side has gone."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def is_shut(self, seconds=5.0):
        """True once the head has ended the connection."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except socket.timeout:
            return False
        except OSError:
            return True

    def close(self):
        self.socket.close()
