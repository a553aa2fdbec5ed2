# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL: everything read once, every refusal told, nothing secret shown."""

import os
import signal
import socket
import unittest

from case import PASSWORD, EndToEnd, Postgres, processes_of, wait_until

ODD = ['a"b', "a.b", "a\nb", "a'b", "日本語", "🐟🐠", "x" * 63, "a b", "a;b", "%s%n", "Select",
       "tab\there", "back\\slash", "dollar$1"]


def stored(name):
    """A name as OpenMetadata stores it."""
    return name.replace('"', "__reserved__quote__")


def quoted(name):
    return '"%s"' % name.replace('"', '""')


class PostgresTest(EndToEnd):
    @classmethod
    def setUpClass(cls):
        cls.server = Postgres()
        cls.server.sql("CREATE DATABASE shop; CREATE DATABASE second; CREATE DATABASE odd")
        cls.server.sql("CREATE ROLE reader LOGIN PASSWORD '%s'" % PASSWORD)
        cls.server.sql("""
            CREATE SCHEMA sales; CREATE SCHEMA stock;
            CREATE TABLE public.customers (id bigint PRIMARY KEY, email varchar(80) NOT NULL UNIQUE,
                since timestamptz DEFAULT now());
            COMMENT ON TABLE public.customers IS 'who buys';
            COMMENT ON COLUMN public.customers.email IS 'in lower case';
            CREATE TABLE sales.orders (id int PRIMARY KEY, customer bigint NOT NULL
                REFERENCES public.customers, total numeric(10, 2), tags text[]);
            CREATE VIEW sales.big AS SELECT * FROM sales.orders WHERE total > 100;
            CREATE MATERIALIZED VIEW sales.daily AS SELECT count(*) AS n FROM sales.orders;
            CREATE TABLE stock.moves (at date, n int) PARTITION BY RANGE (at);
            CREATE TABLE stock.moves_2025 PARTITION OF stock.moves
                FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
            """ + "".join("CREATE TABLE stock.t%03d (id int, name text);" % n for n in range(60)),
            "shop")
        cls.server.sql("CREATE TABLE only_one (id int)", "second")
        cls.server.sql("".join("CREATE TABLE %s (%s int);" % (quoted(n), quoted(n)) for n in ODD) +
                       "".join("CREATE SCHEMA %s; CREATE TABLE %s.t (x int);" % (quoted(n), quoted(n))
                               for n in ODD), "odd")

    @classmethod
    def tearDownClass(cls):
        cls.server.destroy()

    def flow(self, config=None, database="shop", name="flow.yaml", out="out.jsonl", more=None,
             **source):
        config = {"database": database, **(config or {})}
        return self.workflow(self.postgres_source(self.server, config, **source), name, out,
                             **(more or {}))

    def blocked(self):
        """A session that holds every reader of comments until it is closed."""
        lock = self.server.session("BEGIN; LOCK TABLE pg_description IN ACCESS EXCLUSIVE MODE;",
                                   "shop")

        def release():
            if not lock.stdin.closed:
                lock.stdin.close()
            lock.wait()
            lock.stdout.close()
        self.addCleanup(release)
        lock.release = release
        return lock

    def readers(self, waiting=True):
        """How many backends of ours there are (that wait for a lock)."""
        return int(self.server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'shoal%'" +
            (" AND wait_event_type = 'Lock'" if waiting else "")))

    def small_shards(self):
        return {"sharding": {"type": "table_count", "tables_per_shard": 10}}

    def assert_no_secret(self, *texts):
        for text in texts:
            self.assertNotIn(PASSWORD, text)


