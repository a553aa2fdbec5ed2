# SPDX-License-Identifier: Apache-2.0
"""`shoal ingest` of an embedded database, as a user runs it."""

import json
import os
import sqlite3
import unittest

from case import ROOT, SLOWER, EndToEnd, processes_of, wait_until


class Ingest(EndToEnd):
    def test_the_example_shop_is_read_whole(self):
        base = sqlite3.connect(self.path("shop.db"))
        with open(os.path.join(ROOT, "docs/examples/shop.sql"), encoding="utf-8") as file:
            base.executescript(file.read())
        expected = {name for name, in base.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            " AND name NOT LIKE 'sqlite_%'")}
        base.close()
        self.assertGreater(len(expected), 30)
        done = self.ingest(os.path.join(ROOT, "docs/examples/shop.yaml"),
                           "--set", "source.serviceConnection.config.databaseMode=" +
                           self.path("shop.db"), "-o", self.path("shop.jsonl"))
        self.assert_exit(done, 0, "shop.jsonl")
        self.assertEqual({r["name"] for r in self.records("shop.jsonl") if r["kind"] == "table"},
                         expected)
        kinds = {r["kind"] for r in self.records("shop.jsonl")}
        self.assertLessEqual({"databaseService", "database", "databaseSchema", "table"}, kinds)
        self.assert_no_partial("shop.jsonl")

    def test_every_table_comes_once_with_its_columns(self):
        done = self.ingest(self.workflow(self.sqlite_source(self.sqlite(30))))
        self.assert_exit(done, 0)
        tables = [r for r in self.records() if r["kind"] == "table"]
        self.assertEqual(sorted(r["name"] for r in tables),
                         sorted(["t%03d" % n for n in range(30)] + ["latest"]))
        for record in tables:
            self.assertIn("id", [column["name"] for column in record["columns"]])
        self.assert_no_partial()

    def test_no_file_but_the_result_is_made(self):
        before = {"small.db", "flow.yaml", "out.jsonl", "shoal", ".local"}
        done = self.ingest(self.workflow(self.sqlite_source(self.sqlite())))
        self.assert_exit(done, 0)
        self.assertLessEqual(set(os.listdir(self.folder)), before)
        self.assertEqual(os.listdir(self.path(".local/state/shoal/runs")), [])

    def test_a_runtime_folder_too_long_for_a_socket_is_no_obstacle(self):
        deep = self.path("d" * 120)
        os.mkdir(deep, mode=0o700)
        done = self.ingest(self.workflow(self.sqlite_source(self.sqlite(3))),
                           env={"XDG_RUNTIME_DIR": deep})
        self.assert_exit(done, 0)
        self.assertEqual(len(self.tables()), 4)

    def test_output_json_prints_one_object_and_nothing_else(self):
        done = self.ingest(self.workflow(self.sqlite_source(self.sqlite(5))), "--output", "json")
        self.assert_exit(done, 0)
        whole = self.summary(done)
        self.assertEqual(whole["state"], "SUCCEEDED")
        self.assertLessEqual({"total", "successful", "failed", "filtered", "by_kind"},
                             set(whole["records"]))
        self.assertEqual(whole["records"]["by_kind"]["table"], 6)
        self.assertEqual(whole["records"]["successful"], len(self.records()))
        self.assertLessEqual({"total", "retried", "dead"}, set(whole["shards"]))
        self.assertEqual(whole["errors"], [])
        self.assertGreater(whole["records_per_second"], 0)

    def test_standard_output_gets_the_records_and_nothing_else(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)))
        done = self.ingest(flow, "-o", "-")
        self.assert_exit(done, 0)
        records = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual(len([r for r in records if r["kind"] == "table"]), 6)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_a_dry_run_reads_and_writes_nothing(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)))
        done = self.ingest(flow, "--dry-run", "--output", "json")
        self.assert_exit(done, 0)
        self.assertEqual(self.summary(done)["records"]["by_kind"]["table"], 6)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))
        self.assert_no_partial()

    def test_a_limit_stops_at_that_many_records(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(50)))
        done = self.ingest(flow, "--limit", "7", "--output", "json")
        self.assertIn(done.status, (0, 3), done)
        self.assertEqual(len(self.tables()), 7)

    def test_filters_decide_and_are_counted(self):
        source = self.sqlite_source(self.sqlite(20), tableFilterPattern={"includes": ["^t00"]})
        done = self.ingest(self.workflow(source), "--output", "json")
        self.assert_exit(done, 0)
        self.assertEqual(len(self.tables()), 10)
        self.assertEqual(self.summary(done)["records"]["filtered"], 11)

    def test_validate_shows_the_plan_and_reads_nothing(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(5)))
        done = self.shoal("validate", "-c", flow)
        self.assert_exit(done, 0)
        self.assertRegex(done.out + done.err, r"(?i)shard")
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_a_value_is_set_on_the_command_line(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(3)))
        done = self.ingest(flow, "--set", "source.serviceName=renamed")
        self.assert_exit(done, 0)
        self.assertEqual({r["name"] for r in self.records() if r["kind"] == "databaseService"},
                         {"renamed"})

    def test_one_slot_and_many_read_the_same(self):
        source = self.sqlite_source(self.sqlite(40))
        one = self.ingest(self.workflow(source, "one.yaml", "one.jsonl"), "--parallelism", "1")
        many = self.ingest(self.workflow(source, "many.yaml", "many.jsonl"), "--parallelism", "4")
        self.assert_exit(one, 0)
        self.assert_exit(many, 0)
        self.assertEqual(self.tables("one.jsonl"), self.tables("many.jsonl"))

    def test_zero_tables_are_a_success_with_a_warning(self):
        done = self.ingest(self.workflow(self.sqlite_source(self.sqlite(0))))
        self.assert_exit(done, 0)
        self.assertRegex(done.err + done.out, r"\b0\b")

    def test_a_filter_that_leaves_nothing_is_a_success_with_a_warning(self):
        source = self.sqlite_source(self.sqlite(4), tableFilterPattern={"excludes": [".*"]})
        flow = self.workflow(source)
        self.assert_exit(self.ingest(flow), 0, "nothing is left: all 5 tables were filtered")
        done = self.ingest(flow, "--output", "json")
        self.assertIn("nothing is left", self.summary(done)["warnings"][-1]["message"])

    def test_what_is_no_database_is_said(self):
        with open(self.path("wrong.db"), "wb") as file:
            file.write(b"this is not a database, but long enough to look at" * 100)
        done = self.ingest(self.workflow(self.sqlite_source(self.path("wrong.db"))))
        self.assertIn(done.status, (1, 2), done)
        self.assertIn("wrong.db", done.err)
        self.assertIn("not an SQLite database", done.err)

    def test_a_damaged_database_is_said(self):
        path = self.sqlite(50)
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(b"\xa5" * 4000)
        done = self.ingest(self.workflow(self.sqlite_source(path)))
        self.assertIn(done.status, (1, 2, 3), done)
        self.assertIn("small.db", done.err)
        self.assertRegex(done.err, "damaged|malformed")

    def test_a_locked_database_is_waited_for(self):
        path = self.sqlite(5)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN EXCLUSIVE")
        run = self.start("ingest", "-c", self.workflow(self.sqlite_source(path)))
        wait_until(lambda: self.opened(path), 10, "somebody who reads the database")
        writer.execute("ROLLBACK")
        writer.close()
        out, err = run.communicate(timeout=30 * SLOWER)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(len(self.tables()), 6)

    def opened(self, path):
        """Whether a process of this test has the file open."""
        for pid in processes_of(self.folder):
            try:
                if path in [os.readlink("/proc/%d/fd/%s" % (pid, fd))
                            for fd in os.listdir("/proc/%d/fd" % pid)]:
                    return True
            except OSError:
                continue  # it ended while we looked
        return False

    def test_a_database_that_is_not_there_is_said_and_not_made(self):
        done = self.ingest(self.workflow(self.sqlite_source(self.path("none.db"))))
        self.assertIn(done.status, (1, 2), done)
        self.assertIn("none.db", done.err)
        self.assertFalse(os.path.exists(self.path("none.db")))

    def test_names_of_all_sorts_survive(self):
        odd = ['a"b', "a.b", "a\nb", "a'b", "日本語", "🐟🐠", "x" * 63, "a b", "a;b", "%s%n"]
        base = sqlite3.connect(self.path("odd.db"))
        for name in odd:
            base.execute('CREATE TABLE "%s" ("%s" INTEGER)' % ((name.replace('"', '""'),) * 2))
        base.commit()
        base.close()
        self.assert_exit(self.ingest(self.workflow(self.sqlite_source(self.path("odd.db")))), 0)
        tables = {r["name"]: r for r in self.records() if r["kind"] == "table"}
        quoted = [name.replace('"', "__reserved__quote__") for name in odd]  # as OpenMetadata does
        self.assertEqual(sorted(tables), sorted(quoted))
        for name, record in tables.items():
            self.assertEqual([c["name"] for c in record["columns"]], [name])


