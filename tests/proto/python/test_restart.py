# SPDX-License-Identifier: Apache-2.0
"""A head that is killed and started again on the same state (docs/protocol.md, R-4.5, R-6.3,
R-6.12, R-7.1, R-7.8): what was accepted goes on, what was told stays true."""

import resource
import time
import unittest

import msgpack

from case import WireTest, shard, spec
from programs import wait_until
from shoal_wire import Late, WireError

FINAL = ("SUCCEEDED", "PARTIAL", "FAILED", "STOPPED")


class RestartTest(WireTest):
    FLAGS = ("--liveness-ms", "600000", "--lease-ms", "600000")

    def killed(self, *flags):
        """Kills the head and starts it again."""
        self.the_head.kill()
        self.again(*flags)

    def again(self, *flags):
        for peer in self.peers:
            peer.close()
        self.the_head = self.head(*(flags or self.FLAGS))
        self.beside = self.client("beside")

    def state(self, client, job):
        return client.ask("job", id=str(job))["state"]

    def settled(self, worker):
        """Waits until all results of the worker are acknowledged."""
        def is_settled():
            worker.heartbeat()
            worker.expect("HEARTBEAT")
            return not worker.kept
        wait_until(is_settled)

    def finish(self, worker, client, job, items=()):
        return worker.serve(client, job, items, lambda args: [b"%d" % args["n"]])

    def whole_output(self, client, job):
        return sorted(int(line) for commit in self.output(client, job).values()
                      for line in commit.split())


class Jobs(RestartTest):
    #
    def test_the_head_keeps_its_id(self):
        first = self.beside.welcome.head
        self.killed()
        self.assertEqual(self.beside.welcome.head, first)

    def test_a_job_that_was_accepted_goes_on(self):
        client = self.client()
        job = client.submit(spec(args={"secret": 1}), "accepted")
        self.killed()
        worker, client = self.worker(), self.client()
        client.watch(job)
        check = worker.call("check")
        self.assertEqual(msgpack.unpackb(worker.actors[job].payload), {"secret": 1})
        worker.result(check, detail={"collected": True})
        worker.answer(worker.call("discover"), [shard(n) for n in (1, 2, 3)])
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(self.whole_output(client, job), [1, 2, 3])

    def test_a_job_goes_on_in_the_middle(self):
        for moment in range(6):
            with self.subTest(moment):
                worker, client = self.worker("w%d" % moment, slots=4), self.client()
                job = self.submitted(client, "job %d" % moment)
                items = [shard(n) for n in range(1, 11)]
                worker.start_job(items)
                for _ in range(moment):
                    call = worker.call("map")
                    worker.lines(call, [b"%d" % call.args["n"]], detail={"kinds": {"table": 1}})
                if moment % 2:
                    self.settled(worker)
                self.killed()
                worker = self.worker("w%d" % moment, slots=4, incarnation=2)
                client = self.client()
                client.watch(job)
                final = self.finish(worker, client, job, items)  # discovery may run again
                self.assertEqual(final.state, "SUCCEEDED")
                self.assertEqual(final.detail["records"]["successful"], 10)
                self.assertEqual(self.whole_output(client, job), list(range(1, 11)))
                worker.send("BYE")

    #
    def test_what_a_lost_worker_may_still_write_waits_over_a_restart(self):
        flags = ("--liveness-ms", "600000", "--lease-ms", "1500")
        self.killed(*flags)
        worker, client = self.worker("w", slots=1, window=1), self.client()
        job = self.submitted(client, "direct")
        worker.result(worker.call("check"), detail={"collected": False, "write_ms": 1000})
        worker.answer(worker.call("discover"), [shard(1), shard(2)])
        lost = worker.call("map")
        worker = self.worker("w", slots=1, window=1, incarnation=2)
        worker.answer(worker.call("map"))  # the other one
        self.settled(worker)
        self.killed(*flags)
        began = time.monotonic()
        worker, client = self.worker("w", slots=1, window=1, incarnation=3), self.client()
        client.watch(job)
        again = worker.call(seconds=20)
        self.assertEqual((again.method, again.call), ("map", lost.call))
        self.assertGreater(time.monotonic() - began, 2.3)
        worker.answer(again)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")

    #
    def test_the_same_id_is_the_same_job(self):
        job = self.client().submit(spec(), "mine")
        self.killed()
        self.assertEqual(self.client().submit(spec(), "mine"), job)
        self.assertGreater(self.client("other").submit(spec(), "another"), job)

    #
    def test_a_stopped_job_stays_stopped(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        worker.call("map")
        request = client.request()
        client.send("STOP", request=request, job=job, reason="enough")
        client.expect("ACCEPTED", request=request)
        self.killed()
        client = self.client()
        self.assertEqual(self.state(client, job), "STOPPED")
        worker = self.worker()
        with self.assertRaises(Late):
            worker.call(seconds=0.3)

    #
    def test_a_finished_job_can_be_fetched(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        final = self.finish(worker, client, job, [shard(n) for n in range(1, 6)])
        for turn in range(2):
            self.killed()
            client = self.client()
            whole = client.ask("job", id=str(job))
            self.assertEqual(whole["state"], "SUCCEEDED")
            self.assertEqual(whole["detail"], final.detail)
            self.assertEqual(self.whole_output(client, job), [1, 2, 3, 4, 5])
            client.watch(job)
            self.assertEqual(client.final(job).detail, final.detail)

    #
    def test_the_output_goes_on_at_a_commit(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in range(1, 7)])
        client.send("OUTPUT", request=client.request(), job=job, **{"from": 1, "credit": 1 << 20})
        seen = {}
        for _ in range(2):  # check and discover have no output, prepare neither
            call = worker.call("map")
            worker.lines(call, [b"%d" % call.args["n"]])
            piece = client.expect("PIECE")
            seen[piece.commit] = piece.payload
        self.killed()
        worker, client = self.worker(incarnation=2), self.client()
        client.watch(job)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        for commit, payload in self.output(client, job, start=max(seen) + 1).items():
            self.assertNotIn(commit, seen)
            seen[commit] = payload
        self.assertEqual(sorted(b"".join(seen.values()).split()),
                         sorted(b"%d" % n for n in range(1, 7)))

    def test_sigterm_loses_nothing_and_ends_well(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in (1, 2)])
        call = worker.call("map")
        worker.lines(call, [b"%d" % call.args["n"]])
        self.the_head.process.terminate()
        self.assertEqual(self.the_head.process.wait(10), 0)
        client.expect("BYE")
        worker.expect("BYE")
        self.again()
        worker, client = self.worker(incarnation=2), self.client()
        self.assertEqual(self.state(client, job), "RUNNING")
        client.watch(job)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(self.whole_output(client, job), [1, 2])


