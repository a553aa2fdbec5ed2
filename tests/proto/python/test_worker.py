# SPDX-License-Identifier: Apache-2.0
"""The real worker against a head in Python: the worker's side of docs/protocol.md."""

import os
import sqlite3
import time
import unittest

import msgpack

from case import SLOWER, ShoalTest
from shoal_wire import (CANCELLED, CONFIG, DONE, FAILED, LIMIT, PROTOCOL, RETURNED, UNSUPPORTED, Head,
                        Late,
                        header)


class WorkerTest(ShoalTest):
    TIMES = {}

    def setUp(self):
        super().setUp()
        self.endpoint = "ipc://%s" % self.path("head.sock")
        self.boss = Head(self.endpoint, **self.TIMES)
        self.addCleanup(lambda: self.boss.close())
        self.program = self.worker(self.endpoint, "--slots", "2")
        self.boss.welcome(10 * SLOWER)

    def source(self, tables=20):
        base = sqlite3.connect(self.path("small.db"))
        for n in range(tables):
            base.execute("CREATE TABLE IF NOT EXISTS t%03d (id INTEGER PRIMARY KEY, name TEXT)" % n)
        base.commit()
        base.close()
        return {"source": {"type": "sqlite", "serviceName": "small",
                           "serviceConnection": {"config": {"type": "SQLite",
                                                            "databaseMode": self.path("small.db")}},
                           "sourceConfig": {"config": {"type": "DatabaseMetadata"}}},
                "processor": [], "sink": {"type": "file", "config": {"filename": "x.jsonl"}},
                "sharding": {}, "dry_run": False, "lenient": False, "slots": 2}

    def actor(self, number=7, args=None, class_name="pipeline"):
        self.boss.send("ACTOR", msgpack.packb(args if args is not None else self.source()),
                       actor=number, class_name=class_name, job=number)

    def call(self, method, number, attempt=1, actor=7, credit=1 << 20, args=None, **more):
        fields = dict(call=number, attempt=attempt, actor=actor, method=method, credit=credit,
                      **more)
        if args is not None:
            fields["args"] = args
        self.boss.send("CALL", **fields)

    def result(self, number, seconds=10.0):
        """The RESULT of a call and the payloads of its batches."""
        result = self.boss.expect("RESULT", seconds * SLOWER, lambda m: m.call == number)
        mine = [m for _, m in self.boss.inbox if m.name == "BATCH" and m.call == number]
        self.boss.inbox = type(self.boss.inbox)(
            pair for pair in self.boss.inbox if pair[1] not in mine)
        self.assertEqual([b.seq for b in mine], list(range(len(mine))))
        if result.outcome == DONE:
            self.assertEqual((result.batches, result.records),
                             (len(mine), sum(b.records for b in mine)))
        return result, [b.payload for b in mine]

    def discovered(self):
        self.actor()
        self.call("check", 1)
        result, _ = self.result(1)
        self.assertEqual(result.outcome, DONE, result)
        self.assertTrue(result.detail["collected"])
        self.call("discover", 2, args={"resume": None})
        result, payloads = self.result(2)
        self.assertEqual(result.outcome, DONE, result)
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        unpacker.feed(b"".join(payloads))
        return list(unpacker)


