# SPDX-License-Identifier: Apache-2.0
"""The real command line against a worker, and then a head, in Python."""

import json
import os
import unittest

import msgpack

from case import SLOWER, ShoalTest, WireTest, shard
from shoal_wire import (CONFIG, DATA, FAILED, FATAL, PROTOCOL, Head, Late, WireError, Worker,
                        header)
from programs import wait_until


class ClientTest:
    """What both classes below share: a workflow file, and a run of it in the background."""

    def workflow(self, **more):
        whole = {"source": {"type": "imaginary", "serviceName": "python",
                            "serviceConnection": {"config": {"type": "Imaginary", "a": "1"}},
                            "sourceConfig": {"config": {"type": "DatabaseMetadata"}}},
                 "sink": {"type": "file", "config": {"filename": self.path("out.jsonl")}},
                 "workflowConfig": {"loggerLevel": "INFO"}}
        whole.update(more)
        return self.write("flow.yaml", json.dumps(whole, indent=1))

    def run_it(self, endpoint, *flags, **more):
        self.run_ = self.start("ingest", "-c", self.workflow(**more), "--head", endpoint, *flags)

        def end():
            if self.run_.poll() is None:
                self.run_.kill()
            self.run_.communicate()
        self.addCleanup(end)
        return self.run_

    def ended(self, seconds=20):
        out, err = self.run_.communicate(timeout=seconds * SLOWER)
        return (out or b"").decode(), err.decode()

    def text(self):
        with open(self.path("out.jsonl"), "rb") as file:
            return file.read()