class Forgetful(RestartTest):
    FLAGS = ("--journal", "off") + RestartTest.FLAGS

    #
    def test_without_a_journal_nothing_is_kept(self):
        first = self.beside.welcome.head
        self.client().submit(spec(), "soon forgotten")
        self.killed()
        self.assertNotEqual(self.beside.welcome.head, first)
        self.assertEqual(self.beside.ask("jobs"), [])


class FullDisk(RestartTest):
    """A limit of the file size stands for the disk: set on the head while it runs, and lifted."""

    def room(self, size):
        size = resource.RLIM_INFINITY if size is None else size
        resource.prlimit(self.the_head.process.pid, resource.RLIMIT_FSIZE,
                         (size, resource.RLIM_INFINITY))

    #
    def test_nothing_is_promised_and_nothing_lost_while_the_disk_is_full(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in (1, 2, 3)])
        self.settled(worker)
        call = worker.call("map")
        self.room(8192)  # the log is below that
        worker.lines(call, [b"%d" % call.args["n"] + b" " * 50000])
        wait_until(lambda: "DISK-FULL" in self.the_head.log())
        self.assertEqual(client.ask("job", id=str(job))["detail"]["wait"], "disk")
        self.assertEqual([fields["call"] for fields in worker.kept], [call.call])
        with self.assertRaises(WireError) as refused:
            client.submit(spec(), "another")
        self.assertIn("disk", str(refused.exception))
        self.assertEqual(client.submit(spec(), "job"), job)
        with self.assertRaises(Late):
            client.send("OUTPUT", request=client.request(), job=job, **{"from": 1, "credit": 100000})
            client.expect("PIECE", 0.3)
        self.room(None)
        self.settled(worker)
        client.expect("PIECE")
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        client.submit(spec(), "another")
        self.assertEqual(self.whole_output(self.client("fresh"), job), [1, 2, 3])

    #
    def test_no_final_state_is_told_while_the_disk_is_full(self):
        worker, client = self.worker(slots=1, window=1), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        self.settled(worker)
        call = worker.call("map")
        self.room(8192)
        worker.lines(call, [b"%d" % call.args["n"] + b" " * 50000])
        wait_until(lambda: "DISK-FULL" in self.the_head.log())
        request = client.request()
        client.send("STOP", request=request, job=job, reason="enough")
        worker.expect("DROP_ACTOR")  # it has ended
        told = client.ask("job", id=str(job))
        self.assertEqual((told["state"], told["runs"][0][2]), ("RUNNING", "RUNNING"))
        self.room(None)
        client.expect("ACCEPTED", request=request)
        told = client.ask("job", id=str(job))
        self.assertEqual((told["state"], told["runs"][0][2]), ("STOPPED", "STOPPED"))

    def test_a_head_that_ends_while_the_disk_is_full_is_as_it_was_before(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in (1, 2)])
        self.settled(worker)
        self.room(8192)
        call = worker.call("map")
        worker.lines(call, [b"%d" % call.args["n"] + b" " * 50000])
        wait_until(lambda: "DISK-FULL" in self.the_head.log())
        self.the_head.process.terminate()
        self.the_head.process.wait(20)
        self.again()
        worker, client = self.worker(incarnation=2), self.client()
        client.watch(job)
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(self.whole_output(client, job), [1, 2])


