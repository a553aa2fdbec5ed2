# SPDX-License-Identifier: Apache-2.0
"""Output that cannot be written: said before work starts where it can be known; what was
collected is kept and named otherwise."""

import os
import resource
import sqlite3
import unittest

from case import EndToEnd, processes_of, wait_until


class Output(EndToEnd):
    def refused(self, out, *words):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)), out=out)
        done = self.ingest(flow)
        self.assertIn(done.status, (1, 2), done)
        for word in words:
            self.assertIn(word, done.err, done)
        return done

    def test_a_missing_folder_is_said_before_the_work(self):
        self.refused("none/out.jsonl", "none", "No such file")

    def test_a_folder_in_its_place_is_said_before_the_work(self):
        os.mkdir(self.path("taken"))
        self.refused("taken", "taken", "directory")

    def test_a_folder_without_permission_is_said_before_the_work(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)), out="shut/out.jsonl")
        os.mkdir(self.path("shut"), mode=0o555)
        done = self.shoal("ingest", "-c", flow, **self.as_nobody("small.db", "flow.yaml"))
        self.assertIn(done.status, (1, 2), done)
        self.assertIn("ermission denied", done.err)

    def test_a_full_disk_keeps_what_was_collected_and_says_so(self):
        """A limit of the file size stands for the full disk: write() fails in the middle. It is the
        command's alone; what it has read goes on later."""
        base = sqlite3.connect(self.path("small.db"))
        for n in range(400):
            base.execute("CREATE TABLE t%03d (%s)" % (n, ", ".join(
                "a_rather_long_name_of_a_column_%d TEXT" % c for c in range(30))))
        base.commit()
        base.close()
        flow = self.workflow(self.sqlite_source(self.path("small.db")))

        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (200000, resource.RLIM_INFINITY))

        def ended():
            for pid in processes_of(self.folder):  # its children get theirs back
                if pid != run.pid:
                    try:
                        resource.prlimit(pid, resource.RLIMIT_FSIZE,
                                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                    except ProcessLookupError:
                        pass
            return run.poll() is not None
        run = self.start("ingest", "-c", flow, preexec_fn=limited)
        wait_until(ended, 30, "the end of the run")
        err = run.communicate()[1].decode()
        self.assertEqual(run.returncode, 1, err)
        self.assertRegex(err, r"out.jsonl.*File too large")
        self.assertIn("to go on with this run: shoal ingest -c", err)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))
        self.assert_exit(self.ingest(flow, "--resume"), 0)
        self.assertEqual(len(self.tables()), 400)
        self.assert_no_partial()

    def test_a_device_that_is_always_full_is_told(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)))
        with open("/dev/full", "wb") as full:
            done = self.shoal("ingest", "-c", flow, "-o", "-", stdout=full)
        self.assertEqual(done.status, 1, done)
        self.assertIn("No space left", done.err)

    def test_a_reader_that_goes_away_ends_it_quietly(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)))
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = self.shoal("ingest", "-c", flow, "-o", "-", stdout=write_end)
        os.close(write_end)
        self.assertEqual(done.status, 141, done)
        self.assertEqual(done.err, "")

    def test_an_older_result_is_replaced_only_by_a_whole_one(self):
        self.write("out.jsonl", "old\n")
        bad = self.workflow(self.sqlite_source(self.path("none.db")), "bad.yaml")
        self.assertNotEqual(self.ingest(bad).status, 0)
        with open(self.path("out.jsonl")) as file:
            self.assertEqual(file.read(), "old\n")
        good = self.workflow(self.sqlite_source(self.sqlite(3)), "good.yaml")
        self.assert_exit(self.ingest(good), 0)
        self.assertEqual(len(self.tables()), 4)
        self.assert_no_partial()

    def kept(self, path, *arguments, written=None):
        """`shoal ingest` refuses to write over `path`, and has not touched it."""
        with open(path, "rb") as file:
            before = file.read()
        done = self.shoal("ingest", *arguments, "-o", written or path)
        self.assert_exit(done, 2, "cannot write", "choose another file")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)
        return done

    def test_a_run_does_not_write_over_what_it_reads(self):
        base = self.sqlite(3)
        flow = self.workflow(self.sqlite_source(base))
        os.link(base, self.path("other.db"))
        os.link(base, self.path("small.part"))
        self.assertIn("what the source reads", self.kept(base, "sqlite:" + base).err)
        self.kept(base, "-c", flow)
        self.kept(base, "sqlite:" + base, written="other.db")
        self.kept(base, "-c", flow, written="small")
        self.assertIn("the workflow file", self.kept(flow, "-c", flow).err)
        self.assertEqual(os.listdir(self.folder).count("out.jsonl"), 0)

    def test_nor_where_the_workflow_says_so(self):
        base = self.sqlite(3)
        flow = self.workflow(self.sqlite_source(base), out="small.db")
        self.assert_exit(self.ingest(flow), 2, "what the source reads")
        self.assertEqual(len(sqlite3.connect(base).execute("SELECT * FROM t000").fetchall()), 0)
        text = self.write("names.txt", "a\n")
        source = {"type": "example", "serviceName": "e",
                  "serviceConnection": {"config": {"type": "Example", "path": text}},
                  "sourceConfig": {"config": {"type": "DatabaseMetadata"}}}
        self.kept(text, "-c", self.workflow(source, "example.yaml"))


if __name__ == "__main__":
    unittest.main()
