# SPDX-License-Identifier: Apache-2.0
"""Dead letters and runs, docs/protocol.md 6.2 and 7.3."""

import unittest

import msgpack

from case import SECOND_US, WireTest, shard, spec
from programs import wait_until
from shoal_wire import Client, DATA, FATAL, FAILED, LIMIT, PROTOCOL, TRANSIENT, WireError

NOT_FOUND, EXISTS, INVALID = 4, 5, 1


def scope(number, name, listed):
    return [{"scope": number, "name": name, "of": "tables"}, {"scope": number, "listed": listed}]


def letter(name, number=0, record=True, scope=1, **more):
    whole = {"scope": scope, "class": DATA, "code": INVALID, "message": "bad \"%s\"" % name,
             "step": "processor[0]", "type": "table", "name": name}
    if number:
        whole["letter"] = number
    if record:
        whole["record"] = {"kind": "table", "name": name}
    whole.update(more)
    return whole


class Letters(WireTest):
    def letters_of(self, client, job, what="letters", start=0):
        return client.ask(what, id=str(job), **({"from": start} if start else {}))

    def mail(self, worker, call, letters, lines=(), **fields):
        """Streams records and letters of a shard and ends it."""
        seq = 0
        if lines:
            worker.batch(call, seq, b"".join(line + b"\n" for line in lines), len(lines))
            seq += 1
        if letters:
            worker.send("BATCH", b"".join(msgpack.packb(one) for one in letters), call=call.call,
                        attempt=call.attempt, seq=seq, letters=len(letters))
            seq += 1
        worker.result(call, batches=seq, records=len(lines), **fields)

    def bad_job(self, client, worker, names=("a", "b"), good=1):
        """A job with one shard of which `names` fail and `good` records come."""
        job = self.submitted(client)
        count = len(names) + good
        worker.start_job(scope(1, "svc.db", count) + [shard(1, expects=[[1, count]])])
        self.mail(worker, worker.call("map"), [letter(name) for name in names], [b"good"] * good,
                  detail={"scopes": [[1, good, 0, 0, 0, len(names)]]})
        worker.result(worker.call("finish"))
        return job, client.final(job)

    def retry(self, client, job, id, **more):
        run = client.submit({"retry_of": job, **more}, id)
        client.watch(run)
        return run

    #
    def test_letters_are_the_jobs_with_the_commit(self):
        client, worker = self.client(), self.worker()
        job, last = self.bad_job(client, worker)
        self.assertEqual(last.state, "PARTIAL")
        self.assertTrue(last.detail["balanced"])
        found = self.letters_of(client, job)
        self.assertEqual([one["name"] for one in found], ["a", "b"])
        first = found[0]
        self.assertEqual((first["letter"], first["kind"], first["class"], first["scope"],
                          first["title"], first["run"]), (1, "record", DATA, "svc.db", "shard 1", 1))
        self.assertNotIn("record", first)
        whole = self.letters_of(client, job, "whole_letters", 2)
        self.assertEqual(len(whole), 1)
        self.assertEqual(whole[0]["record"], {"kind": "table", "name": "b"})
        self.assertEqual([one[2] for one in whole[0]["attempts"]], ["data"])
        self.assertEqual(self.output(client, job), {1: b"good\n"})

    #
    def test_letters_of_an_attempt_that_fails_are_forgotten(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        worker.start_job(scope(1, "svc.db", 2) + [shard(1, expects=[[1, 2]])])
        self.mail(worker, worker.call("map"), [letter("a")], outcome=FAILED,
                  error_class=TRANSIENT, code=7, reason="away")
        self.mail(worker, worker.call("map"), [letter("b")], [b"x"],
                  detail={"scopes": [[1, 1, 0, 0, 0, 1]]})
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(job).state, "PARTIAL")
        found = self.letters_of(client, job, "whole_letters")
        self.assertEqual([one["name"] for one in found], ["b"])
        self.assertEqual([(one[1], one[2]) for one in found[0]["attempts"]],
                         [(1, "failed"), (2, "data")])

    #
    def test_malformed_letters_cost_the_attempt(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        call = worker.call("map")
        worker.send("BATCH", b"\xc1", call=call.call, attempt=call.attempt, seq=0, letters=1)
        worker.result(call, batches=1)
        last = client.final(job)
        self.assertEqual(last.state, "FAILED")
        self.assertEqual([one["kind"] for one in self.letters_of(client, job)], ["shard"])

    #
    def test_letters_of_a_call_that_may_have_none_cost_the_connection(self):
        client, worker = self.client(), self.worker()
        self.submitted(client)
        call = worker.call("check")
        worker.send("BATCH", msgpack.packb(letter("a")), call=call.call, attempt=call.attempt,
                    seq=0, letters=1)
        self.assert_told(worker, PROTOCOL)

    #
    def test_too_many_letters_fail_the_job_with_the_commonest_cause(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        worker.start_job([shard(1), shard(2)])
        for _ in range(2):
            call = worker.call("map")
            many = [letter("t%d" % n, record=False) for n in range(1000)]
            seq = 0
            for part in range(7):
                worker.send("BATCH", b"".join(msgpack.packb(one) for one in many), call=call.call,
                            attempt=call.attempt, seq=seq, letters=1000)
                seq += 1
            worker.result(call, batches=seq)
        last = client.final(job)
        self.assertEqual(last.state, "FAILED")
        said = [one for one in last.detail["errors"] if one["code"] == LIMIT]
        self.assertEqual(len(said), 1, last.detail["errors"])
        self.assertIn("10000 dead letters", said[0]["message"])
        self.assertIn("data, invalid: bad", said[0]["message"])
        self.assertEqual(len(self.letters_of(client, job, start=7000)), 1)

    def test_a_shard_that_was_given_up_is_a_letter_with_its_history(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        worker.start_job(scope(1, "svc.db", 3) + [
            shard(1, stage=1), shard(2, needs=1, expects=[[1, 3]])])
        for n in range(3):
            worker.result(worker.call("prepare"), FAILED, error_class=TRANSIENT, code=7,
                          reason="away %d" % n)
        last = client.final(job)
        self.assertEqual(last.state, "FAILED")
        found = self.letters_of(client, job, "whole_letters")
        self.assertEqual([(one["kind"], one["title"], one["needs"]) for one in found],
                         [("shard", "shard 1", 0), ("shard", "shard 2", 1)])
        self.assertEqual([one[5] for one in found[0]["attempts"]], ["away 0", "away 1", "away 2"])
        self.assertIn("python worker", found[0]["worker"])
        self.assertIn("shard 1", found[1]["message"])
        # the one that it needs runs first, and both are gone
        run = self.retry(client, job, "again", letters=[2])
        worker.result(worker.call("check"), detail={"collected": True})
        worker.lines(worker.call("prepare"), [b"p"])
        call = worker.call("map")
        self.assertEqual(call.args, {"n": 2})
        worker.lines(call, [b"x", b"y", b"z"], detail={"scopes": [[1, 3, 0, 0, 0, 0]]})
        worker.result(worker.call("finish"))
        last = client.final(run)
        self.assertEqual(last.state, "SUCCEEDED", last.detail)
        self.assertEqual(last.detail["books"][0]["scope"], "svc.db")
        self.assertEqual(self.letters_of(client, job), [])

    #
    def test_a_run_tries_records_at_the_processors(self):
        client, worker = self.client(), self.worker()
        job, _ = self.bad_job(client, worker)
        run = self.retry(client, job, "again")
        self.assertNotEqual(run, job)
        worker.result(worker.call("check"), detail={"collected": True})
        call = worker.call("replay")
        self.assertEqual(call.args["letters"], [
            [1, 1, "table", {"kind": "table", "name": "a"}],
            [2, 1, "table", {"kind": "table", "name": "b"}]])
        busy = self.letters_of(client, job)
        self.assertEqual([one["retried_by"] for one in busy], [run, run])
        with self.assertRaises(WireError):
            client.submit({"retry_of": job}, "a second one")
        self.mail(worker, call, [letter("b", number=2)], [b"a"],
                  detail={"scopes": [[1, 1, 0, 0, 0, 1]]})
        worker.result(worker.call("finish"))
        last = client.final(run)
        self.assertEqual(last.state, "PARTIAL")
        self.assertTrue(last.detail["balanced"], last.detail)
        left = self.letters_of(client, job, "whole_letters")
        self.assertEqual([(one["letter"], one["name"], one["run"]) for one in left], [(2, "b", 2)])
        self.assertEqual([one[0] for one in left[0]["attempts"]], [1, 2])
        self.assertEqual(self.output(client, run), {1: b"a\n"})
        self.assertEqual(self.output(client, job), {1: b"good\n", 2: b"a\n"})
        self.assertEqual(self.output_end.commits, 2)
        self.assertEqual(self.output(client, job, start=2), {2: b"a\n"})
        told = client.ask("job", id=str(job))
        self.assertEqual([(one[0], one[1], one[2]) for one in told["runs"]],
                         [(1, job, "PARTIAL"), (2, run, "PARTIAL")])
        self.assertEqual((told["letters"], told["of"], told["run"]), (1, 0, 1))
        self.assertEqual(client.submit({"retry_of": job}, "again"), run)

    #
    def test_what_the_source_failed_with_is_read_again(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        worker.start_job(scope(1, "svc.db", 2) + [shard(1, expects=[[1, 2]])])
        self.mail(worker, worker.call("map"), [letter("a", record=False), letter("b", redacted=True)],
                  detail={"scopes": [[1, 0, 0, 0, 0, 2]]})
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(job).state, "PARTIAL")
        self.assertEqual({one["kind"] for one in self.letters_of(client, job)}, {"source"})
        run = self.retry(client, job, "again")
        worker.result(worker.call("check"), detail={"collected": True})
        call = worker.call("reread")
        self.assertEqual(call.args, {"stage": 2, "args": {"n": 1}, "letters": [[1, 1, "a"], [2, 1, "b"]]})
        worker.lines(call, [b"a"], detail={"scopes": [[1, 1, 0, 1, 0, 0]]})
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(run).state, "SUCCEEDED")
        self.assertEqual(self.letters_of(client, job), [])

    #
    def test_a_run_that_is_given_up_leaves_its_letters(self):
        client, worker = self.client(), self.worker()
        job, _ = self.bad_job(client, worker)
        run = self.retry(client, job, "again", letters=[1])
        worker.result(worker.call("check"), detail={"collected": True})
        worker.result(worker.call("replay"), FAILED, error_class=FATAL, code=12, reason="no")
        self.assertEqual(client.final(run).state, "FAILED")
        left = self.letters_of(client, job)
        self.assertEqual([(one["letter"], one["message"], one["run"]) for one in left],
                         [(1, "no", 2), (2, 'bad "b"', 1)])
        again = self.retry(client, job, "once more", letters=[1])
        client.send("STOP", request=client.request(), job=again, reason="enough")
        self.assertEqual(client.final(again).state, "STOPPED")
        self.assertNotIn("retried_by", self.letters_of(client, job)[0])

    def test_long_names_are_cut_before_they_hurt(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        long = "x" * 8000
        worker.start_job(scope(1, long[:1000], 12) + [shard(1, expects=[[1, 12]])])
        many = [letter("%d" % n + long, record=False, type=long, step=long, message=long, key=long)
                for n in range(12)]
        call = worker.call("map")
        for seq, one in enumerate(many):
            worker.send("BATCH", msgpack.packb(one), call=call.call, attempt=call.attempt, seq=seq,
                        letters=1)
        worker.result(call, batches=12, detail={"scopes": [[1, 0, 0, 0, 0, 12]]})
        worker.result(worker.call("finish"))
        last = client.final(job)
        self.assertEqual(len(last.detail["letters"]["first"]), 10)
        self.assertEqual({len(one["name"]) for one in self.letters_of(client, job)}, {512})
        self.retry(client, job, "again")
        worker.result(worker.call("check"), detail={"collected": True})
        self.assertEqual(len(worker.call("reread").args["letters"]), 12)

    #
    def test_letters_are_dropped_by_number_or_all(self):
        client, worker = self.client(), self.worker()
        job, _ = self.bad_job(client, worker, names=("a", "b", "c"))
        for letters, left in (([2], [1, 3]), (None, [])):
            request = client.request()
            client.send("DROP_LETTERS", request=request, job=job,
                        **({"letters": letters} if letters else {}))
            client.expect("ACCEPTED", request=request)
            self.assertEqual([one["letter"] for one in self.letters_of(client, job)], left)
        for job_, letters, code in ((job, [9], NOT_FOUND), (999, [1], NOT_FOUND),
                                    (job, "x", INVALID)):
            request = client.request()
            client.send("DROP_LETTERS", request=request, job=job_, letters=letters)
            self.assertEqual(client.expect("ERROR", request=request).code, code)

    #
    def test_only_what_has_ended_and_has_letters_is_tried_again(self):
        client, worker = self.client(), self.worker()
        job = self.submitted(client)
        for retry_of, word in ((job, "has not ended"), (999, "no job 999")):
            with self.assertRaisesRegex(WireError, word):
                client.submit({"retry_of": retry_of}, "r%d" % retry_of)
        worker.start_job([shard(1)])
        worker.lines(worker.call("map"), [b"x"])
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(job).state, "SUCCEEDED")
        with self.assertRaisesRegex(WireError, "no dead letters"):
            client.submit({"retry_of": job}, "late")

    def restart(self, *flags):
        """Kills the head; another one goes on with its state."""
        self.the_head.kill()
        self.beside.close()
        self.the_head = self.head(*self.FLAGS, *flags)
        self.beside = self.keep(Client(self.the_head.endpoint, id="beside"))
        self.lives = getattr(self, "lives", 1) + 1
        # The worker's process is another one too: what the last one had is given out again.
        return self.client("again"), self.worker("worker", incarnation=self.lives)

    def wait_for_ack(self, worker):
        """Only what was acknowledged is promised."""
        if worker.ack < worker.seq:
            worker.wait_for(lambda message: worker.ack >= worker.seq, 10, "the last ack")

    def test_letters_survive_the_head(self):
        client, worker = self.client(), self.worker()
        job, _ = self.bad_job(client, worker, names=("a", "b", "c"))
        request = client.request()
        client.send("DROP_LETTERS", request=request, job=job, letters=[1])
        client.expect("ACCEPTED", request=request)
        before = self.letters_of(client, job, "whole_letters")
        client, worker = self.restart()
        self.assertEqual(self.letters_of(client, job, "whole_letters"), before)

        # A run that the head dies in goes on; what it has done stays done.
        run = self.retry(client, job, "run")
        worker.result(worker.call("check"), detail={"collected": True})
        self.mail(worker, worker.call("replay"), [letter("c", number=3)], [b"b"],
                  detail={"scopes": [[1, 1, 0, 0, 0, 1]]})
        self.wait_for_ack(worker)
        client, worker = self.restart()
        client.watch(run)
        worker.result(worker.call("finish", seconds=20))
        self.assertEqual(client.final(run).state, "PARTIAL")
        left = self.letters_of(client, job, "whole_letters")
        self.assertEqual([(one["letter"], one["run"]) for one in left], [(3, 2)])
        self.assertEqual([one[0] for one in left[0]["attempts"]], [1, 2])
        self.assertEqual(self.output(client, job), {1: b"good\n", 2: b"b\n"})

        # And one that it dies in before anything was done begins again.
        run = self.retry(client, job, "run 3")
        worker.result(worker.call("check"), detail={"collected": True})
        worker.call("replay")
        self.wait_for_ack(worker)
        client, worker = self.restart()
        client.watch(run)
        worker.lines(worker.call("replay", seconds=20), [b"c"],
                     detail={"scopes": [[1, 1, 0, 0, 0, 0]]})
        worker.result(worker.call("finish"))
        self.assertEqual(client.final(run).state, "SUCCEEDED")
        self.assertEqual(self.letters_of(client, job), [])
        client, worker = self.restart()
        self.assertEqual(self.letters_of(client, job), [])
        self.assertEqual(self.output(client, job), {1: b"good\n", 2: b"b\n", 3: b"c\n"})

    #
    def test_runs_and_letters_go_with_their_job(self):
        client, worker = self.client(), self.worker()
        job, _ = self.bad_job(client, worker)
        run = self.retry(client, job, "again")
        client.send("STOP", request=client.request(), job=run)
        client.final(run)
        for n in range(999):
            one = client.submit(spec(), "filler %d" % n)
            client.send("STOP", request=client.request(), job=one)
        found = {one["job"] for start in (0,) for one in client.ask("jobs")}
        self.assertNotIn(job, found)
        self.assertNotIn(run, found)

    #
    def test_a_job_that_was_fetched_with_its_runs_makes_room(self):
        client, worker = self.restart("--retain-bytes", "1000")
        job = self.submitted(client)
        worker.start_job(scope(1, "svc.db", 2) + [shard(1, expects=[[1, 2]])])
        self.mail(worker, worker.call("map"), [letter("a")], [b"x" * 5000],
                  detail={"scopes": [[1, 1, 0, 0, 0, 1]]})
        worker.result(worker.call("finish"))
        client.final(job)
        run = self.retry(client, job, "again")
        worker.result(worker.call("check"), detail={"collected": True})
        self.mail(worker, worker.call("replay"), [], [b"y" * 5000],
                  detail={"scopes": [[1, 1, 0, 0, 0, 0]]})
        worker.result(worker.call("finish"))
        client.final(run)
        self.assertEqual(self.output(client, job), {1: b"x" * 5000 + b"\n", 2: b"y" * 5000 + b"\n"})
        wait_until(lambda: client.ask("jobs") == [])


if __name__ == "__main__":
    unittest.main()
