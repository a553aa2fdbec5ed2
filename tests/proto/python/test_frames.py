# SPDX-License-Identifier: Apache-2.0
"""Frames, opening and closing: docs/protocol.md sections 3 and 4 against the real head."""

import os
import random
import socket
import unittest

import msgpack

from case import SLOWER, WireTest, spec
from programs import wait_until
from shoal_wire import (BY_NAME, FRAME_MAX, LIMIT, PROTOCOL, SPECS, UNSUPPORTED, Client, Late, Peer,
                        Worker, encode, header)

# One well-formed message for each that a peer may send.
SAMPLES = {
    "HELLO": dict(role="client", id="sample"),
    "ERROR": dict(code=12, reason="a test"),
    "HEARTBEAT": dict(progress=[[1, 1, 7]]),
    "BYE": dict(reason="a test"),
    "WINDOW": dict(calls=3),
    "DRAIN": dict(request=1, worker="sample", drain_ms=1),
    "RESULT": dict(seq=1, call=999, attempt=1, outcome=0, batches=2, records=3),
    "BATCH": dict(call=999, attempt=1, seq=0, records=1),
    "SUBMIT": dict(request=1, id="sample"),
    "ASK": dict(request=1, what="head"),
    "WATCH": dict(request=1, job=999),
    "STOP": dict(request=1, job=999, reason="a test"),
    "DROP_LETTERS": dict(request=1, job=999, letters=[1]),
    "OUTPUT": {"request": 1, "job": 999, "from": 1, "credit": 65536},
    "TAKEN": dict(job=999, commit=1, bytes=10),
}


def payload_of(name):
    if not BY_NAME[name].has_payload:
        return None
    return msgpack.packb(spec()) if name == "SUBMIT" else b"{}\n"


def role_of(name):
    return "worker" if "WORKER" in BY_NAME[name].senders else "client"


