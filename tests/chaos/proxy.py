# SPDX-License-Identifier: Apache-2.0
"""proxy - a wire between a peer and the head that can be cut, slowed, half-opened and swallowed.

One thread serves all connections of one proxy. It listens on TCP (loopback) or on a Unix socket
and dials the head for each connection. Nothing of what it does to the bytes depends
on them.
"""

import os
import selectors
import socket
import struct
import threading
import time
from collections import deque

BUFFER_MAX = 1 << 18  # bytes of one direction that wait to be sent
CHUNK = 1 << 16


def reset_on_close(sock):
    """A close that the other side sees as a reset, as after a crash of its host."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass


class Half:
    """One direction of a link: bytes from `source` on their way to `target`."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.waiting = deque()  # (due, bytes): delayed
        self.ready = bytearray()
        self.size = 0


class Link:
    def __init__(self, inner, outer):
        self.inner, self.outer = inner, outer  # towards the peer, towards the head
        self.halves = [Half(inner, outer), Half(outer, inner)]
        self.is_numb = False  # half-open: one side has gone, the other is not told


class Proxy:
    def __init__(self, target, listen=None):
        """`target`: the head's endpoint; `listen`: a path for a Unix socket, None: TCP."""
        kind, _, self.target = target.partition("://")
        self.family = socket.AF_UNIX if kind == "ipc" else socket.AF_INET
        if self.family == socket.AF_INET:
            host, _, port = self.target.rpartition(":")
            self.target = (host, int(port))
        if listen:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(listen)
            self.endpoint = "ipc://" + listen
        else:
            self.listener = socket.socket(socket.AF_INET)
            self.listener.bind(("127.0.0.1", 0))
            self.endpoint = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.path = listen
        self.listener.listen(64)
        self.listener.setblocking(False)
        self.wake_in, self.wake_out = os.pipe()
        os.set_blocking(self.wake_in, False)
        self.lock = threading.Lock()
        self.orders = []  # functions that the thread runs
        self.links = set()
        self.hole_until = 0.0  # nothing passes before
        self.delay, self.delay_until = 0.0, 0.0
        self.count = 0
        self.bytes = 0
        self.closing = False
        self.selector = selectors.DefaultSelector()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    # -- orders, from any thread

    def order(self, what):
        with self.lock:
            self.orders.append(what)
        os.write(self.wake_out, b"x")

    def cut(self):
        """All connections end at once, with a reset."""
        self.order(self.cut_all)

    def half_open(self):
        """The head sees the connections end; the peer is told nothing and its bytes are lost."""
        self.order(self.numb_all)

    def black_hole(self, seconds):
        """Nothing passes, in no direction; new connections are accepted and lead nowhere."""
        self.order(lambda: setattr(self, "hole_until", time.monotonic() + seconds))

    def slow(self, delay, seconds):
        """Every byte takes `delay` longer, for a while."""
        def start():
            self.delay, self.delay_until = delay, time.monotonic() + seconds
        self.order(start)

    def close(self):
        if not self.closing:
            self.closing = True
            os.write(self.wake_out, b"x")
            self.thread.join(5)

    # -- the thread

    def run(self):
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.selector.register(self.wake_in, selectors.EVENT_READ, None)
        while not self.closing:
            self.turn()
        for link in list(self.links):
            self.drop(link)
        self.selector.close()
        self.listener.close()
        os.close(self.wake_in)
        os.close(self.wake_out)
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)

    def turn(self):
        now = time.monotonic()
        for link in list(self.links):
            self.watch(link, now)
        for key, events in self.selector.select(self.pause(now)):
            if key.fileobj is self.listener:
                self.accept()
            elif key.fileobj == self.wake_in:
                self.obey()
            elif key.data in self.links:
                self.move(key.data, key.fileobj, events)

    def pause(self, now):
        due = [half.waiting[0][0] for link in self.links for half in link.halves if half.waiting]
        if now < self.hole_until:
            due.append(self.hole_until)
        return min(max(min(due) - now, 0.001), 1.0) if due else 1.0

    def obey(self):
        try:
            os.read(self.wake_in, 4096)
        except BlockingIOError:
            pass
        with self.lock:
            orders, self.orders = self.orders, []
        for what in orders:
            what()

    def accept(self):
        try:
            inner, _ = self.listener.accept()
        except OSError:
            return
        outer = socket.socket(self.family)
        try:
            outer.connect(self.target)
        except OSError:  # no head now: the peer sees a connection that is refused
            outer.close()
            reset_on_close(inner)
            inner.close()
            return
        for sock in (inner, outer):
            sock.setblocking(False)
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(inner, outer)
        self.links.add(link)
        self.count += 1

    def watch(self, link, now):
        """Registers each socket of the link for what it can do now."""
        stuck = now < self.hole_until
        for half in link.halves:
            while half.waiting and half.waiting[0][0] <= now:
                half.ready += half.waiting.popleft()[1]
        wanted = {link.inner: 0, link.outer: 0}
        for half in link.halves:
            if not stuck and half.source and half.size < BUFFER_MAX:
                wanted[half.source] |= selectors.EVENT_READ
            if not stuck and half.target and half.ready:
                wanted[half.target] |= selectors.EVENT_WRITE
        for sock, events in wanted.items():
            self.register(sock, events, link)

    def register(self, sock, events, link):
        if sock is None:
            return
        try:
            key = self.selector.get_key(sock)
        except KeyError:
            key = None
        if key and not events:
            self.selector.unregister(sock)
        elif key and key.events != events:
            self.selector.modify(sock, events, link)
        elif not key and events:
            self.selector.register(sock, events, link)

    def move(self, link, sock, events):
        try:
            if events & selectors.EVENT_READ:
                self.read(link, next(h for h in link.halves if h.source is sock))
            if link in self.links and events & selectors.EVENT_WRITE:
                half = next(h for h in link.halves if h.target is sock)
                sent = sock.send(half.ready)
                del half.ready[:sent]
                half.size -= sent
        except BlockingIOError:
            pass
        except (OSError, StopIteration):
            self.drop(link)

    def read(self, link, half):
        data = half.source.recv(CHUNK)
        if not data:
            self.drop(link)
            return
        self.bytes += len(data)
        if link.is_numb:
            return  # lost on the way
        half.size += len(data)
        now = time.monotonic()
        if half.waiting or now < self.delay_until:
            due = max(now + (self.delay if now < self.delay_until else 0),
                      half.waiting[-1][0] if half.waiting else 0)
            half.waiting.append((due, data))
        else:
            half.ready += data

    def forget(self, sock):
        try:
            self.selector.unregister(sock)
        except (KeyError, ValueError):
            pass
        sock.close()

    def drop(self, link):
        self.links.discard(link)
        for sock in (link.inner, link.outer):
            if sock:
                self.forget(sock)

    def cut_all(self):
        for link in list(self.links):
            reset_on_close(link.inner)
            self.drop(link)

    def numb_all(self):
        for link in list(self.links):
            if not link.is_numb:
                link.is_numb = True
                self.forget(link.outer)
                link.outer = None
                half = link.halves[0]
                half.target, half.size = None, 0
                half.ready.clear()
                half.waiting.clear()
                link.halves = [half]
