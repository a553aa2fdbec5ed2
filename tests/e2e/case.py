# SPDX-License-Identifier: Apache-2.0
"""case - what the end-to-end tests share: small sources, workflow files, records of a run."""

import glob
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))

from programs import BUILD, ROOT, SLOWER, ShoalTest, processes_of, program, wait_until  # noqa: E402,F401
from postgres import PASSWORD, Postgres  # noqa: E402,F401

JSON_KEYS = {"job", "state", "records", "shards", "seconds", "records_per_second", "errors"}


class EndToEnd(ShoalTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.assert_swept)  # runs when heads and workers of the test are gone

    def assert_swept(self):
        """Whatever a run was: no socket, lock or run folder stays."""
        left = [path for path in glob.glob(self.path("**"), recursive=True)
                if "/run-" in path or path.endswith(".sock")]
        self.assertEqual(left, [], "left behind")

    # -- sources

    def sqlite(self, tables=12, name="small.db"):
        """A database of `tables` tables and one view."""
        path = self.path(name)
        base = sqlite3.connect(path)
        base.execute("PRAGMA synchronous = OFF")  # else each table waits for the disk
        base.execute("BEGIN")
        for n in range(tables):
            base.execute("CREATE TABLE t%03d (id INTEGER PRIMARY KEY, name TEXT NOT NULL)" % n)
        if tables:
            base.execute("CREATE VIEW latest AS SELECT id FROM t000")
        base.commit()
        base.close()
        return path

    def sqlite_source(self, path, **more):
        source = {"type": "sqlite", "serviceName": "small",
                  "serviceConnection": {"config": {"type": "SQLite", "databaseMode": path}},
                  "sourceConfig": {"config": {"type": "DatabaseMetadata"}}}
        source["sourceConfig"]["config"].update(more)
        return source

    def postgres_source(self, server, config=None, **more):
        connection = {"type": "Postgres", **server.config()}
        connection.update(config or {})
        return {"type": "postgres", "serviceName": "pg",
                "serviceConnection": {"config": connection},
                "sourceConfig": {"config": {"type": "DatabaseMetadata", **more}}}

    # -- workflow files and runs

    def workflow(self, source, name="flow.yaml", out="out.jsonl", **more):
        """Writes a workflow file (JSON is YAML); returns its path."""
        whole = {"source": source,
                 "sink": {"type": "file", "config": {"filename": self.path(out)}},
                 "workflowConfig": {"loggerLevel": "INFO"}}
        whole.update(more)
        return self.write(name, json.dumps(whole, indent=1, ensure_ascii=False))

    def ingest(self, path, *flags, **options):
        return self.shoal("ingest", "-c", path, *flags, **options)

    def records(self, name="out.jsonl"):
        with open(self.path(name), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def tables(self, name="out.jsonl"):
        """Names of the table records, sorted; each must be there once."""
        names = ["%s.%s" % (r.get("databaseSchema", ""), r["name"]) for r in self.records(name)
                 if r["kind"] == "table"]
        self.assertEqual(len(names), len(set(names)), "a record came twice")
        return sorted(names)

    def as_nobody(self, *names):
        """Options of shoal(): root may do everything, so it becomes somebody who may not. This
        test's folder and those files in it are given away."""
        if os.geteuid() != 0:
            return {}
        for path in (self.folder, *map(self.path, names)):
            os.chown(path, 65534, 65534)
        return {"user": 65534, "group": 65534, "extra_groups": []}

    def assert_exit(self, done, status, *words):
        self.assertEqual(done.status, status, done)
        for word in words:
            self.assertIn(word, done.out + done.err, done)

    def assert_no_partial(self, name="out.jsonl"):
        for leftover in (".part", ".part.state"):
            self.assertFalse(os.path.exists(self.path(name + leftover)), name + leftover)

    def summary(self, done):
        """The object that --output json prints."""
        whole = json.loads(done.out)
        self.assertLessEqual(JSON_KEYS, set(whole), done)
        return whole
