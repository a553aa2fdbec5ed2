# SPDX-License-Identifier: Apache-2.0
"""A sink that writes by itself fences itself: who was stopped past its lease writes no more, and
what it had is written by another only when it certainly does not (docs/protocol.md, R-6.14)."""

import glob
import os
import signal
import sys
import time
import unittest

from case import BUILD, ROOT, EndToEnd, SLOWER, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests", "proto", "python"))

from shoal_wire import Client  # noqa: E402

LEASE_MS = 2500
REQUEST_MS = 300  # of tests/support/modules/direct.c


class Direct(EndToEnd):
    def connectors(self):
        """A folder with the connectors of this build and the test's sink."""
        folder = self.path("connectors")
        os.makedirs(folder, exist_ok=True)
        for path in glob.glob(os.path.join(BUILD, "lib", "shoal", "*.so")) + \
                glob.glob(os.path.join(BUILD, "tests", "direct", "*.so")):
            target = os.path.join(folder, os.path.basename(path))
            if not os.path.exists(target):
                os.symlink(path, target)
        return folder

    def written(self):
        """[(pid, milliseconds, name)], in the order of writing."""
        try:
            with open(self.path("target")) as file:
                lines = [line.split(" ", 2) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []
        return [(int(pid), int(ms), name.strip()) for pid, ms, name in lines]

    def child_of(self, worker):
        """The process that the worker's supervisor has started, once it has."""
        def children():
            with open("/proc/%d/task/%d/children" % ((worker.process.pid,) * 2)) as file:
                return file.read().split()
        wait_until(children, 20, "a worker below its supervisor")
        return int(children()[0])

    def start_job(self, tables=60):
        head = self.head("--lease-ms", str(LEASE_MS), "--heartbeat-ms", "100",
                         "--liveness-ms", "700")
        flags = ("--slots", "1", "--connectors", self.connectors())
        workers = [self.worker(head.endpoint, *flags) for _ in range(2)]
        flow = self.workflow(self.sqlite_source(self.sqlite(tables)), sink={
            "type": "direct", "config": {"path": self.path("target"), "slow_ms": 30}})
        run = self.start("ingest", "-c", flow, "--head", head.endpoint, "--no-progress",
                         "--set", "sharding.type=table_count", "--set",
                         "sharding.tables_per_shard=10")
        children = [self.child_of(worker) for worker in workers]
        wait_until(lambda: {pid for pid, _, _ in self.written()} == set(children), 20,
                   "writes of both workers")
        return head, run, children

    def finish(self, run):
        out, err = run.communicate(timeout=60 * SLOWER)
        self.assertEqual(run.returncode, 0, (out, err))
        return {name for _, _, name in self.written()}

    def names(self, tables=60):
        return {"t%03d" % n for n in range(tables)} | {"latest"}

    def test_a_worker_that_was_stopped_past_its_lease_writes_no_more(self):
        head, run, children = self.start_job()
        stopped = children[0]

        def of_stopped():
            return [(ms, name) for pid, ms, name in self.written()
                    if pid == stopped and name.startswith("t0")]
        wait_until(lambda: len(of_stopped()) % 10 == 4, 20, "a shard that is half written")
        os.kill(stopped, signal.SIGSTOP)
        self.addCleanup(lambda: self.kill_quietly(stopped))
        last = of_stopped()[-1][0]
        mine = [name for _, name in of_stopped()]

        def again():
            return [ms for pid, ms, name in self.written() if pid != stopped and name in mine]
        first = wait_until(again, 30, "the shard of the stopped worker, written by the other")[0]
        self.assertGreaterEqual(first - last, LEASE_MS - 200)
        self.assertLessEqual(self.names(), self.finish(run))
        before = len(of_stopped())
        os.kill(stopped, signal.SIGCONT)
        with Client(head.endpoint, id="looker") as client:
            wait_until(lambda: sum(w["state"] == "alive" for w in client.ask("workers")) == 2, 10,
                       "the return of the worker")
        self.assertEqual(len(of_stopped()), before)

    def kill_quietly(self, pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def test_what_a_killed_worker_had_is_written_again_after_one_request(self):
        _, run, children = self.start_job()
        began = time.monotonic()
        os.kill(children[0], signal.SIGKILL)
        self.assertLessEqual(self.names(), self.finish(run))
        self.assertLess(time.monotonic() - began, 20 * SLOWER)

    def test_a_lease_that_is_shorter_than_a_request_is_refused(self):
        head = self.head("--lease-ms", str(REQUEST_MS), "--heartbeat-ms", "100",
                         "--liveness-ms", "700")
        self.worker(head.endpoint, "--slots", "1", "--connectors", self.connectors())
        flow = self.workflow(self.sqlite_source(self.sqlite(3)), sink={
            "type": "direct", "config": {"path": self.path("target")}})
        done = self.shoal("ingest", "-c", flow, "--head", head.endpoint)
        self.assertIn(done.status, (1, 2), done)
        self.assertIn("lease", done.err + done.out)
        self.assertEqual(self.written(), [])


if __name__ == "__main__":
    unittest.main()
