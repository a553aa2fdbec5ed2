# SPDX-License-Identifier: Apache-2.0
"""A head that stays: `shoal start`, `status`, `stop`, `--head`, and who dies meanwhile."""

import json
import os
import signal
import sys
import unittest

from case import EndToEnd, ROOT, processes_of, program, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests", "proto", "python"))

from shoal_wire import Client, Worker  # noqa: E402


class Commands(EndToEnd):
    def started(self):
        """A head and a worker in the background; returns the endpoint."""
        done = self.shoal("start", "--head")
        self.assert_exit(done, 0, "ipc://")
        self.addCleanup(self.shoal, "stop")
        words = (done.out + " " + done.err).replace('"', " ").split()
        return next(word.rstrip(".,") for word in words if word.startswith("ipc://"))

    def test_start_status_ingest_stop(self):
        endpoint = self.started()
        self.assert_exit(self.shoal("start", "--address", endpoint), 0)
        status = self.shoal("status", "--output", "json")
        self.assert_exit(status, 0)
        self.assertIsInstance(json.loads(status.out), dict)
        flow = self.workflow(self.sqlite_source(self.sqlite(10)))
        for turn in range(2):
            done = self.ingest(flow, "--head", endpoint)
            self.assert_exit(done, 0)
            self.assertEqual(len(self.tables()), 11)
        self.assert_exit(self.shoal("status"), 0)
        self.assert_exit(self.shoal("stop"), 0)
        wait_until(lambda: not processes_of(self.folder), 10, "the end of all processes")
        self.assertNotEqual(self.shoal("status").status, 0)

    def test_a_second_head_is_refused(self):
        self.started()
        done = self.shoal("start", "--head")
        self.assertNotEqual(done.status, 0, done)

    def test_a_worker_without_a_head_is_refused_and_does_not_stay(self):
        os.makedirs(self.path("private"), mode=0o700)
        done = self.shoal("start", "--address", "ipc://%s/none.sock" % self.path("private"))
        self.assert_exit(done, 1, "none.sock")
        self.assertEqual(processes_of(self.folder), {})

    def test_stop_without_anything_running_says_so(self):
        done = self.shoal("stop")
        self.assertNotEqual((done.out + done.err).strip(), "")

    def test_jobs_that_are_not_finished_are_named_and_go_on_later(self):
        endpoint = self.started()
        flow = self.workflow(self.sqlite_source(self.sqlite(1)))
        run = self.start("ingest", "-c", flow, "--head", endpoint)  # it waits: there is no worker
        wait_until(lambda: "PENDING" in self.shoal("job", "list").out, 10, "the job")
        run.kill()
        run.communicate()
        self.assert_exit(self.shoal("stop"), 0, "1 job is not finished (1); to go on with it: shoal "
                         "start --head")
        wait_until(lambda: not processes_of(self.folder), 10, "the end of all processes")
        self.assert_exit(self.shoal("start", "--head"), 0)
        self.assert_exit(self.shoal("start", "--address", endpoint), 0)
        wait_until(lambda: "SUCCEEDED" in self.shoal("job", "list").out, 20, "the job's end")
        stopped = self.shoal("stop")
        self.assert_exit(stopped, 0)
        self.assertNotIn("not finished", stopped.out)

    def test_a_reader_who_has_seen_enough_is_no_error(self):
        self.started()
        for words in (("job", "list"), ("status",), ("job", "--help")):
            ends = os.pipe()
            os.close(ends[0])
            run = self.start(*words, stdout=ends[1])
            os.close(ends[1])
            err = run.communicate(timeout=20)[1]
            self.assertEqual((run.returncode, err), (141, b""), words)

    def test_a_socket_that_was_left_is_told_with_the_next_step(self):
        endpoint = self.started()
        pid = json.loads(self.shoal("status", "--output", "json").out)["head"]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in processes_of(self.folder), 10, "the end of the head")
        flow = self.workflow(self.sqlite_source(self.sqlite(1)))
        for words in (("status",), ("job", "list"), ("ingest", "-c", flow, "--head", endpoint),
                      ("start", "--address", endpoint)):
            done = self.shoal(*words)
            self.assert_exit(done, 1, "has ended; to start one: shoal start --head")
        os.unlink(endpoint[len("ipc://"):])

    def test_workers_are_shown_by_name_and_the_first_digits_of_their_ids(self):
        endpoint = self.started()
        self.assert_exit(self.shoal("start", "--address", endpoint), 0)
        worker = json.loads(self.shoal("status", "--output", "json").out)["workers"][0]
        shown = self.shoal("status").out
        self.assertIn("%s (%s)" % (worker["name"], worker["id"][:8]), shown)
        self.assertNotIn(worker["id"], shown)

    def test_a_head_that_is_not_there_is_told(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(1)))
        done = self.ingest(flow, "--head", "ipc://%s/none.sock" % self.folder)
        self.assertIn(done.status, (1, 2), done)
        self.assertIn("none.sock", done.err)

    def test_a_head_in_the_open_is_refused_with_a_sentence(self):
        done = self.shoal("ingest", "-c", self.workflow(self.sqlite_source(self.sqlite(1))),
                          "--head", "tcp://192.0.2.1:6380")
        self.assertIn(done.status, (1, 2), done)
        self.assertNotEqual(done.err.strip(), "")


    def test_a_stop_says_what_it_has_done(self):
        endpoint = self.started()
        with Client(endpoint, id="c") as client, Worker(endpoint, id="w") as worker:
            job = str(client.submit({"name": "x", "class": "pipeline", "args": {}}, "x"))
            call = worker.call("check")
            done = self.shoal("job", "stop", job)
            self.assert_exit(done, 0, "job %s is asked to stop" % job, "shoal job get " + job)
            worker.answer(call)
            wait_until(lambda: "STOPPED" in self.shoal("job", "get", job).out, 10, "its end")
            self.assert_exit(self.shoal("job", "stop", job), 0, "has ended already: STOPPED")

    def test_drain_ends_a_worker_and_its_supervisor(self):
        endpoint = self.started()
        for _ in range(2):
            started = self.shoal("start", "--address", endpoint, "--slots", "1")
            self.assert_exit(started, 0, "shoal drain worker-")
        name = started.out.split("shoal drain ")[1].split()[0]
        status = json.loads(self.shoal("status", "--output", "json").out)
        second, = [w["id"] for w in status["workers"] if w["name"].endswith(" " + name)]
        first, = [w["id"] for w in status["workers"] if w["id"] != second]
        before = len(processes_of(self.folder))
        done = self.shoal("drain", first, "--drain-seconds", "5", "--output", "json")
        self.assert_exit(done, 0)
        told = json.loads(done.out)
        self.assertEqual((told["id"], told["running"], told["ended"]), (first, 0, True))
        wait_until(lambda: len(processes_of(self.folder)) == before - 2, 10,
                   "the end of worker and supervisor")
        status = json.loads(self.shoal("status", "--output", "json").out)
        self.assertEqual([w["id"] for w in status["workers"] if w["state"] == "alive"], [second])
        self.assert_exit(self.shoal("drain", name), 0, "has ended")
        self.assert_exit(self.shoal("drain", second), 1, "shoal status")
        self.assert_exit(self.shoal("drain"), 2)