class Frames(WireTest):
    """A case is (label, role or None for no HELLO, frames). All cases of a test are sent side by
    side, each on a connection of its own."""

    AT_ONCE = 50

    def of_role(self, role, id):
        if role is None:
            return self.peer()
        make = Worker if role == "worker" else Client
        return self.keep(make(self.the_head.endpoint, id=id))

    def refused(self, cases, codes=(PROTOCOL,), refers=None):
        """Each sender is told, with one of the codes, and dropped."""
        self.assertTrue(cases)
        for first in range(0, len(cases), self.AT_ONCE):
            group = cases[first:first + self.AT_ONCE]
            peers = [self.of_role(role, "subject %d" % n) for n, (_, role, _) in enumerate(group)]
            for peer, (_, _, frames) in zip(peers, group):
                peer.send_frames(*frames)
            for peer, (label, role, frames) in zip(peers, group):
                with self.subTest(label, role=role):
                    error = peer.expect("ERROR", 5 * SLOWER)
                    self.assertIn(error.code, codes, error)
                    self.assertTrue(error.closing, error)
                    self.assertNotEqual(error.reason, "")
                    self.assertTrue(peer.is_dropped(), "told, but not dropped: %r" % error)
                peer.close()

    def sample(self, name, /, **changed):
        """(role, frames) of a well-formed message, or one that is changed on purpose."""
        frames = encode(name, payload_of(name), **{**SAMPLES[name], **changed})
        return None if name == "HELLO" else role_of(name), frames

    def test_every_message_of_a_peer_has_a_sample(self):
        self.assertEqual(set(SAMPLES), {s.name for s in SPECS if s.senders != {"HEAD"}})

    #
    def test_a_wrong_count_of_frames_is_told_and_dropped(self):
        cases = []
        for name in SAMPLES:
            role, frames = self.sample(name)
            for wrong in (frames[:-1], frames + [b"x"], frames + [b"x"] * 100):
                cases.append(("%s with %d" % (name, len(wrong)), role, wrong))
        self.refused(cases)

    #
    def test_unknown_keys_and_another_minor_version_work(self):
        peer = self.peer()
        _, body = encode("HELLO", role="client", id="newer", colour="blue", extra=[1, {"a": None}])
        peer.send_frames(header(1, minor=9), body)
        peer.expect("WELCOME")
        number = BY_NAME["ASK"].number
        peer.send_frames(header(number, minor=200), msgpack.packb(
            {"more": {"deep": [1.5]}, "request": 4, "what": "head", "zzz": b"\1"}))
        self.assertEqual(peer.expect("REPLY").request, 4)

    #
    def test_the_order_of_keys_does_not_matter(self):
        peer = self.peer()
        peer.send_frames(header(1), msgpack.packb({"id": "reversed", "role": "client"}))
        peer.expect("WELCOME")

    #
    def test_another_major_version_is_told_and_dropped(self):
        _, body = encode("HELLO", role="client", id="future")
        self.refused([("major %d" % major, role, [header(1, major=major), body])
                      for major in (0, 2, 255) for role in (None, "client", "worker")],
                     codes=(UNSUPPORTED,))

    #
    def test_an_unknown_message_is_told_and_the_peer_stays(self):
        for number in (99, 1000, 65535):
            with self.subTest(number=number):
                peer = self.of_role("client", "curious %d" % number)
                peer.send_frames(header(number), b"\x80")
                self.assert_told(peer, UNSUPPORTED, closing=False, refers=number)
                self.assertTrue(peer.is_answered())

    #
    def test_a_wrong_direction_is_told_and_dropped(self):
        wrong = {"client": ["RESULT", "BATCH", "WINDOW"], "worker": ["SUBMIT", "ASK", "TAKEN"]}
        cases = [(name, role, self.sample(name)[1]) for role, names in wrong.items()
                 for name in names]
        cases += [("CALL", role, encode("CALL", call=1, attempt=1, actor=1, method="map"))
                  for role in wrong]
        self.refused(cases)

    #
    def test_a_body_cut_at_any_byte_is_told_and_dropped(self):
        cases = []
        for name in SAMPLES:
            role, frames = self.sample(name)
            cases += [("%s of %d bytes" % (name, length), role,
                       [frames[0], frames[1][:length], *frames[2:]])
                      for length in range(len(frames[1]))]
        self.refused(cases)

    #
    def test_a_header_cut_at_any_byte_is_told_and_dropped(self):
        whole, body = encode("HEARTBEAT")
        self.refused([("%d bytes" % len(wrong), role, [wrong, body])
                      for wrong in [whole[:n] for n in range(8)] + [whole + b"\0"]
                      for role in (None, "client")])

    #
    def test_wrong_magic_is_told_and_dropped(self):
        self.refused([(repr(magic), role, [header(4, magic=magic), b"\x80"])
                      for magic in (b"HS", b"\0\0", b"GE") for role in (None, "client")])

    #
    def test_a_body_that_is_no_map_or_not_whole_is_told_and_dropped(self):
        bad = {"empty": b"", "array": b"\x90", "nil": b"\xc0", "two maps": b"\x80\x80",
               "never used byte": b"\xc1", "key is no text": b"\x81\x01\x01",
               "huge map": b"\xdf\xff\xff\xff\xff", "huge text": b"\x81\xdb\xff\xff\xff\xff"}
        self.refused([(what, "client", [header(4), body]) for what, body in bad.items()],
                     codes=(PROTOCOL, LIMIT))

    #
    def test_a_field_that_is_missing_or_of_another_kind_is_told_and_dropped(self):
        cases = []
        for name in SAMPLES:
            for field in BY_NAME[name].fields.values():
                if field.must:
                    fields = {k: v for k, v in SAMPLES[name].items() if k != field.name}
                    cases.append(("%s without %s" % (name, field.name), self.sample(name)[0],
                                  encode(name, payload_of(name), **fields)))
                if field.kind != "ANY":
                    cases.append(("%s.%s an array" % (name, field.name),
                                  *self.sample(name, **{field.name: [1]})))
        self.refused(cases)

    #
    def test_a_field_beyond_its_limit_is_told_and_dropped(self):
        cases = []
        for name in SAMPLES:
            for field in BY_NAME[name].fields.values():
                if field.kind == "FLAG" or field.limit == (1 << 64) - 1:
                    continue
                value = {"UINT": lambda n: n, "TEXT": lambda n: "x" * n,
                         "ANY": lambda n: b"x" * n}[field.kind](field.limit + 1)
                cases.append(("%s.%s" % (name, field.name),
                              *self.sample(name, **{field.name: value})))
        self.refused(cases, codes=(LIMIT,))

    #
    def test_a_value_nested_too_deep_or_too_many_keys_are_told_and_dropped(self):
        def nested(depth):
            value = []
            for _ in range(depth - 1):
                value = [value]
            return value
        self.refused([("known key", *self.sample("HEARTBEAT", progress=nested(200))),
                      ("unknown key", *self.sample("HEARTBEAT", stranger=nested(200))),
                      ("65 keys", *self.sample("HEARTBEAT", **{"k%d" % n: n for n in range(64)}))],
                     codes=(LIMIT, PROTOCOL))
        peer = self.of_role("client", "within")
        peer.send("HEARTBEAT", **{"key %d" % n: n for n in range(64)})
        peer.send("HEARTBEAT", stranger=nested(32))
        peer.expect("HEARTBEAT")
        peer.expect("HEARTBEAT")

    #
    def test_ten_million_nested_arrays_cost_the_sender_its_connection(self):
        self.refused([("within a frame", "client",
                       [header(4), b"\x81\xa1a" + b"\x91" * (FRAME_MAX - 16)])],
                     codes=(LIMIT, PROTOCOL))
        peer = self.of_role("client", "deep")
        peer.send_frames(header(4), b"\x81\xa1a" + b"\x91" * 10000000 + b"\x90")
        self.assertTrue(peer.is_dropped(), "a frame of 10 MB was taken")

    #
    def test_a_batch_above_the_limit_is_told_and_dropped(self):
        large = encode("BATCH", b"x" * (256 * 1024 + 1), **SAMPLES["BATCH"])
        self.refused([("batch", "worker", large)], codes=(LIMIT,))

    #
    def test_random_bytes_cost_the_sender_its_connection(self):
        seed = int(os.environ.get("SHOAL_SEED", "20260731"))
        dice = random.Random(seed)
        self.refused([("seed %d, turn %d" % (seed, turn), dice.choice((None, "client", "worker")),
                       [dice.randbytes(dice.choice((0, 1, 7, 8, 9, 300)))
                        for _ in range(dice.randint(1, 4))]) for turn in range(100)])

    def test_random_bytes_below_zeromq_disturb_nobody(self):
        dice = random.Random(7)
        for size in (1, 10, 64, 5000):
            raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            raw.connect(self.the_head.endpoint[len("ipc://"):])
            raw.sendall(dice.randbytes(size))
            raw.close()
        self.assertTrue(self.beside.is_answered())


