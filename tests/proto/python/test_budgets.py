# SPDX-License-Identifier: Apache-2.0
"""Budgets of sources and of tries after the first, docs/protocol.md 7.4."""

import time
import unittest

from case import WireTest, shard
from shoal_wire import Client, FAILED, TRANSIENT, Late

LIMIT = 3


class Budgets(WireTest):
    def started(self, worker, shards, source="db:1"):
        """Answers check, which names the source, and discover."""
        worker.result(worker.call("check"),
                      detail={"collected": True, "facts": {"source": source} if source else {}})
        worker.items(worker.call("discover"), [shard(n + 1) for n in range(shards)])

    def calls(self, worker, count):
        """Exactly so many calls come, and no more for a moment."""
        found = [worker.call("map") for _ in range(count)]
        with self.assertRaises(Late):
            worker.call("map", seconds=0.3)
        return found

    def refuse(self, worker, call):
        worker.result(call, FAILED, error_class=TRANSIENT, code=LIMIT, reason="too many connections")

    #
    def test_connections_are_bounded_over_the_jobs_of_a_source(self):
        client, worker = self.client(), self.worker(slots=8, window=8)
        one = self.submitted(client, "one", budgets=[{"connections": 3}])
        self.started(worker, 5)
        first = self.calls(worker, 3)
        two = self.submitted(client, "two")  # the bound is the source's, whoever has set it
        worker.result(worker.call("check"),
                      detail={"collected": True, "facts": {"source": "db:1"}})
        self.calls(worker, 0)
        for call in first[:2]:
            worker.lines(call, [b"x"])
        most = 1
        waiting = [first[2]]
        items = [shard(1), shard(2)]
        for _ in range(20):
            while True:
                try:
                    waiting.append(worker.call(seconds=0.1))
                except Late:
                    break
            most = max(most, len(waiting))
            if not waiting:
                break
            worker.answer(waiting.pop(0), items, lambda args: [b"x"])
        self.assertEqual(most, 3)
        self.assertEqual({client.final(one).state, client.final(two).state}, {"SUCCEEDED"})

    #
    def test_an_idle_connection_elsewhere_is_dropped_for_a_call(self):
        client, first = self.client(), self.worker("first", slots=1, window=1)
        job = self.submitted(client, budgets=[{"name": "db:1", "connections": 2}])
        first.result(first.call("check"), detail={"collected": True, "facts": {"source": "db:1"}})
        discover = first.call("discover")
        second = self.worker("second", slots=1, window=1)
        third = self.worker("third", slots=1, window=1)
        first.items(discover, [shard(n + 1) for n in range(3)])
        calls = []
        for worker in (first, second, third):
            try:
                calls.append((worker, worker.call("map", seconds=0.5)))
            except Late:
                pass
        self.assertEqual(len(calls), 2)
        for worker, call in calls:
            worker.lines(call, [b"x"])
        worker = next(w for w in (first, second, third) if w not in [c[0] for c in calls] or
                      w is calls[0][0])
        done = False
        while not done:
            for worker in (first, second, third):
                try:
                    worker.lines(worker.call("map", seconds=0.05), [b"x"])
                    done = True
                except Late:
                    pass
        for worker in (first, second, third) * 100:
            try:
                worker.result(worker.call("finish", seconds=0.05))
                break
            except Late:
                pass
        self.assertEqual(client.final(job).state, "SUCCEEDED")

    #
    def test_calls_a_second_are_bounded(self):
        client, worker = self.client(), self.worker(slots=8, window=8)
        job = self.submitted(client, budgets=[{"per_second": 10}])
        self.started(worker, 25, source=None)
        begun = time.monotonic()
        for _ in range(25):
            worker.lines(worker.call("map"), [b"x"])
        self.assertGreater(time.monotonic() - begun, 1.0)
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(job).state, "SUCCEEDED")

    #
    def test_bounds_survive_the_head(self):
        client, worker = self.client(), self.worker(slots=8, window=8)
        job = self.submitted(client, budgets=[{"name": "db:1", "connections": 2}])
        self.started(worker, 6)
        self.calls(worker, 2)
        if worker.ack < worker.seq:  # only what was acknowledged is promised
            worker.wait_for(lambda message: worker.ack >= worker.seq, 10, "the last ack")
        self.the_head.kill()
        self.beside.close()
        self.the_head = self.head(*self.FLAGS)
        self.beside = self.keep(Client(self.the_head.endpoint, id="beside"))
        client, worker = self.client("again"), self.worker(slots=8, window=8, incarnation=2)
        client.watch(job)
        waiting = self.calls(worker, 2)
        for _ in range(6):
            worker.lines(waiting.pop(0), [b"x"])
            try:
                waiting.append(worker.call("map", seconds=0.5))
            except Late:
                pass
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(job).state, "SUCCEEDED")

    #
    def test_a_source_that_refuses_is_used_less(self):
        client, worker = self.client(), self.worker(slots=8, window=8)
        job = self.submitted(client, retry={"max_attempts": 2, "backoff_ms": 1, "factor": 1})
        self.started(worker, 8)
        calls = self.calls(worker, 8)
        for call in calls[:4]:
            self.refuse(worker, call)
        self.calls(worker, 0)  # half of eight are running
        for call in calls[4:]:
            worker.lines(call, [b"x"])
        again = self.calls(worker, 4)
        self.assertEqual({call.attempt for call in again}, {2})
        self.refuse(worker, again[0])  # it has used up no attempt by that
        self.refuse(worker, again[1])
        worker.lines(again[2], [b"x"])
        worker.lines(again[3], [b"x"])
        for _ in range(2):
            worker.lines(worker.call("map"), [b"x"])
        worker.result(worker.call("finish"))
        last = client.final(job)
        self.assertEqual(last.state, "SUCCEEDED", last.detail)
        self.assertIn("db:1 refused connections", str(last.detail["warnings"]))

    #
    def test_a_source_that_refuses_the_only_call_has_failed(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client, retry={"max_attempts": 2, "backoff_ms": 1, "factor": 1})
        self.started(worker, 1)
        self.refuse(worker, worker.call("map"))
        self.refuse(worker, worker.call("map"))
        self.assertEqual(client.final(job).state, "FAILED")

    #
    def test_tries_beyond_the_budget_wait_longer(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client, retry={"max_attempts": 1000, "backoff_ms": 60, "factor": 1})
        self.started(worker, 1, source=None)
        waits = []
        for _ in range(13):
            worker.result(worker.call("map"), FAILED, error_class=TRANSIENT, code=7, reason="away")
            waits.append(time.monotonic())
        worker.lines(worker.call("map"), [b"x"])
        waits.append(time.monotonic())
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(job).state, "SUCCEEDED")
        pauses = [b - a for a, b in zip(waits, waits[1:])]
        self.assertLess(min(pauses[:10]), 0.2)
        self.assertGreater(min(pauses[-2:]), 0.29)

    def test_wrong_budgets_are_refused(self):
        client = self.client()
        for budgets in (7, [7], [{"connections": -1}], [{"per_second": 10 ** 9}],
                        [{"name": "x" * 300}], [{}] * 5):
            with self.assertRaisesRegex(Exception, "budgets"):
                self.submitted(client, "wrong", budgets=budgets)


if __name__ == "__main__":
    unittest.main()
