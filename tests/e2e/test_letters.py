# SPDX-License-Identifier: Apache-2.0
"""Dead letters as a user meets them: kept, shown, tried again, dropped."""

import glob
import json
import os
import sqlite3
import unittest

from case import BUILD, EndToEnd

TOKEN = "s3cret-token"


class Letters(EndToEnd):
    def setUp(self):
        super().setUp()
        self.connectors = self.path("connectors")
        os.mkdir(self.connectors)
        for path in glob.glob(os.path.join(BUILD, "lib", "shoal", "*.so")) + \
                [os.path.join(BUILD, "tests", "letters", "shoal-picky.so")]:
            os.symlink(path, os.path.join(self.connectors, os.path.basename(path)))

    def cluster(self):
        """A head and a worker with the module of this test; returns the endpoint."""
        head = self.head()
        self.worker(head.endpoint, "--slots", "2", "--connectors", self.connectors)
        return head.endpoint

    def dislike(self, *names):
        self.write("bad.txt", "".join(name + "\n" for name in names))

    def flow(self, base=None, **more):
        source = self.sqlite_source(base or self.sqlite(6))
        return self.workflow(source, processor={"type": "picky", "config": {
            "list": self.path("bad.txt"), "token": TOKEN}}, **more)

    def broken(self, *views):
        """A database of six tables and `views` that cannot be read: their table is gone."""
        path = self.sqlite(6)
        base = sqlite3.connect(path)
        for view in views:
            base.execute("CREATE TABLE gone_%s (id INTEGER)" % view)
            base.execute("CREATE VIEW %s AS SELECT id FROM gone_%s" % (view, view))
            base.execute("DROP TABLE gone_%s" % view)
        base.commit()
        base.close()
        return path

    def mend(self, path, view):
        base = sqlite3.connect(path)
        base.execute("CREATE TABLE gone_%s (id INTEGER)" % view)
        base.commit()
        base.close()

    def dlq(self, *arguments, status=0):
        done = self.shoal("dlq", *arguments, "--head", self.endpoint)
        self.assertEqual(done.status, status, done)
        return done

    def letters(self, job=1):
        return json.loads(self.dlq("list", str(job), "--output", "json").out)

    def test_bad_records_are_letters_and_come_when_they_are_mended(self):
        self.endpoint = self.cluster()
        self.dislike("t001", "t003")
        done = self.ingest(self.flow(), "--head", self.endpoint, "--output", "json")
        whole = self.summary(done)
        self.assertEqual((done.status, whole["state"], whole["balanced"]), (3, "PARTIAL", True), done)
        self.assertEqual(whole["records"]["failed"], 2)
        self.assertEqual(whole["dead_letters"]["total"], 2)
        self.assertNotIn(TOKEN, done.out + done.err)
        self.assertIn("shoal dlq list 1 --head %s\n" % self.endpoint,
                      self.shoal("job", "get", "1", "--head", self.endpoint).out)
        found = self.letters()
        self.assertEqual([(one["letter"], one["kind"], one["name"], one["step"]) for one in found],
                         [(1, "record", "small.default.main.t001", "processor[0]"),
                          (2, "record", "small.default.main.t003", "processor[0]")])
        self.assertIn("does not please, says ***", found[0]["message"])
        shown = self.dlq("show", "1", "2").out
        self.assertIn("data, invalid", shown)
        self.assertIn('"name":"t003"', shown)
        self.assertIn("run 1, attempt 1", shown)
        self.assertNotIn(TOKEN, shown)

        self.dislike("t003")
        done = self.dlq("retry", "1", "-o", self.path("again.jsonl"), status=3)
        self.assertEqual(self.tables("again.jsonl"), ["small.default.main.t001"])
        left = self.letters()
        self.assertEqual([(one["letter"], one["run"]) for one in left], [(2, 2)])
        self.assertEqual(self.dlq("show", "1", "2").out.count("attempt  run"), 2)

        self.dislike()
        done = self.shoal("job", "retry", "1", "--head", self.endpoint)
        self.assert_exit(done, 0, "SUCCEEDED")
        self.assertEqual(self.letters(), [])
        self.assertIn("no job has dead letters", self.dlq("list").out)
        self.dlq("retry", "1", status=1)

        # each increment alone, and all of it
        for flags, names in ((("--run", "2"), ["t001"]), (("--run", "3"), ["t003"])):
            done = self.shoal("job", "output", "1", *flags, "-o", self.path("part.jsonl"),
                              "--head", self.endpoint)
            self.assertIn(done.status, (0, 3), done)
            self.assertEqual(self.tables("part.jsonl"), ["small.default.main." + n for n in names])
        done = self.shoal("job", "output", "1", "-o", self.path("whole.jsonl"), "--head", self.endpoint)
        self.assertEqual(done.status, 3, done)
        self.assertEqual(self.tables("whole.jsonl"), sorted(
            "small.default.main." + name for name in
            ["t00%d" % n for n in range(6)] + ["latest"]))
        told = self.shoal("job", "get", "2", "--head", self.endpoint).out
        self.assertIn("run 3: job 3, SUCCEEDED", told)
        done = self.shoal("job", "output", "1", "--run", "9", "--head", self.endpoint)
        self.assert_exit(done, 1, "has no run 9")

    def test_a_retry_that_brings_nothing_spares_the_old_file(self):
        self.endpoint = self.cluster()
        self.dislike()
        base = self.broken("v1")
        done = self.ingest(self.flow(base), "--head", self.endpoint)
        self.assert_exit(done, 3, "1 dead letter")
        file = sqlite3.connect(base)
        file.execute("DROP VIEW v1")
        file.commit()
        file.close()
        self.write("old.jsonl", "old\n")
        done = self.dlq("retry", "1", "-o", self.path("old.jsonl"), "--output", "json")
        self.assertEqual(self.summary(done)["records"]["vanished"], 1)
        self.assertIn("old.jsonl stays as it was", done.err)
        self.assertIn("vanished    1 gone at the source", done.err)
        with open(self.path("old.jsonl")) as file:
            self.assertEqual(file.read(), "old\n")
        self.assert_no_partial("old.jsonl")
        self.assertEqual(self.letters(), [])

    def test_what_the_source_cannot_read_is_read_again(self):
        self.endpoint = self.cluster()
        self.dislike()
        base = self.broken("v1", "v2")
        done = self.ingest(self.flow(base), "--head", self.endpoint)
        self.assert_exit(done, 3, "2 dead letters", "small.default.main.v1")
        self.assertEqual([(one["kind"], one["step"]) for one in self.letters()],
                         [("source", "source")] * 2)
        self.mend(base, "v2")
        done = self.dlq("retry", "1", "-o", self.path("again.jsonl"), status=3)
        self.assertEqual([(r["kind"], r["name"]) for r in self.records("again.jsonl")],
                         [("table", "v2")])
        self.assertEqual([one["name"] for one in self.letters()], ["small.default.main.v1"])

    def test_letters_are_dropped_and_exported(self):
        self.endpoint = self.cluster()
        self.dislike("t001", "t002", "t003")
        self.assert_exit(self.ingest(self.flow(), "--head", self.endpoint), 3)
        lines = [json.loads(line) for line in
                 self.dlq("list", "1", "--output", "jsonl").out.splitlines()]
        self.assertEqual(len(lines), 3)
        self.assertEqual(set(lines[0]), {"record_id", "error", "traceback", "data"})
        self.assertEqual((lines[0]["record_id"], lines[0]["data"]["name"]),
                         ("small.default.main.t001", "t001"))
        self.assertIn("run 1, attempt 1", lines[0]["traceback"])
        self.assertIn("LETTERS", self.dlq("list").out)
        self.dlq("drop", "1", "2")
        self.assertEqual([one["letter"] for one in self.letters()], [1, 3])
        self.assertIn("no dead letter 2", self.dlq("drop", "1", "2", status=1).err)
        self.assertIn("no number", self.dlq("drop", "1", "x", status=2).err)
        self.assertIn("no job", self.dlq("list", "77", status=1).err)
        self.dlq("drop", "1")
        self.assertEqual(self.letters(), [])

    def test_a_run_can_be_opened_without_waiting(self):
        self.endpoint = self.cluster()
        self.dislike("t001")
        self.assert_exit(self.ingest(self.flow(), "--head", self.endpoint), 3)
        self.dislike()
        done = self.dlq("retry", "1", "--no-wait", "--output", "json")
        self.assertEqual(json.loads(done.out), {"job": 2, "of": 1})
        done = self.shoal("job", "output", "2", "--head", self.endpoint)
        self.assertEqual([json.loads(line)["name"] for line in done.out.splitlines()], ["t001"])
        self.assertEqual(self.letters(), [])

    def test_a_private_run_leaves_its_letters_beside_its_output(self):
        base = self.broken("v1")
        flow = self.workflow(self.sqlite_source(base))
        done = self.ingest(flow)
        name = self.path("out.jsonl.letters.jsonl")
        self.assert_exit(done, 3, "1 dead letter, in " + name)
        with open(name, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual([(one["record_id"], one["data"]) for one in lines],
                         [("small.default.main.v1", None)])
        self.assertIn("no such table", lines[0]["error"])
        done = self.ingest(flow, "-o", "-")
        self.assert_exit(done, 3, "with -o FILE they are kept")
        self.mend(base, "v1")
        self.assert_exit(self.ingest(flow), 0)
        self.assertFalse(os.path.exists(name))


if __name__ == "__main__":
    unittest.main()