class Looks(WireTest):
    FLAGS = WireTest.FLAGS + ("--log-level", "debug")

    def test_who_only_looks_whether_a_head_is_there_is_no_alarm(self):
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.connect(self.the_head.endpoint[len("ipc://"):])
        raw.close()
        wait_until(lambda: "HANDSHAKE-FAILED" in self.the_head.log(), 5, "a line about it")
        told, = [line for line in self.the_head.log().split("\n") if "HANDSHAKE-FAILED" in line]
        self.assertIn("debug", told.lower())


class Opening(WireTest):
    #
    def test_a_peer_that_chooses_its_routing_id_is_told_and_dropped(self):
        for name in (b"mine", b"x" * 255):
            peer = self.keep(Peer(self.the_head.endpoint, routing_id=name))
            peer.send("HELLO", role="client", id="chooser")
            self.assert_told(peer, PROTOCOL)

    #
    def test_who_never_says_hello_is_dropped_after_a_while(self):
        peer = self.peer()
        for _ in range(17):
            peer.send("HEARTBEAT")
        closing = [peer.expect("ERROR").closing for _ in range(17)]
        self.assertEqual(closing, [False] * 16 + [True])
        self.assertTrue(peer.is_dropped())

    #
    def test_anything_before_hello_is_told_and_not_dropped(self):
        for name in sorted(set(SAMPLES) - {"HELLO", "ERROR", "BYE"}):
            with self.subTest(name):
                peer = self.peer()
                peer.send(name, payload_of(name), **SAMPLES[name])
                self.assert_told(peer, PROTOCOL, closing=False, refers=BY_NAME[name].number)
                peer.hello("worker" if role_of(name) == "worker" else "client", id="late",
                           **({"slots": 1, "window": 1} if role_of(name) == "worker" else {}))

    #
    def test_an_error_or_bye_before_hello_starts_no_quarrel(self):
        peer = self.peer()
        peer.send("ERROR", code=12, reason="mine")
        with self.assertRaises(Late):
            peer.wait_for(lambda m: m.name == "ERROR" and m.refers != 3, 0.1)

    #
    def test_a_second_hello_is_told_and_dropped(self):
        for role, make in (("client", self.client), ("worker", self.worker)):
            with self.subTest(role):
                peer = make()
                peer.send("HELLO", role=role, id="again")
                self.assert_told(peer, PROTOCOL, refers=BY_NAME["HELLO"].number)

    #
    def test_an_unknown_role_is_told_and_dropped(self):
        peer = self.peer()
        peer.send("HELLO", role="king", id="x")
        error = peer.expect("ERROR")
        self.assertTrue(error.closing and peer.is_dropped(), error)

    #
    def test_the_head_tells_everybody_the_same_id(self):
        first = self.client("a").welcome.head
        self.assertEqual(self.client("b").welcome.head, first)

    def test_welcome_tells_the_times_and_limits(self):
        welcome = self.client("limits").welcome
        self.assertLess(welcome.heartbeat_ms, welcome.liveness_ms)
        self.assertLessEqual(welcome.batch_bytes, 256 * 1024)
        self.assertEqual(welcome.record_bytes, 32 * 1024 * 1024)

    #
    def test_a_polite_bye_is_seen_at_once(self):
        worker = self.worker("polite")
        self.assertIn("polite", [w["id"] for w in self.beside.ask("workers")])
        worker.send("BYE", reason="a test")
        worker.close()
        for _ in range(1000):
            known = {w["id"]: w for w in self.beside.ask("workers")}
            if known.get("polite", {"state": "gone"})["state"] not in ("ready", "alive"):
                break
        else:
            self.fail("still there after BYE: %r" % known)


if __name__ == "__main__":
    unittest.main()