class Registering(WorkerTest):
    TIMES = dict(heartbeat_ms=50, liveness_ms=400)

    def test_hello_says_who_the_worker_is(self):
        hello = self.boss.hello
        self.assertEqual(hello.slots, 2)
        self.assertGreaterEqual(hello.window, 2)
        self.assertIn("pipeline", hello.classes)
        self.assertIn(str(self.program.process.pid), [str(self.program.process.pid)] + [hello.name])

    #
    def test_an_idle_worker_sends_heartbeats(self):
        began = time.monotonic()
        for _ in range(5):
            self.boss.expect("HEARTBEAT", 2 * SLOWER)
        self.assertGreater(time.monotonic() - began, 0.1)

    #
    def test_a_silent_head_is_dialled_again(self):
        first, incarnation = self.boss.peer, self.boss.hello.incarnation
        self.boss.answers_heartbeats = False
        hello = self.boss.welcome(10 * SLOWER)
        self.assertNotEqual(self.boss.peer, first)
        self.assertEqual(hello.incarnation, incarnation)

    #
    def test_a_worker_that_the_head_has_forgotten_registers_again(self):
        id = self.boss.hello.id
        self.boss.send("ERROR", code=PROTOCOL, reason="who are you?", refers=4)
        self.assertEqual(self.boss.welcome(10 * SLOWER).id, id)

    #
    def test_unknown_keys_and_another_minor_version_work(self):
        self.boss.send_frames(header(4, minor=9), msgpack.packb({"news": [1, {"x": None}]}))
        self.boss.expect("HEARTBEAT")
        self.boss.expect("HEARTBEAT")
        self.assertFalse(any(m.name in ("ERROR", "HELLO") for _, m in self.boss.inbox))

    #
    def test_an_unknown_message_is_answered_and_the_worker_goes_on(self):
        self.boss.send_frames(header(999), b"\x80")
        error = self.boss.expect("ERROR")
        self.assertEqual((error.code, error.refers, error.closing), (UNSUPPORTED, 999, False))
        self.boss.expect("HEARTBEAT")

    #
    def test_a_head_that_talks_nonsense_is_told_and_left_and_dialled_again(self):
        nonsense = {
            "random": (os.urandom(8), os.urandom(30)),
            "cut": (header(12), b"\x85\xa4call"),
            "frames": (header(12), b"\x80", b"x"),
            "direction": (header(20), msgpack.packb(
                dict(seq=1, call=1, attempt=1, outcome=0))),
            "major": (header(4, major=2), b"\x80"),
            "deep": (header(4), b"\x81\xa1a" + b"\x91" * 1000000),
            "missing": (header(12), b"\x80"),
        }
        for what, frames in nonsense.items():
            with self.subTest(what):
                before = self.boss.peer
                self.boss.send_frames(*frames)
                error = self.boss.expect("ERROR", 5 * SLOWER)
                self.assertIn(error.code, (PROTOCOL, LIMIT, UNSUPPORTED))
                self.assertTrue(error.closing)
                self.boss.welcome(10 * SLOWER)
                self.assertNotEqual(self.boss.peer, before)
        self.assertIsNone(self.program.process.poll())

    #
    def test_a_frame_above_the_limit_is_refused_by_the_socket(self):
        self.boss.send_frames(header(4), b"\xc1" * ((1 << 20) + 1))
        self.boss.welcome(10 * SLOWER)


