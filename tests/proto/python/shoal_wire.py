# SPDX-License-Identifier: Apache-2.0
"""shoal_wire - a second implementation of the wire, written from docs/protocol.md alone.

The dictionary is read from proto/wire/messages.def, which the protocol names as such; everything
else (framing, limits, roles, dialogs) is this file's own reading of the document. Every message
that arrives is checked against the dictionary, so a head that strays from it fails each test.

A Peer is one connection and belongs to one thread. Nothing here sleeps: each wait is for a
message or an event of the socket, with a deadline.
"""

import os
import re
import time
from collections import deque

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
DICTIONARY = os.path.join(ROOT, "proto", "wire", "messages.def")

MAJOR, MINOR = 1, 0
FRAME_MAX = 1 << 20
BATCH_MAX = 256 << 10
DEPTH_MAX = 32
BODY_KEYS_MAX = 64
LIMIT_WORDS = {"U32": (1 << 32) - 1, "U64": (1 << 64) - 1}

# docs/protocol.md section 8: codes are those of proto/base/status.h.
PROTOCOL, LIMIT, DENIED, UNSUPPORTED = 2, 3, 6, 11

DONE, FAILED, RETURNED, CANCELLED = range(4)  # RESULT's outcome
TRANSIENT, CONFIG, DATA, FATAL = range(1, 5)  # RESULT's error_class
FINAL_STATES = ("SUCCEEDED", "PARTIAL", "FAILED", "STOPPED")


HANDSHAKE_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | \
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class Field:
    def __init__(self, kind, name, must, limit):
        self.kind, self.name, self.must, self.limit = kind, name, must, limit


class Spec:
    """One message of the dictionary."""

    def __init__(self, name, number, senders, has_payload):
        self.name, self.number, self.senders = name, number, senders
        self.has_payload, self.fields = has_payload, {}


def read_dictionary(path=DICTIONARY):
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"//[^\n]*", "", file.read())
    specs = []
    entry = re.compile(r"(MESSAGE|FIELD|END)\(([^)]*)\)")
    for macro, inside in entry.findall(text):
        words = [word.strip() for word in inside.split(",")]
        if macro == "MESSAGE":
            senders = frozenset(word.strip() for word in words[3].split("|"))
            specs.append(Spec(words[0], int(words[2]), senders, words[4] == "MUST"))
        elif macro == "FIELD":
            limit = LIMIT_WORDS.get(words[4]) or int(words[4])
            specs[-1].fields[words[2]] = Field(words[1], words[2], words[3] == "MUST", limit)
    return specs


SPECS = read_dictionary()
BY_NAME = {spec.name: spec for spec in SPECS}
BY_NUMBER = {spec.number: spec for spec in SPECS}


class WireError(Exception):
    """The other side broke the protocol."""


class Late(Exception):
    """Nothing came before the deadline."""


def header(number, major=MAJOR, minor=MINOR, magic=b"SH"):
    return magic + bytes((major, minor)) + number.to_bytes(2, "big") + b"\0\0"


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max((depth_of(v) for pair in value.items() for v in pair), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(v) for v in value), default=0)
    return 0


def encode(name, payload=None, /, **fields):
    """The frames of a message; fields go out as they are, right or wrong."""
    frames = [header(BY_NAME[name].number), msgpack.packb(fields, use_bin_type=True)]
    if payload is not None:
        frames.append(payload)
    return frames


class Message:
    def __init__(self, name, fields, payload):
        self.name, self.fields, self.payload = name, fields, payload

    def __getattr__(self, field):
        spec = BY_NAME[self.__dict__["name"]].fields.get(field)
        if spec is None:
            raise AttributeError(field)
        empty = {"UINT": 0, "FLAG": False, "TEXT": "", "ANY": None}[spec.kind]
        return self.fields.get(field, empty)  # a MAY field that is missing reads as zero

    def __repr__(self):
        size = "" if self.payload is None else " +%d bytes" % len(self.payload)
        return "%s %r%s" % (self.name, self.fields, size)