class WithAWorker(ClientTest, WireTest):
    def serve(self, worker, items=(), lines=None):
        """Answers calls until the command has ended."""
        def step():
            try:
                worker.answer(worker.call(seconds=0.01), items, lines)
            except Late:
                pass
            return self.run_.poll() is not None
        wait_until(step, 20, "the end of the run")
        return self.ended()

    def test_a_whole_run_ends_in_a_file(self):
        worker = self.worker()
        self.run_it(self.the_head.endpoint, "--output", "json")
        out, err = self.serve(worker, [shard(n, {"n": n}) for n in range(1, 9)],
                              lambda args: [b'{"n":%d}' % args["n"]] * 3)
        self.assertEqual(self.run_.returncode, 0, err)
        self.assertEqual(sorted(self.text().splitlines()),
                         sorted(b'{"n":%d}' % n for n in range(1, 9) for _ in range(3)))
        whole = json.loads(out)
        self.assertEqual((whole["state"], whole["records"]["successful"]), ("SUCCEEDED", 24))

    def test_the_worker_gets_the_workflow_as_text(self):
        worker = self.worker()
        self.run_it(self.the_head.endpoint)
        call = worker.call("check")
        args = msgpack.unpackb(worker.actors[call.actor].payload)
        self.assertEqual(args["source"]["type"], "imaginary")
        self.assertEqual(args["source"]["serviceConnection"]["config"]["a"], "1")
        self.assertEqual(args["processor"], [])
        self.assertLessEqual({"source", "processor", "sink", "sharding", "dry_run", "lenient"},
                             set(args))
        worker.answer(call)
        self.serve(worker)

    def test_a_key_that_the_worker_refuses_is_shown_with_file_and_line(self):
        worker = self.worker()
        self.run_it(self.the_head.endpoint)
        worker.result(worker.call("check"), FAILED, error_class=CONFIG, code=1,
                      reason='there is no "a" here',
                      key="source.serviceConnection.config.a")
        out, err = self.serve(worker)
        self.assertEqual(self.run_.returncode, 2, err)
        with open(self.path("flow.yaml")) as file:
            line = 1 + [n for n, text in enumerate(file) if '"a"' in text][0]
        self.assertIn("flow.yaml:%d" % line, err)
        self.assertIn('there is no "a" here', err)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_a_shard_that_is_given_up_makes_the_run_partial(self):
        worker = self.worker()
        self.run_it(self.the_head.endpoint)
        worker.start_job([shard(1), shard(2)])
        for _ in range(2):
            call = worker.call("map")
            if call.args == {"n": 1}:
                worker.result(call, FAILED, error_class=FATAL, code=12, reason="beyond repair")
            else:
                worker.lines(call, [b'{"good":1}'])
        out, err = self.serve(worker)
        self.assertEqual(self.run_.returncode, 3, err)
        self.assertIn("beyond repair", err)
        self.assertEqual(self.text(), b'{"good":1}\n')

    def test_a_threshold_that_is_met_makes_partial_a_success(self):
        worker = self.worker()
        self.run_it(self.the_head.endpoint,
                    workflowConfig={"loggerLevel": "INFO", "successThreshold": 50})
        worker.start_job([shard(1)])
        worker.lines(worker.call("map"), [b"{}"] * 9, detail={
            "errors": [{"class": DATA, "code": 2, "message": "one was bad", "record": "t1"}],
            "kinds": {"table": 9}})
        out, err = self.serve(worker)
        self.assertEqual(self.run_.returncode, 0, err)

    def test_a_large_record_arrives_whole(self):
        worker = self.worker(slots=1, window=1)
        self.run_it(self.the_head.endpoint)
        worker.start_job([shard(1)])
        call = worker.call("map")
        record = b'{"text":"' + b"z" * 3000000 + b'"}\n'
        size, room = worker.welcome.batch_bytes, call.credit
        chunks = [record[i:i + size] for i in range(0, len(record), size)]
        for seq, chunk in enumerate(chunks):
            while room <= 0:
                room += worker.expect("GRANT").bytes
            is_last = seq == len(chunks) - 1
            worker.batch(call, seq, chunk, 1 if is_last else 0, more=not is_last)
            room -= len(chunk)
        worker.result(call, batches=len(chunks), records=1)
        out, err = self.serve(worker)
        self.assertEqual(self.run_.returncode, 0, err)
        self.assertEqual(self.text(), record)

    def test_output_that_could_not_be_written_is_fetched_again(self):
        worker = self.worker()
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        self.run_ = self.start("ingest", "-c", self.workflow(), "--head", self.the_head.endpoint,
                               "-o", "-", stdout=full)
        out, err = self.serve(worker, [shard(1)], lambda args: [b'{"n":1}'])
        self.assertEqual(self.run_.returncode, 1, err)
        job = self.beside.ask("jobs")[0]["job"]
        self.beside.watch(job)
        worker.serve(self.beside, job)  # the job goes on without the one that submitted it
        done = self.shoal("job", "output", str(job), "--head", self.the_head.endpoint,
                          "-o", self.path("again.jsonl"))
        self.assertIn(done.status, (0, 1), done)
        with open(self.path("again.jsonl"), "rb") as file:
            self.assertEqual(file.read(), b'{"n":1}\n')