class CommandLine(EndToEnd):
    def test_help_and_version(self):
        for arguments in (("--help",), ("ingest", "--help"), ("validate", "--help"),
                          ("init", "--help"), ("start", "--help"), ("status", "--help")):
            done = self.shoal(*arguments)
            self.assert_exit(done, 0, "shoal")
        self.assert_exit(self.shoal("--version"), 0, "0.1")

    def test_wrong_usage_is_exit_2_and_says_what(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(1)))
        for arguments in ((), ("swim",), ("ingest",), ("ingest", "-c"),
                          ("ingest", "-c", flow, "--no-such-flag"),
                          ("ingest", "-c", flow, "--parallelism", "many"),
                          ("ingest", "-c", flow, "--parallelism", "-1"),
                          ("ingest", "-c", flow, "--limit", "x"),
                          ("ingest", "-c", flow, "--output", "poem"),
                          ("ingest", "-c", flow, "--log-level", "LOUD"),
                          ("ingest", "-c", flow, "--set", "nothing"),
                          ("ingest", "mongodb://x/y")):
            with self.subTest(arguments=arguments):
                done = self.shoal(*arguments)
                self.assert_exit(done, 2)
                self.assertNotEqual(done.err.strip(), "")
                self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_init_writes_a_file_that_can_be_checked(self):
        for kind in ("sqlite", "postgres"):
            with self.subTest(kind):
                done = self.shoal("init", kind)
                self.assert_exit(done, 0)
                text = done.out
                if not text.strip():  # it wrote a file
                    name, = [n for n in os.listdir(self.folder) if n.endswith((".yaml", ".yml"))]
                    with open(self.path(name), encoding="utf-8") as file:
                        text = file.read()
                    again = self.shoal("init", kind)
                    self.assertNotEqual(again.status, 0, "an existing file was overwritten")
                    os.unlink(self.path(name))
                self.assertIn("type: " + kind, text)
                self.assertIn("sink:", text)

    def test_init_of_an_unknown_type_lists_the_known(self):
        self.assert_exit(self.shoal("init", "postgre"), 2, "postgres", "sqlite")


if __name__ == "__main__":
    unittest.main()