def check_field(spec, field, value):
    where = "%s.%s" % (spec.name, field.name)
    if field.kind == "UINT":
        if isinstance(value, bool) or not isinstance(value, int):
            raise WireError("%s is no number: %r" % (where, value))
        if not 0 <= value <= field.limit:
            raise WireError("%s is %d, above %d" % (where, value, field.limit))
    elif field.kind == "FLAG":
        if not isinstance(value, bool):
            raise WireError("%s is no flag: %r" % (where, value))
    elif field.kind == "TEXT":
        if not isinstance(value, str):
            raise WireError("%s is no text: %r" % (where, value))
        if len(value.encode()) > field.limit:
            raise WireError("%s is longer than %d bytes" % (where, field.limit))
    else:
        if len(msgpack.packb(value, use_bin_type=True)) > field.limit:
            raise WireError("%s is larger than %d bytes" % (where, field.limit))
        if depth_of(value) > DEPTH_MAX:
            raise WireError("%s is nested deeper than %d" % (where, DEPTH_MAX))


def decode(frames, sender="HEAD"):
    """Frames to a Message; WireError for whatever the protocol does not allow `sender`."""
    if len(frames) < 2 or len(frames[0]) != 8 or frames[0][:2] != b"SH":
        raise WireError("not a message of this protocol: %r" % (frames[:2],))
    if frames[0][2] != MAJOR or frames[0][6:] != b"\0\0":
        raise WireError("header %r" % (frames[0],))
    spec = BY_NUMBER.get(int.from_bytes(frames[0][4:6], "big"))
    if spec is None:
        raise WireError("unknown message, header %r" % (frames[0],))
    if sender not in spec.senders:
        raise WireError("%s must not be sent by %s" % (spec.name, sender))
    if len(frames) != (3 if spec.has_payload else 2):
        raise WireError("%s has %d frames" % (spec.name, len(frames)))
    if any(len(frame) > FRAME_MAX for frame in frames):
        raise WireError("%s has a frame above the limit" % spec.name)
    body = msgpack.unpackb(frames[1], raw=False, strict_map_key=False)
    if not isinstance(body, dict) or len(body) > BODY_KEYS_MAX:
        raise WireError("%s has no proper body: %r" % (spec.name, body))
    for name, field in spec.fields.items():
        if name in body:
            check_field(spec, field, body[name])
        elif field.must:
            raise WireError("%s lacks %s: %r" % (spec.name, name, body))
    unknown = set(body) - set(spec.fields)
    if unknown:
        raise WireError("%s has keys that no dictionary knows: %s" % (spec.name, unknown))
    payload = frames[2] if spec.has_payload else None
    if spec.name in ("BATCH", "PIECE") and len(payload) > BATCH_MAX:
        raise WireError("%s has a payload of %d bytes" % (spec.name, len(payload)))
    return Message(spec.name, body, payload)