class WithAHead(ClientTest, ShoalTest):
    """The head is the test, so it can lose, repeat and break things."""

    def setUp(self):
        super().setUp()
        endpoint = "ipc://%s" % self.path("head.sock")
        self.boss = Head(endpoint, role="client", heartbeat_ms=50, liveness_ms=600)
        self.addCleanup(lambda: self.boss.close())
        self.run_it(endpoint)
        self.boss.welcome(10 * SLOWER)

    def accepted(self):
        submit = self.boss.expect("SUBMIT", 10 * SLOWER)
        self.boss.send("ACCEPTED", request=submit.request, job=1)
        return submit

    def event(self, state="RUNNING", **detail):
        self.boss.send("EVENT", job=1, state=state, detail=detail)

    def asked_for_output(self):
        return self.boss.expect("OUTPUT", 10 * SLOWER)

    def piece(self, commit, payload, index=0, last=True):
        more = {"last": True} if last else {}
        self.boss.send("PIECE", payload, job=1, commit=commit, index=index, records=1, **more)

    def finish(self, commits):
        self.boss.send("OUTPUT_END", job=1, commits=commits, state="SUCCEEDED")
        self.event("SUCCEEDED", records={"total": commits, "successful": commits, "failed": 0,
                                         "filtered": 0, "by_kind": {}},
                   shards={"total": 1, "done": 1, "running": 0, "retried": 0, "dead": 0},
                   commits=commits, balanced=True, errors=[], warnings=[], books=[])

    def again(self):
        """The head forgets the client, which says HELLO on a new connection or on this one."""
        self.boss.inbox.clear()
        self.boss.send("ERROR", code=PROTOCOL, reason="who are you?", refers=4)
        self.boss.welcome(10 * SLOWER)

    def whole(self, *commits):
        out, err = self.ended()
        self.assertEqual(self.run_.returncode, 0, err)
        self.assertEqual(self.text(), b"".join(commits))

    #
    def test_a_submit_without_an_answer_is_sent_again_with_the_same_id(self):
        first = self.boss.expect("SUBMIT", 10 * SLOWER)
        self.again()
        second = self.accepted()
        self.assertEqual((second.id, second.payload), (first.id, first.payload))
        self.asked_for_output()
        self.piece(1, b"{}\n")
        self.finish(1)
        self.whole(b"{}\n")

    #
    def test_output_goes_on_after_the_last_safe_commit(self):
        self.accepted()
        self.assertEqual(self.asked_for_output().fields["from"], 1)
        self.event()
        self.piece(1, b'{"a":1}\n')
        self.piece(2, b'{"half":', last=False)
        self.boss.expect("TAKEN", 10 * SLOWER, lambda m: m.commit == 1)
        self.again()
        again = self.boss.expect("OUTPUT", 10 * SLOWER)
        self.assertEqual(again.fields["from"], 2)
        self.piece(2, b'{"half":', last=False)
        self.piece(2, b'"whole"}\n', index=1)
        self.finish(2)
        self.whole(b'{"a":1}\n', b'{"half":"whole"}\n')

    #
    def test_a_silent_head_is_dialled_again(self):
        self.accepted()
        before = self.boss.peer
        self.boss.answers_heartbeats = False
        self.boss.inbox.clear()
        self.boss.welcome(10 * SLOWER)
        self.boss.answers_heartbeats = True
        self.assertNotEqual(self.boss.peer, before)
        self.assertEqual(self.asked_for_output().job, 1)
        self.piece(1, b"{}\n")
        self.finish(1)
        self.whole(b"{}\n")

    #
    def test_a_waiting_client_sends_heartbeats(self):
        self.accepted()
        for _ in range(3):
            self.boss.expect("HEARTBEAT", 5 * SLOWER)

    #
    def test_news_of_a_later_version_do_no_harm(self):
        self.accepted()
        self.boss.send_frames(header(999, minor=7), b"\x80")
        error = self.boss.expect("ERROR", 5 * SLOWER)
        self.assertEqual((error.refers, error.closing), (999, False))
        self.boss.send_frames(header(35, minor=7), msgpack.packb(
            {"job": 1, "state": "RUNNING", "detail": {"news": [1, {"x": 2}]}, "later": 1}))
        self.asked_for_output()
        self.piece(1, b"{}\n")
        self.finish(1)
        self.whole(b"{}\n")

    #
    def test_a_head_that_talks_nonsense_makes_no_result(self):
        self.accepted()
        self.asked_for_output()
        self.boss.send_frames(header(35), b"\x85\xa3job")
        error = self.boss.expect("ERROR", 5 * SLOWER)
        self.assertTrue(error.closing, error)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_pieces_out_of_order_are_never_written(self):
        self.accepted()
        self.asked_for_output()
        self.piece(1, b"{}\n")
        self.piece(3, b'{"third":1}\n')
        try:
            self.finish(3)
            out, err = self.ended(3)
            self.assertNotEqual(self.run_.returncode, 0, err)
        except Exception:  # it dials again and asks for the second
            pass
        self.assertFalse(os.path.exists(self.path("out.jsonl")))


if __name__ == "__main__":
    unittest.main()