class Reading(PostgresTest):
    def expected(self, database="shop"):
        return sorted(self.server.sql(
            "SELECT 'pg.%s.' || nspname || '.' || relname FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = relnamespace WHERE relkind IN ('r', 'v', 'm', 'p', 'f')"
            " AND NOT relispartition"
            " AND nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema'" % database,
            database).split("\n"))

    def test_every_relation_comes_once(self):
        done = self.ingest(self.flow(), "--output", "json")
        self.assert_exit(done, 0)
        self.assertEqual(self.tables(), self.expected())
        self.assertEqual(self.summary(done)["records"]["by_kind"]["table"], len(self.expected()))
        by_name = {r["name"]: r for r in self.records() if r["kind"] == "table"}
        customers = by_name["customers"]
        self.assertEqual(customers["description"], "who buys")
        columns = {c["name"]: c for c in customers["columns"]}
        self.assertEqual(columns["email"]["description"], "in lower case")
        self.assertEqual(columns["id"]["dataType"], "BIGINT")
        self.assertEqual(by_name["orders"]["columns"][3]["dataType"], "ARRAY")
        self.assertEqual(by_name["big"]["tableType"], "View")
        self.assertEqual(by_name["daily"]["tableType"], "MaterializedView")
        self.assertEqual(by_name["moves"]["tableType"], "Partitioned")
        self.assert_no_secret(done.out, done.err)

    def test_small_shards_and_many_slots_read_the_same(self):
        done = self.ingest(self.flow(more=self.small_shards()), "--parallelism", "4",
                           "--output", "json")
        self.assert_exit(done, 0)
        self.assertEqual(self.tables(), self.expected())
        self.assertGreater(self.summary(done)["shards"]["total"], 4)

    def test_a_url_instead_of_a_file(self):
        done = self.shoal("ingest", self.server.url("shop"), "-o", self.path("url.jsonl"))
        self.assert_exit(done, 0, "url.jsonl")
        self.assertEqual(len(self.tables("url.jsonl")), len(self.expected()))
        self.assert_no_secret(done.out, done.err)

    def test_the_example_file_reads_a_server_named_by_variables(self):
        from case import ROOT
        done = self.ingest(os.path.join(ROOT, "docs/examples/postgres.yaml"),
                           "-o", self.path("out.jsonl"),
                           env={"PGHOST": "127.0.0.1", "PGPORT": str(self.server.port),
                                "PGUSER": "postgres", "PGPASSWORD": PASSWORD, "PGDATABASE": "shop"})
        self.assert_exit(done, 0)
        self.assertEqual(len(self.tables()), len(self.expected()))
        self.assert_no_secret(done.out, done.err)

    def test_every_database_where_it_is_asked_for(self):
        done = self.ingest(self.flow({"ingestAllDatabases": True}))
        self.assert_exit(done, 0)
        names = {r["name"] for r in self.records() if r["kind"] == "database"}
        self.assertLessEqual({"shop", "second", "odd"}, names)
        self.assertIn("only_one", {r["name"] for r in self.records() if r["kind"] == "table"})

    def test_names_of_all_sorts_survive(self):
        self.assert_exit(self.ingest(self.flow(database="odd")), 0)
        tables = [r for r in self.records() if r["kind"] == "table"]
        self.assertEqual(sorted(r["name"] for r in tables if r["name"] != "t"),
                         sorted(map(stored, ODD)))
        self.assertEqual(len([r for r in tables if r["name"] == "t"]), len(ODD))
        self.assertEqual(len(tables), len(set(self.tables())))
        schemas = {r["name"] for r in self.records() if r["kind"] == "databaseSchema"}
        self.assertLessEqual(set(map(stored, ODD)), schemas)

    def test_a_schema_without_permission_is_a_failed_scope_or_read(self):
        """The catalogue of PostgreSQL is open to all, so a reader without USAGE reads it; what it
        must not be is silently empty."""
        self.server.sql("CREATE DATABASE closed")
        self.addCleanup(self.server.sql, "DROP DATABASE closed")
        self.server.sql("CREATE SCHEMA secret; CREATE TABLE secret.t (x int);"
                        "REVOKE ALL ON SCHEMA secret FROM PUBLIC", "closed")
        done = self.ingest(self.flow({"username": "reader", "database": "closed"}),
                           "--output", "json")
        if done.status == 0:
            self.assertIn("pg.closed.secret.t", self.tables())
        else:
            self.assert_exit(done, 3, "secret")

    def test_validate_plans_what_can_be_read_and_names_what_cannot(self):
        self.server.sql("CREATE DATABASE half")
        self.addCleanup(self.server.sql, "DROP DATABASE half")
        self.server.sql("CREATE TABLE open (x int); CREATE SCHEMA secret;"
                        "CREATE TABLE secret.t (x int);"
                        "REVOKE ALL ON SCHEMA secret FROM PUBLIC", "half")
        done = self.shoal("validate", "-c", self.flow({"username": "reader", "database": "half"}))
        self.assert_exit(done, 3, "good in part", "USAGE", "secret")
        self.assertIn("map", done.out)
        self.assertNotIn("balance", done.err)

    def test_what_is_filtered_by_default_is_noted(self):
        done = self.ingest(self.flow(), "--output", "json")
        self.assert_exit(done, 0)
        self.assertIn("information_schema", self.summary(done)["facts"]["filtered by default"])

    def test_a_database_without_permission_is_told(self):
        self.server.sql("CREATE DATABASE locked; REVOKE CONNECT ON DATABASE locked FROM PUBLIC")
        self.addCleanup(self.server.sql, "DROP DATABASE locked")
        done = self.ingest(self.flow({"username": "reader", "database": "second",
                                      "ingestAllDatabases": True}), "--output", "json")
        self.assert_exit(done, 3, "locked")
        self.assertIn("only_one", {r["name"] for r in self.records() if r["kind"] == "table"})