class Peer:
    """A DEALER connection to a head that never dials again, so that being dropped is seen."""

    def __init__(self, endpoint, routing_id=None, receive_hwm=0, curve=None):
        """`curve`: the head's public key and this peer's two, each 32 bytes."""
        self.context = zmq.Context.instance()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        # Not for ever, which would throw away what came before the connection was cut.
        self.socket.setsockopt(zmq.RECONNECT_IVL, 3600000)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_hwm)  # 0: reads ahead without limit
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED)
        self.was_dropped = False
        self.inbox = deque()
        self.ack = 0  # the largest acknowledgement seen in HEARTBEAT, CALL or ACK
        self.welcome = None
        self.requests = 0
        self.failed = None  # the handshake: the monitor's event and its value
        if curve:
            for option, key in zip((zmq.CURVE_SERVERKEY, zmq.CURVE_PUBLICKEY, zmq.CURVE_SECRETKEY),
                                   curve):
                self.socket.setsockopt(option, key)
        if routing_id:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.socket.connect(endpoint)

    def close(self):
        if not self.socket.closed:
            self.socket.disable_monitor()
            self.monitor.close()
            self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- out

    def send(self, name, payload=None, /, **fields):
        if name == "BYE":
            self.socket.setsockopt(zmq.LINGER, 2000)  # it goes out though the socket is closed next
        self.socket.send_multipart(encode(name, payload, **fields))

    def send_frames(self, *frames):
        self.socket.send_multipart(frames)

    def hello(self, role, **fields):
        self.send("HELLO", role=role, **fields)
        self.welcome = self.expect("WELCOME")
        return self.welcome

    def request(self):
        self.requests += 1
        return self.requests

    # -- in

    def take(self, seconds):
        """The next message; Late when none came in time."""
        if self.inbox:
            return self.inbox.popleft()
        if not self.socket.poll(int(max(seconds, 0) * 1000)):
            raise Late("no message within %.1f s" % seconds)
        message = decode(self.socket.recv_multipart())
        if message.name in ("HEARTBEAT", "CALL"):
            self.ack = max(self.ack, message.ack)
        elif message.name == "ACK":
            self.ack = max(self.ack, message.seq)
        return message

    def wait_for(self, wanted, seconds=10.0, what="a message"):
        """The first message that `wanted` accepts; the ones before it are put back behind."""
        end = time.monotonic() + seconds
        passed = []
        try:
            while True:
                try:
                    message = self.take(end - time.monotonic())
                except Late:
                    raise Late("%s did not come in %.0f s; there was %r" % (what, seconds, passed))
                if wanted(message):
                    return message
                passed.append(message)
        finally:
            self.inbox.extendleft(reversed([m for m in passed if m.name != "HEARTBEAT"]))

    def expect(self, name, seconds=10.0, /, **fields):
        """The next message of that name and with those values."""
        return self.wait_for(
            lambda m: m.name == name and all(getattr(m, k) == v for k, v in fields.items()),
            seconds, "%s %r" % (name, fields or ""))

    def ask(self, what, **fields):
        request = self.request()
        self.send("ASK", request=request, what=what, **fields)
        return self.expect("REPLY", request=request).body

    def is_dropped(self, seconds=5.0):
        """True once the head has cut the connection; False if it has not by then."""
        end = time.monotonic() + seconds
        while not self.was_dropped and \
                self.monitor.poll(int(max(end - time.monotonic(), 0) * 1000)):
            event = recv_monitor_message(self.monitor)
            if event["event"] == zmq.EVENT_DISCONNECTED:
                self.was_dropped = True
            else:
                self.failed = self.failed or (event["event"], event["value"])
        return self.was_dropped

    def handshake_fails(self, seconds=5.0):
        """The monitor's event and value once the handshake has failed; None if it has not."""
        end = time.monotonic() + seconds
        while not self.failed and self.monitor.poll(int(max(end - time.monotonic(), 0) * 1000)):
            event = recv_monitor_message(self.monitor)
            if event["event"] != zmq.EVENT_DISCONNECTED:
                self.failed = (event["event"], event["value"])
        return self.failed

    def is_answered(self, seconds=5.0):
        """True if the head answers a heartbeat on this connection."""
        self.send("HEARTBEAT")
        try:
            self.expect("HEARTBEAT", seconds)
            return True
        except Late:
            return False


class Client(Peer):
    def __init__(self, endpoint, id="test-client", curve=None, **fields):
        super().__init__(endpoint, curve=curve)
        self.hello("client", id=id, **fields)

    def submit(self, spec, id):
        request = self.request()
        self.send("SUBMIT", msgpack.packb(spec), request=request, id=id)
        answer = self.wait_for(
            lambda m: m.name in ("ACCEPTED", "ERROR") and m.request == request, 10, "an answer")
        if answer.name == "ERROR":
            raise WireError("SUBMIT refused: %s" % answer.reason)
        return answer.job

    def watch(self, job):
        self.send("WATCH", request=self.request(), job=job)

    def final(self, job, seconds=20.0):
        """The last EVENT of a watched job."""
        return self.wait_for(
            lambda m: m.name == "EVENT" and m.job == job and m.state in FINAL_STATES,
            seconds, "the end of job %d" % job)


