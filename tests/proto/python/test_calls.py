# SPDX-License-Identifier: Apache-2.0
"""Liveness, leases and calls: docs/protocol.md sections 5 and 6 against the real head."""

import time
import unittest

from case import SLOWER, WireTest, shard
from programs import wait_until
from shoal_wire import (CANCELLED, CONFIG, FAILED, PROTOCOL, RETURNED, TRANSIENT, Late)


class CallsTest(WireTest):
    def drained(self, peer, seconds=0.15):
        """No CALL comes within that time."""
        with self.assertRaises(Late):
            peer.call(seconds=seconds)

    def finish(self, worker, client, job, seconds=20.0):
        return worker.serve(client, job, lines=lambda args: [b"{}"], seconds=seconds)


class Liveness(CallsTest):
    FLAGS = ("--heartbeat-ms", "50", "--liveness-ms", "400", "--lease-ms", "60000")

    def beat(self, *peers):
        for peer in peers:
            peer.send("HEARTBEAT")

    #
    def test_every_heartbeat_is_answered_with_the_acknowledgement(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([])

        def is_settled():
            worker.heartbeat()
            return worker.expect("HEARTBEAT").ack == worker.seq
        wait_until(is_settled)  # once both results are durable
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")

    #
    def test_a_silent_worker_gets_nothing_new_and_then_loses_its_calls(self):
        silent, client = self.worker("silent", slots=1, window=1), self.client()
        job = self.submitted(client)
        silent.start_job([shard(1)])
        first = silent.call("map")
        other = self.worker("other", slots=1, window=1)
        began = time.monotonic()
        while time.monotonic() - began < 5 * SLOWER:
            self.beat(other, client, self.beside)
            try:
                again = other.call("map", seconds=0.05)
                break
            except Late:
                continue
        else:
            self.fail("the call of a silent worker was not given out again")
        self.assertEqual(again.call, first.call)
        self.assertGreater(again.attempt, first.attempt)
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        other.lines(again, [b"{}"])
        while True:  # keep both sides alive while the job ends
            self.beat(other, client, self.beside)
            try:
                event = client.final(job, 0.02)
                break
            except Late:
                try:
                    other.answer(other.call(seconds=0.02))
                except Late:
                    pass
        self.assertEqual(event.state, "SUCCEEDED")

    #
    def test_a_suspect_worker_gets_no_new_calls(self):
        suspect, client = self.worker("suspect"), self.client()
        states = []
        while not states or states[-1] in ("alive", "suspect"):
            states += [w["state"] for w in self.beside.ask("workers")] or ["lost"]
            if states[-1] == "suspect" and "suspect" not in states[:-1]:
                self.submitted(client, "late")
            self.beat(client)
        self.assertEqual(sorted(set(states), key=states.index), ["alive", "suspect", "lost"])
        self.drained(suspect, 0)


class Leases(CallsTest):
    FLAGS = ("--heartbeat-ms", "50", "--liveness-ms", "60000", "--lease-ms", "300")

    #
    def test_a_call_without_progress_is_fenced_and_given_out_again(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        first = worker.call("map")
        for _ in range(3):
            worker.heartbeat((first.call, first.attempt, 0))  # alive, but it does not move
        cancel = worker.expect("CANCEL", 5 * SLOWER)
        self.assertEqual((cancel.call, cancel.attempt), (first.call, first.attempt))
        second = worker.call("map", 5 * SLOWER)
        self.assertEqual(second.call, first.call)
        self.assertGreater(second.attempt, first.attempt)
        # what the fenced attempt still sends is acknowledged and dropped
        worker.lines(first, [b'{"late":1}'])
        worker.lines(second, [b'{"good":1}'])
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(list(self.output(client, job).values()), [b'{"good":1}\n'])

    #
    def test_growing_progress_or_a_batch_renews_the_lease(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        began, turn = time.monotonic(), 0
        while time.monotonic() - began < 1.0:
            turn += 1
            if turn % 2:
                worker.heartbeat((call.call, call.attempt, turn))
            else:
                worker.batch(call, turn // 2 - 1, b"{}\n", 1)
            with self.assertRaises(Late):
                worker.expect("CANCEL", 0.1)
        worker.result(call, batches=turn // 2, records=turn // 2)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")


class Calls(CallsTest):
    #
    def test_no_more_calls_are_out_than_the_window(self):
        worker, client = self.worker(slots=2, window=2), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in range(1, 7)])
        out = [worker.call("map"), worker.call("map")]
        self.drained(worker)
        worker.lines(out[0], [b"{}"])
        worker.call("map")
        self.drained(worker)
        worker.lines(out[1], [b"{}"])
        self.assertTrue(worker.call("map"))
        client.send("STOP", request=client.request(), job=job)

    #
    def test_small_calls_count_as_a_sixteenth(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n, cost=10) for n in range(1, 65)])
        out = [worker.call("map")]
        while True:
            try:
                out.append(worker.call("map", 0.2))
            except Late:
                break
        self.assertGreater(len(out), 1, "small calls came one by one")
        self.assertLessEqual(len(out), 32)
        client.send("STOP", request=client.request(), job=job)

    #
    def test_a_window_of_zero_stops_the_calls_and_a_new_one_starts_them(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        worker.send("WINDOW", calls=0)
        worker.heartbeat()
        worker.expect("HEARTBEAT")
        job = self.submitted(client)
        self.drained(worker)
        worker.send("WINDOW", calls=1)
        self.assertEqual(worker.call().method, "check")
        client.send("STOP", request=client.request(), job=job)

    #
    def test_what_nobody_asked_for_is_acknowledged_and_dropped(self):
        worker = self.worker()
        for call, attempt in ((999, 1), (1, 77), (0, 0)):
            worker.send("BATCH", b"{}\n", call=call, attempt=attempt, seq=0, records=1)
            worker.seq += 1
            worker.send("RESULT", seq=worker.seq, call=call, attempt=attempt, outcome=0,
                        batches=1, records=1)
        worker.heartbeat()
        self.assertEqual(worker.expect("HEARTBEAT").ack, worker.seq)
        self.assertFalse(worker.is_dropped(0))

    #
    def test_results_kept_over_a_reconnect_are_taken_once(self):
        worker, client = self.worker("again", slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        worker.lines(call, [b'{"once":1}'])
        worker.wait_for(lambda m: m.name in ("ACK", "CALL", "HEARTBEAT"), 5)
        worker.kept.append(dict(seq=worker.seq, call=call.call, attempt=call.attempt, outcome=0,
                                batches=1, records=1))  # as if the acknowledgement had been lost
        anew = self.worker("again", slots=1, window=1, results=worker)
        self.assertEqual(self.finish(anew, client, job).state, "SUCCEEDED")
        self.assertEqual(b"".join(self.output(client, job).values()), b'{"once":1}\n')

    #
    def test_the_same_process_keeps_its_running_calls_over_a_reconnect(self):
        worker, client = self.worker("same", slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        anew = self.worker("same", slots=1, window=1, incarnation=1,
                           running=[[call.call, call.attempt]], results=worker)
        anew.lines(call, [b'{"kept":1}'])
        self.assertEqual(self.finish(anew, client, job).state, "SUCCEEDED")
        self.assertEqual(b"".join(self.output(client, job).values()), b'{"kept":1}\n')

    #
    def test_what_had_streamed_is_given_back_and_counts_for_nothing(self):
        worker, client = self.worker("same", slots=1, window=1), self.client()
        job = self.submitted(client, retry={"max_attempts": 1, "backoff_ms": 1, "factor": 1})
        worker.start_job([shard(1)])
        call = worker.call("map")
        worker.batch(call, 0, b'{"half":1}\n', 1)
        worker.kept.append(dict(seq=worker.seq + 1, call=call.call, attempt=call.attempt,
                                outcome=0, batches=1, records=1))  # it never went out
        worker.seq += 1
        anew = self.worker("same", slots=1, window=1, incarnation=1, results=worker)
        again = anew.call("map")
        self.assertGreater(again.attempt, call.attempt)
        anew.lines(again, [b'{"whole":1}'])
        event = self.finish(anew, client, job)
        self.assertEqual((event.state, event.detail["shards"]["retried"]), ("SUCCEEDED", 0))
        self.assertEqual(b"".join(self.output(client, job).values()), b'{"whole":1}\n')

    #
    def test_another_process_of_the_same_worker_has_lost_them(self):
        worker, client = self.worker("same", slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        anew = self.worker("same", slots=1, window=1, incarnation=2)
        again = anew.call("map")
        self.assertEqual(again.call, call.call)
        self.assertGreater(again.attempt, call.attempt)
        anew.lines(again, [b"{}"])
        self.assertEqual(self.finish(anew, client, job).state, "SUCCEEDED")

    #
    def test_calls_that_the_same_process_does_not_name_are_lost(self):
        worker, client = self.worker("same", slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        anew = self.worker("same", slots=1, window=1, incarnation=1, results=worker)
        again = anew.call("map")
        self.assertGreater(again.attempt, call.attempt)
        anew.lines(again, [b"{}"])
        self.assertEqual(self.finish(anew, client, job).state, "SUCCEEDED")

    #
    def test_the_calls_of_a_worker_that_says_bye_are_given_to_another(self):
        worker, client = self.worker("leaving", slots=1, window=1), self.client()
        job = self.submitted(client, retry={"max_attempts": 1, "backoff_ms": 1, "factor": 1})
        worker.start_job([shard(1)])
        call = worker.call("map")
        other = self.worker("staying", slots=1, window=1)
        worker.send("BYE", reason="a test")
        self.assertEqual(other.call("map").call, call.call)
        client.send("STOP", request=client.request(), job=job)

    #
    def test_a_worker_that_a_client_drains_gets_no_calls_and_is_told_again(self):
        worker, client = self.worker("old", slots=1, window=2, name="the old one"), self.client()
        job = self.submitted(client, retry={"max_attempts": 1, "backoff_ms": 1, "factor": 1})
        worker.start_job([shard(1), shard(2)])
        call = worker.call("map")
        request = client.request()
        client.send("DRAIN", request=request, worker="the old one", drain_ms=5000)
        reply = client.expect("REPLY", request=request).body
        self.assertEqual((reply["id"], reply["name"], reply["running"]), ("old", "the old one", 1))
        self.assertEqual(worker.expect("DRAIN").drain_ms, 5000)
        self.assertEqual([w["state"] for w in client.ask("workers")], ["draining"])
        self.drained(worker)
        anew = self.worker("old", slots=1, window=2, running=[[call.call, call.attempt]],
                           results=worker)
        self.assertEqual(anew.expect("DRAIN").drain_ms, 5000)
        self.drained(anew)
        fresh = self.worker("fresh", slots=1, window=1)
        anew.send("WINDOW", calls=0)
        anew.result(call, RETURNED)
        anew.send("BYE")
        event = self.finish(fresh, client, job)
        self.assertEqual((event.state, event.detail["shards"]["retried"]), ("SUCCEEDED", 0))
        late = self.worker("old", slots=1, window=2, incarnation=2)  # it has left, and may come
        late.heartbeat()
        late.expect("HEARTBEAT")
        self.assertEqual(len([w for w in client.ask("workers") if w["state"] == "alive"]), 2)

    #
    def test_a_drain_needs_one_worker(self):
        client = self.client()
        self.worker("1234abc", name="twin")
        self.worker("1234abd", name="twin")
        for text, code in (("nobody", 6), ("123", 6), ("twin", 1), ("1234ab", 1)):
            request = client.request()
            client.send("DRAIN", request=request, worker=text)
            error = client.expect("ERROR", request=request)
            self.assertFalse(error.closing)
            self.assertIn(text, error.reason)
        request = client.request()
        client.send("DRAIN", request=request, worker="1234abd")
        self.assertEqual(client.expect("REPLY", request=request).body["id"], "1234abd")

    #
    def test_a_result_that_disagrees_with_its_batches_fails_the_attempt(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        for batches, records in ((2, 1), (1, 2)):
            call = worker.call("map")
            worker.batch(call, 0, b'{"bad":1}\n', 1)
            worker.result(call, batches=batches, records=records)
        last = worker.call("map")
        self.assertEqual(last.call, call.call)
        worker.lines(last, [b'{"good":1}'])
        event = self.finish(worker, client, job)
        self.assertEqual(event.state, "SUCCEEDED")
        self.assertEqual(event.detail["shards"]["retried"], 2)
        self.assertEqual(b"".join(self.output(client, job).values()), b'{"good":1}\n')

    #
    def test_a_gap_in_the_batches_fails_the_attempt(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        worker.batch(call, 0, b"{}\n", 1)
        worker.batch(call, 2, b"{}\n", 1)
        worker.result(call, batches=2, records=2)
        again = worker.call("map")
        self.assertGreater(again.attempt, call.attempt)
        worker.lines(again, [b"{}"])
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")

    #
    def test_overdrawn_credit_costs_the_connection(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        self.assertGreater(call.credit, 0)
        payload = b"x" * worker.welcome.batch_bytes
        for seq in range(1000):  # 250 MB without waiting for any GRANT: it cannot be granted all
            worker.batch(call, seq, payload, 1)
            if worker.is_dropped(0):
                break
        self.assertTrue(worker.is_dropped() or seq < 999, "credit does not matter")
        other = self.worker("other", slots=1, window=1)
        again = other.call("map")
        self.assertGreater(again.attempt, call.attempt)
        other.lines(again, [b"{}"])
        self.assertEqual(self.finish(other, client, job).state, "SUCCEEDED")
        self.assertEqual(list(self.output(client, job).values()), [b"{}\n"])

    #
    def test_grants_follow_what_was_sent(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        room, sent, seq, whole = call.credit, 0, 0, 8 * call.credit
        payload = b"y" * min(65536, worker.welcome.batch_bytes)
        while sent < whole:
            if room < len(payload):
                room += worker.expect("GRANT", call=call.call, attempt=call.attempt).bytes
                continue
            worker.batch(call, seq, payload, 1)
            seq, sent, room = seq + 1, sent + len(payload), room - len(payload)
        worker.result(call, batches=seq, records=seq)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(sum(map(len, self.output(client, job).values())), sent)

    #
    def test_a_large_record_travels_in_chunks(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        record = b'{"text":"' + b"z" * 1000000 + b'"}\n'
        size, room = worker.welcome.batch_bytes, call.credit
        chunks = [record[i:i + size] for i in range(0, len(record), size)]
        for seq, chunk in enumerate(chunks):
            while room <= 0:
                room += worker.expect("GRANT").bytes
            is_last = seq == len(chunks) - 1
            worker.batch(call, seq, chunk, 1 if is_last else 0, more=not is_last)
            room -= len(chunk)
        worker.result(call, batches=len(chunks), records=1)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(b"".join(self.output(client, job).values()), record)

    #
    def test_a_stopped_job_cancels_its_calls_and_keeps_what_is_committed(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1), shard(2)])
        worker.lines(worker.call("map"), [b'{"first":1}'])
        second = worker.call("map")
        worker.batch(second, 0, b'{"second":1}\n', 1)
        client.send("STOP", request=client.request(), job=job, reason="a test")
        cancel = worker.expect("CANCEL")
        self.assertEqual((cancel.call, cancel.attempt), (second.call, second.attempt))
        worker.result(second, CANCELLED, batches=1, records=1)
        self.assertEqual(self.finish(worker, client, job).state, "STOPPED")
        self.assertEqual(b"".join(self.output(client, job).values()), b'{"first":1}\n')

    #
    def test_the_head_does_not_wait_for_a_cancelled_call(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        worker.call("map")
        client.send("STOP", request=client.request(), job=job)
        self.assertEqual(client.final(job).state, "STOPPED")

    #
    def test_batches_of_an_attempt_become_visible_all_or_not_at_all(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        reader = self.client("reader")
        reader.send("OUTPUT", **{"request": 1, "job": job, "from": 1, "credit": 1 << 20})
        first = worker.call("map")
        worker.batch(first, 0, b'{"lost":1}\n', 1)
        worker.heartbeat()
        worker.expect("HEARTBEAT")  # the head has seen the batch
        with self.assertRaises(Late):
            reader.expect("PIECE", 0.1)
        worker.result(first, FAILED, error_class=TRANSIENT, code=10, reason="a test", batches=1,
                      records=1)
        second = worker.call("map")
        worker.batch(second, 0, b'{"a":1}\n', 1)
        worker.batch(second, 1, b'{"b":1}\n', 1)
        worker.result(second, batches=2, records=2)
        pieces = [reader.expect("PIECE"), reader.expect("PIECE")]
        self.assertEqual([p.payload for p in pieces], [b'{"a":1}\n', b'{"b":1}\n'])
        self.assertEqual([(p.commit, p.index, p.last) for p in pieces],
                         [(pieces[0].commit, 0, False), (pieces[0].commit, 1, True)])
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")

    #
    def test_a_transient_failure_is_tried_again_until_the_attempts_are_used_up(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1), shard(2)])
        attempts = []
        other = []
        while len(attempts) < 3:
            call = worker.call("map")
            if call.args == {"n": 1}:
                attempts.append(call.attempt)
                worker.result(call, FAILED, error_class=TRANSIENT, code=7, reason="down again")
            else:
                other.append(call)
                worker.lines(call, [b"{}"])
        self.assertEqual(attempts, sorted(set(attempts)))
        event = self.finish(worker, client, job)
        self.assertEqual(event.state, "PARTIAL")
        self.assertEqual(event.detail["shards"]["dead"], 1)
        self.assertIn("down again", str(event.detail["errors"]))

    #
    def test_a_config_failure_ends_the_job_at_once_and_names_the_key(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.result(worker.call("check"), FAILED, error_class=CONFIG, code=6,
                      reason="wrong password", key="source.serviceConnection.config.password")
        event = client.final(job)
        self.assertEqual(event.state, "FAILED")
        error = event.detail["errors"][0]
        self.assertEqual(error["key"], "source.serviceConnection.config.password")
        self.assertIn("wrong password", error["message"])

    #
    def test_a_call_given_back_is_not_counted_as_an_attempt(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client, retry={"max_attempts": 1, "backoff_ms": 1, "factor": 1})
        worker.start_job([shard(1)])
        for _ in range(3):
            worker.result(worker.call("map"), RETURNED)
        worker.lines(worker.call("map"), [b"{}"])
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")


if __name__ == "__main__":
    unittest.main()