class Refusals(PostgresTest):
    def refused(self, flow, *words, statuses=(1, 2)):
        done = self.ingest(flow, seconds=40)
        self.assertIn(done.status, statuses, done)
        for word in words:
            self.assertIn(word, done.err, done)
        self.assert_no_secret(done.out, done.err)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))
        return done

    def fast(self):
        return {"workflowConfig": {"distributedExecution": {
            "retryPolicy": {"maxAttempts": 2, "backoffSeconds": 0.05}}}}

    def test_an_unknown_host(self):
        self.refused(self.flow({"hostPort": "no-such-host.invalid:5432"}, more=self.fast()),
                     "no-such-host.invalid")

    def test_a_refused_connection(self):
        with socket.socket() as probe:  # bound, but nobody listens
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            self.refused(self.flow({"hostPort": "127.0.0.1:%d" % port}, more=self.fast()),
                         str(port), "refused")

    def test_a_wrong_password(self):
        flow = self.flow({"authType": {"password": "wr0ng-secret"}})
        done = self.refused(flow, "password authentication failed", "flow.yaml")
        self.assertNotIn("wr0ng-secret", done.err + done.out)

    def test_an_unknown_database(self):
        self.refused(self.flow(database="nowhere"), "nowhere", "does not exist", "flow.yaml")

    def test_tls_demanded_and_not_there(self):
        self.refused(self.flow({"sslMode": "require"}), "SSL")

    def test_validate_says_the_same(self):
        done = self.shoal("validate", "-c", self.flow(database="nowhere"))
        self.assertIn(done.status, (1, 2), done)
        self.assertIn("nowhere", done.err)

    def test_validate_shows_the_plan_and_reads_nothing(self):
        lock = self.blocked()  # whoever reads comments would wait
        done = self.shoal("validate", "-c", self.flow(more=self.small_shards()))
        lock.release()
        self.assert_exit(done, 0, "shop")
        self.assert_no_secret(done.out, done.err)


class Limits(EndToEnd):
    def test_a_reached_connection_limit_uses_fewer_slots_and_goes_on(self):
        server = Postgres(max_connections=6, superuser_reserved_connections=3)
        self.addCleanup(server.destroy)
        server.sql("CREATE ROLE reader LOGIN PASSWORD '%s'" % PASSWORD)
        server.sql("".join("CREATE TABLE t%03d (id int);" % n for n in range(80)))
        source = self.postgres_source(server, {"username": "reader"})
        flow = self.workflow(source, sharding={"type": "table_count", "tables_per_shard": 5})
        done = self.ingest(flow, "--parallelism", "8", "--output", "json", seconds=60)
        self.assert_exit(done, 0)
        self.assertEqual(len(self.tables()), 80)


