# SPDX-License-Identifier: Apache-2.0
"""A head that dies in the middle of a real ingest, at any step of its way to the disk, and is started
again: the run goes on, and its file has each record once."""

import glob
import os
import unittest

from case import EndToEnd, wait_until

TABLES = 300
POINTS = ("segment-written", "segment-synced", "commit-begun", "commit-before", "commit-after",
          "report-before", "report-after")


class Restart(EndToEnd):
    def setUp(self):
        super().setUp()
        self.flow = self.workflow(self.sqlite_source(self.sqlite(TABLES)))
        self.the_head = None

    def start_head(self, *flags):
        """Starts the head anew, on the same state."""
        if self.the_head:
            self.the_head.process.wait(20)
        self.the_head = self.head(*flags)
        return self.the_head

    def run_through(self):
        """An ingest whose head dies meanwhile, and comes back; it ends well."""
        run = self.start("ingest", "-c", self.flow, "--head", self.the_head.endpoint,
                         "--output", "json")
        try:
            yield run
        finally:
            out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 0, err.decode(errors="replace") + self.the_head.log())
        self.assertEqual(len(self.tables()), TABLES + 1)
        self.assert_no_partial()

    def test_a_head_that_dies_at_each_step_of_a_group_commit(self):
        for times, point in enumerate(POINTS, 1):
            with self.subTest(point, times=times):
                head = self.start_head("--crash-at", "%s:%d" % (point, times))
                worker = self.worker(head.endpoint, "--slots", "2")
                for run in self.run_through():
                    wait_until(lambda: not head.is_alive() or run.poll() is not None, 20)
                    if not head.is_alive():
                        self.start_head()
                worker.stop()
                self.the_head.stop()

    def test_a_head_that_is_killed_again_and_again(self):
        head = self.start_head()
        self.worker(head.endpoint, "--slots", "2")
        for run in self.run_through():
            wait_until(lambda: "JOB-ACCEPTED" in self.the_head.log() or
                       run.poll() is not None, 20)  # a head that is away at the first dial is an error
            for _ in range(3):
                size = os.path.getsize(self.the_head.log_path)
                wait_until(lambda: os.path.getsize(self.the_head.log_path) > size or
                           run.poll() is not None, 20)  # it has done something
                self.the_head.kill()
                self.start_head()

    def test_the_output_of_a_finished_job_is_there_after_a_restart(self):
        head = self.start_head()
        self.worker(head.endpoint)
        for _ in self.run_through():
            pass
        first = sorted(open(self.path("out.jsonl"), "rb").read().splitlines())
        self.the_head.kill()
        head = self.start_head()
        done = self.shoal("job", "output", "1", "--head", head.endpoint, "-o", "again.jsonl")
        self.assert_exit(done, 0)
        again = sorted(open(self.path("again.jsonl"), "rb").read().splitlines())
        self.assertEqual(again, first)
        listed = self.shoal("job", "list", "--head", head.endpoint)
        self.assert_exit(listed, 0, "SUCCEEDED")

    def test_output_that_is_damaged_is_told_with_its_place(self):
        """R-7.9: neither hangs nor ends well, and what came before the damage stays."""
        head = self.start_head()
        self.worker(head.endpoint)
        for _ in self.run_through():
            pass
        self.the_head.kill()
        segments = glob.glob(os.path.join(head.folder, "state", "spool-1-*.seg"))
        path = max(segments, key=os.path.getsize)
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)  # of the last batch's records
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
        head = self.start_head()
        done = self.shoal("job", "output", "1", "--head", head.endpoint, "-o", "again.jsonl")
        self.assert_exit(done, 1, "the head cannot give the job's output", "what there is stays in")
        self.assertRegex(done.err, r'%s" at \d+: ' % os.path.basename(path))
        self.assertIn("OUTPUT-LOST", head.log())
        self.assertGreater(os.path.getsize(self.path("again.jsonl.part")), 0)
        self.assertFalse(os.path.exists(self.path("again.jsonl")))


if __name__ == "__main__":
    unittest.main()