class Calling(WorkerTest):
    def test_a_whole_pipeline_runs(self):
        items = self.discovered()
        shards = [item for item in items if "shard" in item]
        self.assertTrue(shards)
        listed = [item["listed"] for item in items if "listed" in item]
        self.assertIn(20, listed)
        text, delivered = b"", 0
        for n, shard in enumerate(sorted(shards, key=lambda s: s["stage"])):
            method = {1: "prepare", 2: "map", 3: "link"}[shard["stage"]]
            self.call(method, 10 + n, args=shard.get("args"))
            result, payloads = self.result(10 + n)
            self.assertEqual(result.outcome, DONE, result)
            text += b"".join(payloads)
        self.assertEqual(text.count(b'"kind":"table"'), 20)
        self.assertTrue(text.endswith(b"\n"))
        self.call("finish", 99, args={"state": "SUCCEEDED"})
        self.assertEqual(self.result(99)[0].outcome, DONE)
        self.boss.send("DROP_ACTOR", actor=7)

    def test_a_call_of_an_unknown_actor_or_method_fails_with_a_reason(self):
        self.call("check", 1, actor=4711)
        result, _ = self.result(1)
        self.assertEqual(result.outcome, FAILED)
        self.assertNotEqual(result.reason, "")
        self.actor()
        self.call("dance", 2)
        self.assertEqual(self.result(2)[0].outcome, FAILED)
        self.actor(8, class_name="unheard_of")
        self.call("check", 3, actor=8)
        self.assertEqual(self.result(3)[0].outcome, FAILED)

    def test_arguments_that_make_no_sense_fail_with_a_reason(self):
        for n, args in enumerate(({}, 7, None, {"source": {}}, {"source": {"type": "none"}}, [[]])):
            with self.subTest(args=args):
                self.boss.send("ACTOR", msgpack.packb(args), actor=50 + n, class_name="pipeline",
                               job=1)
                self.call("check", 50 + n, actor=50 + n)
                result, _ = self.result(50 + n)
                self.assertEqual(result.outcome, FAILED, result)
                self.assertNotEqual(result.reason, "")
        self.boss.send("ACTOR", b"\xc1", actor=60, class_name="pipeline", job=1)
        self.call("check", 60, actor=60)
        self.assertEqual(self.result(60)[0].outcome, FAILED)

    #
    def test_a_bad_key_is_named(self):
        args = self.source()
        args["source"]["serviceConnection"]["config"]["colour"] = "blue"
        self.actor(args=args)
        self.call("check", 1)
        result, _ = self.result(1)
        self.assertEqual((result.outcome, result.error_class), (FAILED, CONFIG))
        self.assertEqual(result.key, "source.serviceConnection.config.colour")

    #
    def test_results_are_kept_until_acknowledged_and_sent_again_first(self):
        self.boss.acknowledges = False
        self.actor()
        self.call("check", 1)
        self.call("check", 2)
        seqs = [self.result(1)[0].seq, self.result(2)[0].seq]
        self.assertEqual(sorted(seqs), [1, 2])
        self.boss.taken = 1
        self.boss.send("ACK", seq=1)
        self.boss.send("ERROR", code=PROTOCOL, reason="who are you?", refers=4)
        self.boss.welcome(10 * SLOWER)
        again = self.boss.expect("RESULT", 10 * SLOWER)
        self.assertEqual(again.seq, 2)
        self.boss.acknowledges = True
        self.boss.taken = 2
        self.boss.send("ACK", seq=2)
        self.call("check", 3)
        self.assertEqual(self.result(3)[0].seq, 3)

    #
    def test_what_streamed_is_given_back_to_the_same_head(self):
        shards = [i for i in self.discovered() if i.get("stage") == 2]
        self.boss.acknowledges = False
        self.call("check", 10)
        self.call("map", 11, args=shards[0].get("args"))
        first = {n: self.result(n)[0] for n in (10, 11)}
        self.assertEqual((first[11].outcome, first[11].batches > 0), (DONE, True))
        self.boss.acknowledges = True
        self.boss.send("ERROR", code=PROTOCOL, reason="who are you?", refers=4)
        self.assertEqual(sorted(self.boss.welcome(10 * SLOWER).running), [[10, 1], [11, 1]])
        again = {n: self.boss.expect("RESULT", 10 * SLOWER, lambda m, n=n: m.call == n)
                 for n in (10, 11)}
        self.assertEqual([again[n].seq for n in (10, 11)], [first[n].seq for n in (10, 11)])
        self.assertEqual([again[n].outcome for n in (10, 11)], [DONE, RETURNED])
        self.assertNotEqual(again[11].reason, "")
        self.call("map", 11, attempt=2, args=shards[0].get("args"))  # the actor is still there
        self.assertEqual(self.result(11)[0].outcome, DONE)

    #
    def test_another_head_gets_neither_old_results_nor_old_actors(self):
        self.boss.acknowledges = False
        self.actor()
        self.call("check", 1)
        self.result(1)
        self.boss.id, self.boss.taken = "another-head", 0
        self.boss.send("ERROR", code=PROTOCOL, reason="who are you?", refers=4)
        self.boss.welcome(10 * SLOWER)
        self.boss.acknowledges = True
        self.boss.seen = None  # whether numbers go on or begin again is the worker's affair
        self.call("check", 2)
        result, _ = self.result(2)
        self.assertEqual(result.outcome, FAILED, "an actor of the old head was still there")
        self.assertFalse([m for _, m in self.boss.inbox if m.name == "RESULT"])

    #
    def test_no_more_is_sent_than_the_credit_and_one_batch(self):
        self.discovered_shards = [i for i in self.discovered() if i.get("stage") == 2]
        self.call("map", 10, credit=1, args=self.discovered_shards[0].get("args"))
        first = self.boss.expect("BATCH", 10 * SLOWER, lambda m: m.call == 10)
        got = len(first.payload)
        try:
            while True:
                self.boss.expect("BATCH", 0.3, lambda m: m.call == 10)
                self.fail("a second batch without credit")
        except Late:
            pass
        self.assertLessEqual(got, 1 + self.boss.times["batch_bytes"])

    #
    def test_a_cancelled_call_ends_with_a_result(self):
        shards = [i for i in self.discovered() if i.get("stage") == 2]
        self.call("map", 10, credit=0, args=shards[0].get("args"))
        self.boss.send("CANCEL", call=10, attempt=1, reason="a test")
        result, _ = self.result(10)
        self.assertIn(result.outcome, (CANCELLED, DONE))

    def test_a_cancel_of_what_is_not_there_does_nothing(self):
        self.boss.send("CANCEL", call=4711, attempt=1)
        self.boss.send("GRANT", call=4711, attempt=1, bytes=10)
        self.boss.send("DROP_ACTOR", actor=4711)
        self.actor()
        self.call("check", 1)
        self.assertEqual(self.result(1)[0].outcome, DONE)

    #
    def test_hello_names_the_calls_that_still_run(self):
        shards = [i for i in self.discovered() if i.get("stage") == 2]
        self.call("map", 10, attempt=3, credit=1, args=shards[0].get("args"))
        self.boss.expect("BATCH", 10 * SLOWER, lambda m: m.call == 10)
        self.boss.send("ERROR", code=PROTOCOL, reason="who are you?", refers=4)
        hello = self.boss.welcome(10 * SLOWER)
        if hello.running:  # it may have been the only batch
            self.assertIn([10, 3], hello.running)
            self.boss.send("GRANT", call=10, attempt=3, bytes=1 << 20)

    #
    def test_a_worker_that_is_asked_to_end_says_bye(self):
        self.boss.expect("HEARTBEAT", 10 * SLOWER)  # so it has seen its WELCOME
        self.program.process.terminate()
        self.boss.expect("BYE", 10 * SLOWER)
        self.assertEqual(self.program.process.wait(10 * SLOWER), 0)


if __name__ == "__main__":
    unittest.main()
