# SPDX-License-Identifier: Apache-2.0
"""Discovery, jobs, output and questions: docs/protocol.md sections 6.1 and 7 against the head."""

import json
import time
import unittest

import msgpack

from case import SLOWER, WireTest, shard, spec
from shoal_wire import (FAILED, FATAL, FINAL_STATES, TRANSIENT, Late)


def records_of(args):
    """The records of a shard: one for each number of its range."""
    return [json.dumps({"kind": "table", "name": "t%d" % n}).encode()
            for n in range(args["from"], args["to"])]


class WholeJob(WireTest):
    def items(self):
        """Two schemas of a database, 30 tables, in six shards behind their prepare calls."""
        yield {"scope": 2, "name": "db.public", "of": "tables"}
        yield {"scope": 3, "name": "db.sales", "of": "tables"}
        yield {"scope": 2, "listed": 20}
        yield {"scope": 3, "listed": 10}
        yield shard(1, {"from": 1000, "to": 1001}, stage=1)
        for n in range(6):
            scope = 2 if n < 4 else 3
            yield shard(10 + n, {"from": n * 5, "to": n * 5 + 5, "scope": scope}, needs=1,
                        expects=[[scope, 5]])
        yield shard(50, {"from": 2000, "to": 2002}, stage=3)
        yield {"cursor": "end"}

    def answer_shard(self, worker, call):
        lines = records_of(call.args)
        detail = {"kinds": {"table": len(lines)}}
        if "scope" in call.args:
            detail["scopes"] = [[call.args["scope"], 5, 0, 0, 0, 0]]
        worker.lines(call, lines, detail=detail)

    def test_a_whole_job_runs_stage_by_stage_and_its_books_balance(self):
        worker, client = self.worker(slots=2, window=4), self.client()
        job = self.submitted(client, args={"hello": "world"}, parallelism=2)
        methods, event = [], None
        while event is None:
            try:
                event = client.final(job, 0.001)
            except Late:
                try:
                    call = worker.call(seconds=0.02)
                except Late:
                    continue
                methods.append(call.method)
                if call.method in ("check", "discover", "finish"):
                    worker.answer(call, list(self.items()))
                else:
                    self.answer_shard(worker, call)
        self.assertEqual(methods, ["check", "discover", "prepare"] + ["map"] * 6 +
                         ["link", "finish"])
        self.assertEqual(event.state, "SUCCEEDED", event)
        detail = event.detail
        self.assertEqual(detail["records"]["successful"], 33)
        self.assertEqual(detail["records"]["by_kind"], {"table": 33})
        self.assertEqual(detail["shards"]["total"], 8)
        self.assertEqual(detail["shards"]["done"], 8)
        self.assertTrue(detail["balanced"], detail)
        books = {book["scope"]: book for book in detail["books"]}
        self.assertEqual(books["db.public"]["listed"], 20)
        self.assertEqual(books["db.sales"]["delivered"], 10)
        self.assertTrue(books["db.sales"]["complete"])
        names = [json.loads(line)["name"] for commit in self.output(client, job).values()
                 for line in commit.splitlines()]
        expected = ["t%d" % n for n in [*range(30), 1000, 2000, 2001]]
        self.assertEqual(sorted(names), sorted(expected))
        self.assertEqual(self.output_end.state, "SUCCEEDED")

    def test_the_actor_comes_with_its_arguments_and_is_dropped_at_the_end(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client, args={"a": [1, None, "é"]})
        call = worker.call("check")
        actor = worker.actors[call.actor]
        self.assertEqual(actor.class_name, "pipeline")
        self.assertEqual(actor.job, job)
        self.assertEqual(msgpack.unpackb(actor.payload), {"a": [1, None, "é"]})
        worker.answer(call)
        worker.serve(client, job)
        worker.expect("DROP_ACTOR", actor=call.actor)

    def test_map_starts_before_discovery_ends(self):
        worker, client = self.worker(slots=2, window=2), self.client()
        job = self.submitted(client)
        worker.answer(worker.call("check"))
        discover = worker.call("discover")
        worker.batch(discover, 0, msgpack.packb(shard(1, {"from": 0, "to": 3})), 1)
        worker.lines(worker.call("map"), records_of({"from": 0, "to": 3}))
        worker.result(discover, batches=1, records=1)
        event = worker.serve(client, job)
        self.assertEqual(event.detail["records"]["successful"], 3)

    def test_a_run_whose_books_do_not_balance_is_partial(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([{"scope": 1, "name": "db.public", "of": "tables"},
                          {"scope": 1, "listed": 5}, shard(1, expects=[[1, 5]])])
        worker.lines(worker.call("map"), [b"{}"] * 4, detail={"scopes": [[1, 4, 0, 0, 0, 0]]})
        event = worker.serve(client, job)
        self.assertEqual(event.state, "PARTIAL")
        self.assertFalse(event.detail["balanced"])
        self.assertEqual(event.detail["books"][0]["scope"], "db.public")

    def test_filtered_and_vanished_members_are_accounted_for(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([{"scope": 1, "name": "db.public", "of": "tables"},
                          {"scope": 1, "listed": 9}, {"scope": 1, "filtered": 2},
                          shard(1, expects=[[1, 7]])])
        worker.lines(worker.call("map"), [b"{}"] * 4, detail={"scopes": [[1, 4, 2, 1, 0, 0]]})
        event = worker.serve(client, job)
        self.assertEqual(event.state, "SUCCEEDED", event)
        book = event.detail["books"][0]
        self.assertEqual((book["listed"], book["delivered"], book["filtered"], book["vanished"]),
                         (9, 4, 4, 1))

    def test_a_scope_that_could_not_be_listed_makes_the_run_partial(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([{"scope": 1, "name": "db.secret", "of": "tables"},
                          {"scope": 1, "failed": "permission denied", "class": 4, "code": 6},
                          shard(1)])
        event = worker.serve(client, job, lines=lambda args: [b"{}"])
        self.assertEqual(event.state, "PARTIAL", event)
        self.assertIn("permission denied", str(event.detail["errors"]))

    def test_a_dead_prerequisite_takes_its_shards_with_it(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1, stage=1), shard(2, needs=1), shard(3)])
        event, seen = None, []
        while event is None:
            try:
                event = client.final(job, 0.001)
            except Late:
                try:
                    call = worker.call(seconds=0.02)
                except Late:
                    continue
                seen.append(call.args)
                if call.method == "prepare":
                    worker.result(call, FAILED, error_class=4, code=6, reason="no right to enter")
                else:
                    worker.answer(call)
        self.assertNotIn({"n": 2}, seen)
        self.assertEqual(event.state, "PARTIAL")
        self.assertEqual(event.detail["shards"]["dead"], 2)

    def test_a_dead_prerequisite_takes_shards_of_the_stage_link_with_it(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1, stage=1), shard(2, stage=3, needs=1), shard(3),
                          shard(4, stage=3)])
        prepare = worker.call("prepare")
        worker.result(prepare, FAILED, error_class=FATAL, code=7, reason="no")
        worker.answer(worker.call("map"))
        link = worker.call("link")
        self.assertEqual(link.args, {"n": 4})
        worker.answer(link)
        event = worker.serve(client, job)
        self.assertEqual((event.state, event.detail["shards"]["dead"]), ("PARTIAL", 2))

    #
    def test_a_shard_that_crashes_its_worker_takes_no_other_with_it(self):
        def start(process):
            return self.worker("crasher", slots=2, window=4, incarnation=process, last_exit={
                "incarnation": process - 1, "pid": 1, "signal": 11} if process > 1 else None)

        worker, client, processes, out, event = start(1), self.client(), 1, [], None
        job = self.submitted(client)
        worker.start_job([shard(n, cost=50000) for n in range(1, 5)])
        while event is None:
            try:
                event = client.final(job, 0.001)
                continue
            except Late:
                pass
            try:
                out.append(worker.call(seconds=0.4))
                continue
            except Late:
                pass
            if any(call.args == {"n": 2} for call in out[:2]):
                processes += 1
                worker, out = start(processes), []
            elif out:
                worker.answer(out.pop(0))
        self.assertEqual((event.state, processes), ("PARTIAL", 4))  # twice, then alone
        self.assertEqual(event.detail["shards"]["dead"], 1, event.detail["errors"])
        self.assertEqual(event.detail["shards"]["done"], 3)

    #
    def test_a_new_attempt_of_discover_goes_on_from_the_cursor(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.answer(worker.call("check"))
        first = worker.call("discover")
        self.assertIsNone((first.args or {}).get("resume"))
        items = [{"scope": 1, "name": "s"}, shard(1), {"cursor": {"after": 1}}, shard(2)]
        worker.batch(first, 0, b"".join(map(msgpack.packb, items)), len(items))
        worker.result(first, FAILED, error_class=TRANSIENT, code=7, reason="gone", batches=1,
                      records=len(items))
        maps, second = [], None
        while second is None:
            call = worker.call()
            if call.method == "discover":
                second = call
            else:
                maps.append(call.args)
                worker.answer(call)
        self.assertEqual(second.args["resume"], {"after": 1})
        again = [{"scope": 1, "name": "s"}, shard(2), shard(3), {"scope": 1, "listed": 0}]
        worker.items(second, again)
        event = None
        while event is None:
            try:
                event = client.final(job, 0.001)
            except Late:
                try:
                    call = worker.call(seconds=0.02)
                except Late:
                    continue
                if call.method == "map":
                    maps.append(call.args)
                worker.answer(call)
        self.assertEqual(sorted(a["n"] for a in maps), [1, 2, 3])
        self.assertEqual(event.detail["shards"]["total"], 3)

    #
    def test_what_a_new_attempt_of_discover_says_again_is_not_filtered_twice(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.answer(worker.call("check"))
        first = worker.call("discover")
        part = [{"scope": 2, "name": "b"}, {"scope": 2, "filtered": 3}]
        items = [{"scope": 1, "name": "a"}, {"scope": 1, "filtered": 2}, {"cursor": 1}, *part]
        worker.batch(first, 0, b"".join(map(msgpack.packb, items)), len(items))
        worker.result(first, FAILED, error_class=TRANSIENT, code=7, reason="gone", batches=1,
                      records=len(items))
        worker.items(worker.call("discover"), [*part, {"scope": 2, "listed": 3}, {"cursor": 2},
                                               {"scope": 1, "filtered": 4},
                                               {"scope": 1, "listed": 6}])
        event = worker.serve(client, job)
        self.assertTrue(event.detail["balanced"], event.detail)
        self.assertEqual(event.detail["records"]["filtered"], 9)

    #
    def test_a_shard_above_its_limit_fails_the_job_with_a_reason(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.answer(worker.call("check"))
        event = worker.serve(client, job, [shard(1, "x" * 70000)])
        self.assertEqual(event.state, "FAILED", event)
        self.assertNotEqual(event.detail["errors"], [])

    def test_items_that_cannot_be_read_fail_the_job_with_a_reason(self):
        for n, bad in enumerate((b"\xc1", b"\x81", b"\x90", msgpack.packb({"shard": "one"}),
                                 msgpack.packb({"shard": 1, "stage": 9}),
                                 b"\x91" * 100000)):
            with self.subTest(bad=bad[:20]):
                worker, client = self.worker("w%d" % n), self.client("c%d" % n)
                job = self.submitted(client, "bad %d" % n,
                                     retry={"max_attempts": 1, "backoff_ms": 1, "factor": 1})
                worker.answer(worker.call("check"))
                discover = worker.call("discover")
                worker.batch(discover, 0, bad, 1)
                worker.result(discover, batches=1, records=1)
                event = worker.serve(client, job)
                self.assertIn(event.state, ("FAILED", "PARTIAL"))
                worker.send("BYE")  # the next job must not find this worker
                while any(known["id"] == "w%d" % n and known["state"] == "alive"
                          for known in client.ask("workers")):
                    pass
                worker.close()

    def test_a_plan_reads_nothing_and_lists_the_shards(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client, plan_only=True)
        methods = []
        event = None
        while event is None:
            try:
                event = client.final(job, 0.001)
            except Late:
                try:
                    call = worker.call(seconds=0.02)
                except Late:
                    continue
                methods.append(call.method)
                worker.answer(call, list(self.items()))
        self.assertEqual([m for m in methods if m != "finish"], ["check", "discover"])
        self.assertEqual(event.state, "SUCCEEDED")
        self.assertEqual(sorted(row["shard"] for row in event.detail["plan"]),
                         [1, 10, 11, 12, 13, 14, 15, 50])

    def test_a_limited_job_runs_one_map_call_at_a_time_and_stops(self):
        worker, client = self.worker(slots=4, window=8), self.client()
        job = self.submitted(client, limit=7)
        worker.start_job([shard(n, {"from": n * 5, "to": n * 5 + 5}) for n in range(1, 5)])
        left = 7
        while left:
            call = worker.call("map")
            with self.assertRaises(Late):
                worker.call("map", 0.05)
            self.assertEqual(call.limit, left)
            lines = records_of(call.args)[:left]
            worker.lines(call, lines, detail={"kinds": {"table": len(lines)}})
            left -= len(lines)
        event = worker.serve(client, job)
        self.assertEqual(event.detail["records"]["successful"], 7)
        self.assertTrue(event.detail["limited"])

    def test_nothing_is_read_beyond_the_limit_when_finish_is_tried_again(self):
        worker, client = self.worker(slots=4, window=8), self.client()
        job = self.submitted(client, limit=5)
        worker.start_job([shard(n) for n in range(1, 5)])
        worker.lines(worker.call("map"), [b"{}"] * 5)
        finish = worker.call()
        self.assertEqual(finish.method, "finish")
        worker.result(finish, FAILED, error_class=TRANSIENT, code=7, reason="gone")
        again = worker.call(seconds=5.0)
        self.assertEqual(again.method, "finish")
        worker.answer(again)
        event = client.final(job)
        self.assertEqual((event.state, event.detail["records"]["successful"]), ("SUCCEEDED", 5))

    def test_a_job_that_nobody_can_run_says_what_it_waits_for(self):
        client = self.client()
        job = client.submit(spec(**{"class": "unheard_of"}), "waits")
        self.worker("other class")
        client.watch(job)
        event = client.wait_for(lambda m: m.name == "EVENT" and (m.detail or {}).get("wait"), 5)
        self.assertIn("unheard_of", event.detail["wait"])
        client.send("STOP", request=client.request(), job=job)
        self.assertEqual(client.final(job).state, "STOPPED")


class Times(WireTest):
    def test_a_job_that_takes_too_long_has_failed_and_says_so(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client, timeout_ms=400)
        waits = client.submit(spec(timeout_ms=400, **{"class": "unheard_of"}), "waits")
        client.watch(waits)
        worker.start_job([shard(1)])
        call = worker.call("map")
        worker.expect("CANCEL", 5 * SLOWER, call=call.call, attempt=call.attempt)
        for one in (job, waits):
            event = client.final(one)
            self.assertEqual(event.state, "FAILED")
            self.assertIn("timeoutSeconds", str(event.detail["errors"]))

    def test_a_shard_that_takes_too_long_is_cancelled_and_tried_again(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client, shard_timeout_ms=300)
        worker.start_job([shard(1)])
        first = worker.call("map")
        worker.expect("CANCEL", 5 * SLOWER, call=first.call, attempt=first.attempt)
        second = worker.call("map")
        self.assertGreater(second.attempt, first.attempt)
        worker.lines(first, [b'{"late":1}'])
        worker.lines(second, [b'{"good":1}'])
        event = worker.serve(client, job)
        self.assertEqual((event.state, event.detail["shards"]["retried"]), ("SUCCEEDED", 1))
        self.assertEqual(b"".join(self.output(client, job).values()), b'{"good":1}\n')

    #
    def test_what_a_lost_worker_may_still_write_waits(self):
        worker, client = self.worker("writer", slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.result(worker.call("check"), detail={"collected": False, "write_ms": 1500})
        worker.answer(worker.call("discover"), [shard(1)])
        call = worker.call("map")
        began = time.monotonic()
        anew = self.worker("writer", slots=1, window=1, incarnation=2)  # its process has ended
        again = anew.call("map", 10 * SLOWER)
        self.assertGreater(again.attempt, call.attempt)
        self.assertGreater(time.monotonic() - began, 1.4)
        anew.answer(again)
        self.assertEqual(anew.serve(client, job).state, "SUCCEEDED")


class Jobs(WireTest):
    #
    def test_a_submit_again_gets_the_first_answer(self):
        client = self.client()
        first = client.submit(spec(), "the same")
        self.assertEqual(client.submit(spec(name="another"), "the same"), first)
        self.assertEqual(self.client("other").submit(spec(), "the same"), first)
        self.assertNotEqual(client.submit(spec(), "not the same"), first)

    #
    def test_watch_answers_at_once_and_the_last_event_is_final(self):
        worker, client = self.worker(), self.client()
        job = client.submit(spec(), "watched")
        client.watch(job)
        first = client.expect("EVENT", job=job)
        self.assertIn(first.state, ("PENDING", "RUNNING"))
        event = worker.serve(client, job)
        self.assertEqual(event.state, "SUCCEEDED")
        for key in ("stage", "shards", "records", "commits", "seconds", "errors", "warnings",
                    "books", "balanced", "scopes"):
            self.assertIn(key, event.detail)
        client.inbox.clear()
        with self.assertRaises(Late):
            client.expect("EVENT", 0.2, job=job)
        late = self.client("late")
        late.watch(job)
        self.assertEqual(late.final(job).state, "SUCCEEDED")

    #
    def test_events_come_at_most_ten_times_a_second(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in range(1, 200)])
        worker.serve(client, job, lines=lambda args: [b"{}"])
        events = [m for m in client.inbox if m.name == "EVENT"]
        seconds = events[-1].detail["seconds"] if events else 0
        self.assertLessEqual(len(events), 10 + 10 * (seconds + 1))

    def test_what_does_not_exist_is_answered_with_the_request(self):
        client = self.client()
        for name, more in (("WATCH", {}), ("STOP", {}),
                           ("OUTPUT", {"from": 1, "credit": 1000})):
            with self.subTest(name):
                request = client.request()
                client.send(name, request=request, job=4711, **more)
                error = client.expect("ERROR", request=request)
                self.assertFalse(error.closing)
                self.assertEqual(error.code, 4)

    def test_a_specification_that_cannot_be_read_is_refused_and_told(self):
        client = self.client()
        whole = msgpack.packb(spec())
        bad = [whole[:n] for n in range(len(whole))]
        bad += [b"\x91" * 100000, msgpack.packb(7), msgpack.packb({"name": 3}),
                msgpack.packb(spec(parallelism="many")), msgpack.packb(spec(weight=1000)),
                msgpack.packb(spec(name="x" * 1000))]
        for n, payload in enumerate(bad):
            with self.subTest(n=n, payload=payload[:30]):
                request = client.request()
                client.send("SUBMIT", payload, request=request, id="bad %d" % n)
                error = client.wait_for(lambda m: m.name in ("ERROR", "ACCEPTED"), 5)
                self.assertEqual(error.name, "ERROR", payload[:30])
                self.assertEqual(error.request, request)
                if error.closing:
                    client = self.client("again %d" % n)
        self.assertTrue(client.is_answered() or client.is_dropped())

    #
    def test_output_is_resumed_by_commit_number_on_any_connection(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n, {"from": n, "to": n + 1}) for n in range(1, 6)])
        worker.serve(client, job, lines=records_of)
        whole = self.output(client, job)
        self.assertEqual(list(whole), list(range(1, len(whole) + 1)))
        self.assertEqual(self.output_end.commits, len(whole))
        second = self.client("second")
        rest = self.output(second, job, start=3)
        self.assertEqual(rest, {n: whole[n] for n in whole if n >= 3})
        self.assertEqual(self.output(second, job, start=len(whole) + 1), {})

    #
    def test_a_commit_without_output_has_one_empty_piece(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        worker.serve(client, job)
        for payload in self.output(client, job).values():
            self.assertEqual(payload, b"")

    #
    def test_output_stays_within_the_credit(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        for seq in range(20):
            worker.batch(call, seq, b"%-1000d\n" % seq, 1)
        worker.result(call, batches=20, records=20)
        worker.serve(client, job)
        reader = self.client("reader")
        reader.send("OUTPUT", **{"request": 1, "job": job, "from": 1, "credit": 3000})
        taken = [reader.expect("PIECE")]
        while True:
            try:
                taken.append(reader.expect("PIECE", 0.2))
            except Late:
                break
        got = sum(len(p.payload) for p in taken)
        self.assertLessEqual(got, 3000 + 1001)
        self.assertGreater(got, 1000)
        while not taken[-1].last:
            reader.send("TAKEN", job=job, commit=taken[-1].commit - 1,
                        bytes=len(taken[-1].payload))
            taken.append(reader.expect("PIECE"))
        self.assertEqual(len(taken), 20 + taken[-1].commit - 1)

    def test_a_job_without_collect_has_no_output(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client, collect=False)
        self.assertEqual(worker.serve(client, job).state, "SUCCEEDED")

    #
    def test_questions_are_answered(self):
        worker, client = self.worker("asked", slots=3, window=5), self.client()
        job = self.submitted(client, "by name")
        head = client.ask("head")
        self.assertEqual(head["head"], client.welcome.head)
        self.assertEqual((head["workers"], head["slots"]), (1, 3))
        rows = client.ask("workers")
        self.assertEqual([(w["id"], w["slots"], w["window"]) for w in rows], [("asked", 3, 5)])
        self.assertEqual([j["id"] for j in client.ask("jobs")], ["by name"])
        for name in (str(job), "by name"):
            self.assertEqual(client.ask("job", id=name)["job"], job)
        request = client.request()
        client.send("ASK", request=request, what="weather")
        self.assertEqual(client.expect("ERROR", request=request).code, 4)
        self.assertIn(worker.serve(client, job).state, FINAL_STATES)

    def test_two_jobs_share_the_slots(self):
        worker, client = self.worker(slots=2, window=2), self.client()
        jobs = [self.submitted(client, "job %d" % n) for n in range(2)]
        for _ in jobs:
            worker.answer(worker.call("check"))
        many = [shard(n) for n in range(1, 21)]
        for _ in jobs:
            worker.answer(worker.call("discover"), many)
        order = []
        while len(order) < 20:
            call = worker.call("map")
            order.append(worker.actors[call.actor].job)
            worker.lines(call, [b"{}"])
        for job in jobs:
            self.assertGreaterEqual(order.count(job), 6, "%r is not fair" % order)
            client.send("STOP", request=client.request(), job=job)


if __name__ == "__main__":
    unittest.main()