class Workers(RestartTest):
    def running(self, *calls):
        return [[call.call, call.attempt] for call in calls]

    #
    def test_a_worker_that_comes_back_keeps_its_calls(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in (1, 2)])
        self.settled(worker)
        kept = [worker.call("map"), worker.call("map")]
        self.settled_starts(worker, client, job, 2)
        self.killed()
        back = self.worker(running=self.running(*kept))
        client = self.client()
        client.watch(job)
        with self.assertRaises(Late):
            back.call(seconds=0.3)  # nothing is given out again
        for call in kept:
            back.lines(call, [b"%d" % call.args["n"]])
        self.assertEqual(self.finish(back, client, job).state, "SUCCEEDED")
        self.assertEqual(self.whole_output(client, job), [1, 2])
        self.assertEqual(client.ask("job", id=str(job))["detail"]["shards"]["retried"], 0)

    def settled_starts(self, worker, client, job, count):
        """Waits until what was decided up to now is durable: an answer that waits for that."""
        request = client.request()
        client.send("SUBMIT", msgpack.packb(spec(**{"class": "nobody's"})), request=request,
                    id="barrier %d %d" % (job, count))
        client.expect("ACCEPTED", request=request)

    def test_a_call_that_nobody_knows_is_refused(self):
        self.killed()
        worker = self.worker(running=[[(77 << 24) + 5, 3]])
        cancel = worker.expect("CANCEL")
        self.assertEqual((cancel.call, cancel.attempt), ((77 << 24) + 5, 3))

    #
    def test_a_result_that_was_not_acknowledged_comes_again_and_counts_once(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in (1, 2)])
        self.settled(worker)
        call = worker.call("map")
        other = worker.call("map")
        self.settled_starts(worker, client, job, 2)
        self.the_head.kill()
        worker.result(call, detail={"kinds": {"table": 1}})  # nobody hears it
        self.again()
        back = self.worker(running=self.running(other), results=worker)
        client = self.client()
        client.watch(job)
        self.settled(back)
        back.lines(other, [b"2"])
        final = self.finish(back, client, job)
        self.assertEqual(final.state, "SUCCEEDED")
        self.assertEqual(final.detail["shards"], {"total": 2, "done": 2, "running": 0,
                                                  "retried": 0, "dead": 0})

    #
    def test_what_had_streamed_is_given_back_uncounted(self):
        for resent in (True, False):
            with self.subTest(resent):
                name = "w%d" % resent
                worker, client = self.worker(name), self.client()
                job = self.submitted(client, name, retry={"max_attempts": 1})
                worker.start_job([shard(1)])
                call = worker.call("map")
                worker.batch(call, 0, b"lost\n", 1)
                self.settled_starts(worker, client, job, 1)
                self.the_head.kill()
                self.again()
                back = self.worker(name, running=self.running(call))
                if resent:  # as a worker that takes no notice would do
                    back.result(call, batches=1, records=1)
                client = self.client()
                client.watch(job)
                second = back.call("map")
                self.assertGreater(second.attempt, call.attempt)
                self.assertEqual(second.call, call.call)
                back.lines(second, [b"1"])
                self.assertEqual(self.finish(back, client, job).state, "SUCCEEDED")
                self.assertEqual(self.whole_output(client, job), [1])
                back.send("BYE")

    def test_discovery_goes_on_at_its_cursor(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.answer(worker.call("check"))
        call = worker.call("discover")
        items = [shard(1), {"cursor": "after one"}]
        worker.batch(call, 0, b"".join(msgpack.packb(item) for item in items), 2)
        worker.call("map")
        self.settled_starts(worker, client, job, 1)
        self.killed()
        worker, client = self.worker(incarnation=2), self.client()
        client.watch(job)
        call = worker.call("discover")
        self.assertEqual(call.args, {"resume": "after one"})
        worker.items(call, [shard(1), shard(2)])
        self.assertEqual(self.finish(worker, client, job).state, "SUCCEEDED")
        self.assertEqual(self.whole_output(client, job), [1, 2])

    def test_numbers_of_attempts_are_never_used_twice(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        seen = set()
        for life in range(3):
            call = worker.call("check")
            self.assertNotIn(call.attempt, seen)
            seen.add(call.attempt)
            self.killed()
            worker = self.worker(incarnation=life + 2)
        self.assertEqual(worker.call("check").call >> 24, job)

    #
    def test_an_actor_of_a_job_that_ended_meanwhile_is_dropped(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1), shard(2)])
        calls = [worker.call("map") for _ in range(1)]
        worker.close()
        request = client.request()
        client.send("STOP", request=request, job=job)
        client.expect("ACCEPTED", request=request)
        other = self.submitted(client, "other")
        back = self.worker(running=self.running(*calls), actors=[job, 77, other])
        self.assertEqual([back.expect("DROP_ACTOR").actor for _ in range(2)], [job, 77])
        self.assertEqual(back.call("check").actor, other)
        self.killed()
        back = self.worker(actors=[job, other])
        self.assertEqual(back.expect("DROP_ACTOR").actor, job)


if __name__ == "__main__":
    unittest.main()