class Broken(EndToEnd):
    def test_a_server_killed_in_mid_read_is_told(self):
        server = Postgres()
        self.addCleanup(server.destroy)
        server.sql("".join("CREATE TABLE t%03d (id int);" % n for n in range(40)))
        lock = server.session("BEGIN; LOCK TABLE pg_description IN ACCESS EXCLUSIVE MODE;")
        flow = self.workflow(
            self.postgres_source(server), sharding={"type": "table_count", "tables_per_shard": 10},
            workflowConfig={"distributedExecution": {
                "retryPolicy": {"maxAttempts": 2, "backoffSeconds": 0.05}}})
        run = self.start("ingest", "-c", flow)
        wait_until(lambda: int(server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")), 20,
            "a reader that waits")
        server.kill()
        out, err = run.communicate(timeout=60)
        lock.stdin.close()
        lock.wait()
        lock.stdout.close()
        self.assertIn(run.returncode, (1, 3), err)
        self.assertNotIn(PASSWORD, (out + err).decode())
        self.assertRegex(err.decode(), r"(?i)server closed|terminat|connection|refused|shutting")
        self.assertFalse(os.path.exists(self.path("out.jsonl")) and run.returncode == 1)


class RunningTest(PostgresTest):
    """Runs that are held in the middle of their job."""

    def running(self, *flags, **options):
        """A run whose readers wait for the lock; (process, lock)."""
        lock = self.blocked()
        run = self.start("ingest", "-c", self.flow(more=self.small_shards()), *flags, **options)
        wait_until(self.readers, 20, "a reader that waits")
        return run, lock

    def ended(self, run, seconds=30):
        out, err = run.communicate(timeout=seconds)
        return (out or b"").decode(), (err or b"").decode()

    def of(self, run, name, supervisor=False):
        """The pids of that program below the run."""
        found = []
        for pid, line in processes_of(self.folder).items():
            if name in line.split(" ")[0]:
                with open("/proc/%d/stat" % pid) as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                if (parent == run.pid) == supervisor:
                    found.append(pid)
        return found


class Deaths(RunningTest):
    """Who dies in the middle of a job, and what is left."""

    def test_the_cluster_holds_no_more_connections_than_the_budget(self):
        lock = self.blocked()
        more = dict(self.small_shards(), workflowConfig={"distributedExecution": {
            "sourceConnectionBudget": 2}})
        run = self.start("ingest", "-c", self.flow(more=more), "--parallelism", "6",
                         "--workers", "3")
        wait_until(self.readers, 20, "a reader that waits")
        most = self.readers(waiting=False)
        lock.release()
        while run.poll() is None:
            most = max(most, self.readers(waiting=False))
        out, err = self.ended(run)
        self.assertEqual(run.returncode, 0, err)
        self.assertGreater(most, 0)
        self.assertLessEqual(most, 2, err)

    def test_a_killed_worker_costs_nothing(self):
        run, lock = self.running("--output", "json")
        victim = wait_until(lambda: self.of(run, "shoal-worker"), 5, "a worker")[0]
        os.kill(victim, signal.SIGKILL)
        lock.release()
        out, err = self.ended(run)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(len(self.tables()), 65)

    def test_a_killed_supervisor_costs_nothing(self):
        run, lock = self.running()
        victim = wait_until(lambda: self.of(run, "shoal-worker", True), 5, "a supervisor")[0]
        os.kill(victim, signal.SIGKILL)
        lock.release()
        out, err = self.ended(run)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(len(self.tables()), 65)

    def test_a_stopped_worker_that_comes_back_changes_nothing(self):
        run, lock = self.running()
        victim = wait_until(lambda: self.of(run, "shoal-worker"), 5, "a worker")[0]
        os.kill(victim, signal.SIGSTOP)
        lock.release()
        wait_until(lambda: run.poll() is not None, 30, "the end of the run without it")
        out, err = self.ended(run)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(len(self.tables()), 65)

    def test_a_killed_head_ends_the_run_or_is_started_again(self):
        run, lock = self.running("--output", "json")
        victim = self.of(run, "shoal-head", True)[0]
        os.kill(victim, signal.SIGKILL)
        lock.release()
        out, err = self.ended(run)
        if run.returncode == 0:
            self.assertEqual(len(self.tables()), 65)
        else:
            self.assertEqual(run.returncode, 1, err)
            self.assertIn("head", err)
            self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_the_command_killed_takes_its_children_along_and_the_next_start_sweeps(self):
        run, lock = self.running()
        run.kill()
        run.communicate()
        wait_until(lambda: not processes_of(self.folder), 10, "the end of the children")
        lock.release()
        done = self.ingest(self.flow(name="next.yaml"))
        self.assert_exit(done, 0)
        self.assertEqual(len(self.tables()), 65)

    def test_ctrl_c_once_stops_cleanly_with_a_summary(self):
        run, lock = self.running()
        os.killpg(run.pid, signal.SIGINT)
        out, err = self.ended(run, 20)
        self.assertEqual(run.returncode, 130, err)
        self.assertRegex(err, r"(?i)stopped")
        self.assertFalse(os.path.exists(self.path("out.jsonl")))
        wait_until(lambda: self.readers(False) == 0, 10, "the end of the connections")

    def test_terminate_stops_cleanly(self):
        run, lock = self.running()
        run.send_signal(signal.SIGTERM)
        out, err = self.ended(run, 20)
        self.assertEqual(run.returncode, 143, err)

    def test_ctrl_c_twice_stops_at_once(self):
        run, lock = self.running()
        victim = self.of(run, "shoal-head", True)[0]
        os.kill(victim, signal.SIGSTOP)  # whoever waited politely for it would hang
        os.killpg(run.pid, signal.SIGINT)
        wait_until(lambda: run.poll() is not None or self.told_twice(run), 10, "the end")
        out, err = self.ended(run, 10)
        self.assertIn(run.returncode, (130, -signal.SIGINT), err)  # a shell shows both as 130

    def told_twice(self, run):
        try:
            os.killpg(run.pid, signal.SIGINT)
        except ProcessLookupError:
            pass
        return False


class Secrets(RunningTest):
    def test_a_password_is_in_no_argument_environment_or_log(self):
        log = open(self.path("run.log"), "wb")
        self.addCleanup(log.close)
        run, lock = self.running("--log-level", "debug", stderr=log)
        seen = 0
        for pid in [run.pid, *processes_of(self.folder)]:
            for name in ("cmdline", "environ"):
                with open("/proc/%d/%s" % (pid, name), "rb") as file:
                    self.assertNotIn(PASSWORD.encode(), file.read(), "%s of %d" % (name, pid))
            seen += 1
        self.assertGreaterEqual(seen, 4)
        lock.release()
        out, err = self.ended(run)
        self.assertEqual(run.returncode, 0, err)
        self.assert_no_secret(out, err)
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if name != "flow.yaml":
                    with open(os.path.join(folder, name), "rb") as file:
                        self.assertNotIn(PASSWORD.encode(), file.read(), name)

    def test_a_password_from_a_variable_reaches_no_child_by_its_environment(self):
        lock = self.blocked()
        flow = self.flow({"authType": {"password": "${SHOP_PASSWORD}"}}, more=self.small_shards())
        run = self.start("ingest", "-c", flow, env={"SHOP_PASSWORD": PASSWORD})
        wait_until(self.readers, 20, "a reader that waits")
        children = [pid for pid in processes_of(self.folder) if pid != run.pid]
        self.assertGreaterEqual(len(children), 3)
        for pid in children:
            with open("/proc/%d/environ" % pid, "rb") as file:
                self.assertNotIn(PASSWORD.encode(), file.read())
        lock.release()
        out, err = self.ended(run)
        self.assertEqual(run.returncode, 0, err)
        self.assert_no_secret(out, err)


if __name__ == "__main__":
    unittest.main()