def given_back(result):
    """A kept RESULT as it goes to the same head again: what streamed is returned (R-6.12)."""
    if result["outcome"] == DONE and result.get("batches"):
        return dict(result, outcome=RETURNED, reason="the registration was lost")
    return result


class Worker(Peer):
    """A worker whose slots are the test itself: calls are taken and answered by hand, or by
    serve() with a function for each method."""

    def __init__(self, endpoint, id="test-worker", slots=2, window=4, classes=("pipeline",),
                 incarnation=1, running=None, actors=None, results=None, last_exit=None,
                 name="python worker", labels=None, curve=None):
        super().__init__(endpoint, curve=curve)
        self.actors = {}
        self.seq = 0
        self.kept = deque()  # RESULTs that no ack has covered yet
        fields = dict(id=id, slots=slots, window=window, classes=list(classes),
                      incarnation=incarnation, name=name, software="shoal_wire")
        kept = [given_back(fields) for fields in results.kept] if results is not None else []
        running = list(running or []) + [[fields["call"], fields["attempt"]] for fields in kept]
        if running:
            fields["running"] = running
        if actors:
            fields["actors"] = list(actors)
        if last_exit:
            fields["last_exit"] = last_exit
        if labels:
            fields["labels"] = labels
        self.hello("worker", **fields)
        if results is not None:
            self.seq, self.kept = results.seq, deque(kept)
            for fields in self.kept:
                self.send("RESULT", **fields)

    def take(self, seconds):
        message = super().take(seconds)
        if message.name == "ACTOR":
            self.actors[message.actor] = message
        elif message.name == "DROP_ACTOR":
            self.actors.pop(message.actor, None)
        while self.kept and self.kept[0]["seq"] <= self.ack:
            self.kept.popleft()
        return message

    def call(self, method=None, seconds=10.0):
        """The next CALL (of that method)."""
        message = self.wait_for(
            lambda m: m.name == "CALL" and method in (None, m.method), seconds,
            "a call of %s" % (method or "anything"))
        if message.actor not in self.actors:
            raise WireError("CALL before ACTOR %d" % message.actor)
        return message

    def batch(self, call, seq, payload, records=0, more=False):
        fields = dict(call=call.call, attempt=call.attempt, seq=seq)
        if records:
            fields["records"] = records
        if more:
            fields["more"] = True
        self.send("BATCH", payload, **fields)

    def result(self, call, outcome=DONE, **fields):
        self.seq += 1
        whole = dict(seq=self.seq, call=call.call, attempt=call.attempt, outcome=outcome)
        whole.update({k: v for k, v in fields.items() if v})
        self.kept.append(whole)
        self.send("RESULT", **whole)

    def items(self, call, items, **fields):
        """Streams items of a discover call in one batch and ends the call."""
        self.batch(call, 0, b"".join(msgpack.packb(item) for item in items), len(items))
        self.result(call, batches=1, records=len(items), **fields)

    def lines(self, call, lines, **fields):
        """Streams records in one batch and ends the call."""
        if lines:
            self.batch(call, 0, b"".join(line + b"\n" for line in lines), len(lines))
        self.result(call, batches=1 if lines else 0, records=len(lines), **fields)

    # -- a whole job by itself

    def answer(self, call, items=(), lines=None):
        """Answers one call the way a small, faultless pipeline would. `lines` makes the records
        of a shard from its args: a list of bytes, one a record."""
        if call.method == "check":
            self.result(call, detail={"collected": True})
        elif call.method == "discover":
            self.items(call, items)
        elif call.method == "finish":
            self.result(call)
        else:
            made = lines(call.args) if lines else []
            self.lines(call, made, detail={"kinds": {"table": len(made)}} if made else None)

    def start_job(self, items):
        """Answers check and discover; the shards' calls are left to the test."""
        self.answer(self.call("check"))
        self.answer(self.call("discover"), items)

    def serve(self, client, job, items=(), lines=None, seconds=20.0):
        """Answers calls until the client sees the watched job's end; returns the last EVENT."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                return client.final(job, 0.001)
            except Late:
                pass
            try:
                self.answer(self.call(seconds=0.02), items, lines)
            except Late:
                pass
        raise Late("job %d did not end in %.0f s" % (job, seconds))

    def heartbeat(self, *progress):
        self.send("HEARTBEAT", **({"progress": [list(p) for p in progress]} if progress else {}))


class Head:
    """A head that does nothing by itself: a bound ROUTER whose test takes and sends messages. It
    remembers one peer of one role, the one that has said HELLO last."""

    def __init__(self, endpoint, role="worker", heartbeat_ms=100, liveness_ms=2000, lease_ms=60000,
                 batch_bytes=65536):
        self.context = zmq.Context.instance()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.bind(endpoint)
        self.times = dict(heartbeat_ms=heartbeat_ms, liveness_ms=liveness_ms, lease_ms=lease_ms,
                          batch_bytes=batch_bytes, record_bytes=32 << 20)
        self.id = "python-head"
        self.role = role
        self.peer = None
        self.hello = None
        self.taken = 0  # RESULTs up to this number are acknowledged
        self.seen = 0  # the last RESULT on this connection, or the last that is acknowledged
        self.acknowledges = True
        self.answers_heartbeats = True
        self.inbox = deque()

    def close(self):
        if not self.socket.closed:
            self.socket.close()

    def send(self, name, payload=None, /, **fields):
        self.socket.send_multipart([self.peer, *encode(name, payload, **fields)])

    def send_frames(self, *frames):
        self.socket.send_multipart([self.peer, *frames])

    def take(self, seconds):
        """The next message as (identity, Message), heartbeats answered by the way."""
        if not self.socket.poll(int(max(seconds, 0) * 1000)):
            raise Late("no message within %.1f s" % seconds)
        identity, *frames = self.socket.recv_multipart()
        message = decode(frames, self.role.upper())
        if message.name == "HEARTBEAT" and identity == self.peer and self.answers_heartbeats:
            self.send("HEARTBEAT", **({"ack": self.taken} if self.taken else {}))
        elif message.name == "RESULT" and identity == self.peer:
            if self.seen is not None and message.seq != self.seen + 1:
                raise WireError("result %d after %d" % (message.seq, self.seen))
            self.seen = message.seq
            if self.acknowledges:
                self.taken = max(self.taken, message.seq)
                self.send("ACK", seq=self.taken)
        return identity, message

    def expect(self, name, seconds=10.0, where=lambda message: True):
        """The next message of that name; those before it are kept for a later expect()."""
        for kept in list(self.inbox):
            if kept[1].name == name and where(kept[1]):
                self.inbox.remove(kept)
                self.sender = kept[0]
                return kept[1]
        end = time.monotonic() + seconds
        while True:
            try:
                identity, message = self.take(end - time.monotonic())
            except Late:
                raise Late("%s did not come in %.0f s; there was %r" % (
                    name, seconds, [m for _, m in self.inbox]))
            if message.name == name and where(message):
                self.sender = identity
                return message
            if message.name != "HEARTBEAT":
                self.inbox.append((identity, message))

    def welcome(self, seconds=10.0):
        """Waits for a HELLO and answers it."""
        self.hello = self.expect("HELLO", seconds)
        self.peer, self.seen = self.sender, self.taken
        if self.hello.role != self.role:
            raise WireError("not a %s: %r" % (self.role, self.hello))
        self.send("WELCOME", head=self.id, **self.times)
        return self.hello