class Processes(EndToEnd):
    def workers(self, endpoint):
        with Client(endpoint, id="looker") as client:
            return client.ask("workers")

    def ready(self, head, count):
        wait_until(lambda: sum(w["state"] in ("ready", "alive")
                               for w in self.workers(head.endpoint)) == count, 10,
                   "%d workers" % count)

    def test_a_head_refuses_what_strangers_could_reach(self):
        for listen in ("tcp://127.0.0.1:*", "tcp://0.0.0.0:*", "ipc:///tmp/shoal-stranger.sock"):
            with self.subTest(listen):
                with self.assertRaises(AssertionError) as raised:
                    self.head(listen=listen)
                self.assertNotIn("did not stop", str(raised.exception))

    def test_a_head_on_loopback_where_it_is_allowed(self):
        head = self.head("--insecure-loopback", listen="tcp://127.0.0.1:*")
        self.assertRegex(head.endpoint, r"^tcp://127\.0\.0\.1:\d+$")
        self.worker(head.endpoint, "--insecure-loopback", "--slots", "2")
        self.ready(head, 1)

    def test_the_lifeline_ends_head_and_worker_and_removes_the_socket(self):
        head = self.head()
        worker = self.worker(head.endpoint)
        self.ready(head, 1)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(head.stop(), 0)
        self.assertFalse(os.path.exists(head.endpoint[len("ipc://"):]))

    def test_terminate_ends_head_and_worker_with_exit_0(self):
        head = self.head()
        worker = self.worker(head.endpoint)
        self.ready(head, 1)
        for program in (worker, head):
            program.process.send_signal(signal.SIGTERM)
            self.assertEqual(program.process.wait(10), 0)

    #
    def test_workers_register_again_at_a_head_that_was_killed_and_started_again(self):
        head = self.head()
        worker = self.worker(head.endpoint)
        self.ready(head, 1)
        before = self.workers(head.endpoint)[0]["id"]
        head.kill()
        again = self.head()
        self.assertEqual(again.endpoint, head.endpoint)
        self.ready(again, 1)
        self.assertEqual(self.workers(again.endpoint)[0]["id"], before)
        self.assertIsNone(worker.process.poll())

    def test_a_killed_worker_is_started_again_by_its_supervisor(self):
        head = self.head()
        worker = self.worker(head.endpoint)
        self.ready(head, 1)

        def children():
            with open("/proc/%d/task/%d/children" % ((worker.process.pid,) * 2)) as file:
                return [int(pid) for pid in file.read().split()]
        first = wait_until(children, 5, "a worker below the supervisor")
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: children() and children() != first, 10, "a new worker")
        self.ready(head, 1)

    def test_a_worker_that_is_started_in_the_place_of_another_takes_over_at_once(self):
        head = self.head("--liveness-ms", "60000", "--heartbeat-ms", "1000")
        first = self.worker(head.endpoint, "--slots", "1", "--id", "the-one")
        self.ready(head, 1)
        first.process.kill()  # the supervisor; its worker goes with it
        first.process.wait()
        self.worker(head.endpoint, "--slots", "1", "--id", "the-one")
        self.ready(head, 1)
        workers = self.workers(head.endpoint)
        self.assertEqual([(w["id"], w["state"]) for w in workers], [("the-one", "alive")])

    def as_process_1(self, endpoint):
        """A worker that is process 1 of a namespace of its own, as in a container."""
        import subprocess
        unshare = ["unshare", "--pid", "--fork", "--kill-child"]
        if os.geteuid() != 0:
            unshare += ["--user", "--map-root-user"]
        if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
            self.skipTest("no process namespaces here")
        with open(self.path("init.log"), "ab") as log:
            outer = subprocess.Popen([*unshare, program("shoal-worker"), "--connect", endpoint,
                                      "--slots", "1"],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def end():
            outer.kill()
            outer.wait()
        self.addCleanup(end)
        return outer

    def children(self, pid):
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(child) for child in file.read().split()]

    def test_a_worker_that_is_process_1_drains_on_sigterm(self):
        head = self.head()
        outer = self.as_process_1(head.endpoint)
        self.ready(head, 1)
        supervisor = self.children(outer.pid)[0]
        os.kill(supervisor, signal.SIGTERM)
        self.assertEqual(outer.wait(20), 0)

    def test_a_worker_that_is_process_1_starts_again_what_died_and_leaves_no_zombies(self):
        head = self.head()
        outer = self.as_process_1(head.endpoint)
        self.ready(head, 1)
        supervisor = self.children(outer.pid)[0]
        before = self.children(supervisor)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: self.children(supervisor) not in ([], before), 10, "a new worker")
        self.ready(head, 1)
        self.assertEqual(len(self.children(supervisor)), 1)
        os.kill(supervisor, signal.SIGTERM)
        self.assertEqual(outer.wait(20), 0)

    def test_a_worker_waits_for_a_head_that_comes_later(self):
        os.makedirs(self.path("head"), mode=0o700)
        endpoint = "ipc://%s/head.sock" % self.path("head")
        self.worker(endpoint)
        head = self.head()
        self.ready(head, 1)

    def test_wrong_usage_of_the_programs_is_exit_2_and_says_what(self):
        import subprocess
        for name, arguments in (("shoal-head", []), ("shoal-head", ["--listen"]),
                                ("shoal-head", ["--nonsense"]), ("shoal-worker", []),
                                ("shoal-worker", ["--connect", "nowhere"]),
                                ("shoal-worker", ["--connect", "ipc:///x", "--slots", "-1"]),
                                ("shoal-worker", ["--nonsense"])):
            with self.subTest(name, arguments=arguments):
                done = subprocess.run([program(name), *arguments], capture_output=True,
                                      stdin=subprocess.DEVNULL, timeout=20)
                self.assertEqual(done.returncode, 2, done)
                self.assertNotEqual(done.stderr, b"")


if __name__ == "__main__":
    unittest.main()
