# SPDX-License-Identifier: Apache-2.0
"""A head over TCP by the command line: keys are made, joined with, listed and revoked."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import unittest

from case import EndToEnd, ROOT, processes_of, program, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests", "proto", "python"))

from keys import Join, Pair  # noqa: E402
from shoal_wire import Client, Worker  # noqa: E402


class Keys(EndToEnd):
    def started(self, *flags):
        """A head on TCP in the background."""
        done = self.shoal("start", "--head", "--listen", "tcp://127.0.0.1:*", *flags)
        self.assert_exit(done, 0, "worker.join", "client.join")
        self.addCleanup(self.shoal, "stop")
        self.keys = self.path(".local/state/shoal/keys")
        self.client = os.path.join(self.keys, "client.join")
        self.worker_join = os.path.join(self.keys, "worker.join")
        return Join.read(self.client).endpoint

    def new(self, role, name, *flags):
        """A join file made by `shoal key new`."""
        path = self.path(name + ".join")
        self.assert_exit(self.shoal("key", "new", "--role", role, "--name", name, "-o", path,
                                    *flags), 0)
        return path

    def log(self, name="head"):
        with open(self.path(".local/state/shoal/%s.log" % name), errors="replace") as file:
            return file.read()

    def workers(self, state="alive"):
        done = self.shoal("status", "--output", "json")
        return sum(w["state"] == state for w in json.loads(done.out)["workers"])

    def test_a_job_over_keys(self):
        self.started()
        self.assert_exit(self.shoal("start", "--join-file", self.worker_join, "--slots", "2"), 0)
        flow = self.workflow(self.sqlite_source(self.sqlite(20)))
        self.assert_exit(self.ingest(flow, "--join-file", self.client), 0)
        self.assertEqual(len(self.tables()), 21)
        self.assert_exit(self.shoal("job", "list", "--join-file", self.client), 0, "SUCCEEDED")
        self.assert_exit(self.shoal("job", "output", "1", "-o", self.path("again.jsonl"),
                                    env={"SHOAL_JOIN_FILE": self.client}), 0)
        self.assertEqual(len(self.tables("again.jsonl")), 21)
        self.assert_exit(self.shoal("status"), 0, "tcp://127.0.0.1:")  # nothing is said: ours
        with open(self.client) as file:
            self.assert_exit(self.shoal("status", "--join-file", "-", stdin=file), 0)
        self.assert_exit(self.shoal("stop"), 0)
        wait_until(lambda: not processes_of(self.folder), 10, "the end of all processes")

    def test_what_is_made_is_closed_to_others_and_kept(self):
        self.started()
        for folder, _, files in os.walk(self.keys):
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
            for name in files:
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode), 0o600)
        self.assertEqual(sorted(os.listdir(self.keys)),
                         ["allowed", "client.join", "endpoint", "head.key", "worker.join"])
        before = Join.read(self.client)
        self.assert_exit(self.shoal("stop"), 0)
        self.started("--advertise", "localhost")
        after = Join.read(self.client)
        self.assertEqual((before.head, before.own.secret), (after.head, after.own.secret))
        self.assertTrue(after.endpoint.startswith("tcp://localhost:"), after.endpoint)
        self.assert_exit(self.shoal("status", "--join-file", self.client), 0)

    def test_a_head_that_is_started_again_listens_where_it_did(self):
        self.started("--advertise", "localhost")
        before = Join.read(self.client).endpoint
        self.assert_exit(self.shoal("start", "--join-file", self.worker_join), 0)
        self.assert_exit(self.shoal("status"), 0)
        with open(self.path(".local/state/shoal/head.pid")) as file:
            os.kill(int(file.readline()), signal.SIGTERM)
        wait_until(lambda: "LINK-LOST" in "".join(self.log(name[:-4]) for name in os.listdir(
            self.path(".local/state/shoal")) if name.startswith("worker-") and
            name.endswith(".log")), 10, "a worker without a head")
        self.assert_exit(self.shoal("start", "--head"), 0, "as the one before did")
        self.assertEqual(Join.read(self.client).endpoint, before)
        wait_until(lambda: self.workers() == 1, 15, "the worker, who knows no other place")
        self.assert_exit(self.shoal("stop"), 0)
        ipc = "ipc://%s" % self.path("own.sock")
        self.assert_exit(self.shoal("start", "--head", "--listen", ipc), 0, ipc)
        self.assert_exit(self.shoal("stop"), 0)
        done = self.shoal("start", "--head")
        self.assert_exit(done, 0, "ipc://")
        self.assertNotIn("tcp://", done.out)

    def test_what_is_no_endpoint_is_wrong_usage(self):
        self.assert_exit(self.shoal("start", "--head", "--listen", "foo"), 2, "foo")
        self.assert_exit(self.shoal("start", "--head", "--slots", "3"), 2, "for a worker")
        self.assert_exit(self.shoal("key", "list", "--keys", self.path("nope")), 1, "nope")

    #
    def test_no_secret_is_in_arguments_environment_or_logs(self):
        self.started()
        self.assert_exit(self.shoal("start", "--join-file", self.worker_join), 0)
        secrets = [Join.read(path).token()[20:] for path in (self.client, self.worker_join)]
        pids = []
        for name in os.listdir(self.path(".local/state/shoal")):
            if name.endswith(".pid"):
                with open(self.path(".local/state/shoal/" + name)) as file:
                    pids.append(int(file.readline()))
        self.assertEqual(len(pids), 2)
        for pid in pids:
            shown = ""
            for name in ("environ", "cmdline"):
                with open("/proc/%d/%s" % (pid, name), "rb") as file:
                    shown += file.read().decode(errors="replace")
            for secret in secrets + ["shoal1:"]:
                self.assertNotIn(secret[:40], shown)
        for name in os.listdir(self.path(".local/state/shoal")):
            if name.endswith(".log"):
                self.assertNotIn("shoal1:", self.log(name[:-4]))

    def test_keys_are_made_listed_and_revoked(self):
        self.started()
        worker = self.new("worker", "rack2")
        self.assert_exit(self.shoal("start", "--join-file", worker), 0)
        wait_until(lambda: self.workers() == 1, 10, "the worker")
        self.assertIn("key=rack2", self.log())
        listed = json.loads(self.shoal("key", "list", "--output", "json").out)
        self.assertEqual({(k["name"], k["role"]) for k in listed},
                         {("first-client", "client"), ("first-worker", "worker"),
                          ("rack2", "worker")})
        self.assert_exit(self.shoal("key", "list"), 0, "rack2", listed[2]["key"])
        self.assert_exit(self.shoal("key", "new", "--role", "worker", "--name", "rack2"), 1,
                         "shoal key revoke rack2")
        self.assert_exit(self.shoal("key", "revoke", "rack2"), 0)
        wait_until(lambda: self.workers() == 0, 10, "the end of its connection")
        self.assert_exit(self.shoal("start", "--join-file", worker), 1, "does not know this key",
                         "revoked")
        self.assert_exit(self.shoal("key", "revoke", "rack2"), 1, "shoal key list")

    def test_a_token_on_standard_output_is_all_there_is(self):
        self.started()
        done = self.shoal("key", "new", "--role", "viewer", "--name", "kiosk")
        self.assert_exit(done, 0)
        join = Join.parse(done.out)
        self.assertEqual((join.role, join.name), ("viewer", "kiosk"))
        self.assertEqual(done.out.count("\n"), 1)
        self.assertNotIn("shoal1:", done.err)
        with Client(join.endpoint, curve=join.curve()) as client:
            self.assertEqual(client.ask("head")["workers"], 0)

    #
    def test_roles(self):
        self.started()
        viewer = self.new("viewer", "v")
        self.assert_exit(self.shoal("status", "--join-file", viewer), 0)
        flow = self.workflow(self.sqlite_source(self.sqlite(1)))
        done = self.ingest(flow, "--join-file", viewer)
        self.assert_exit(done, 1, "viewer", "may look")
        self.assert_exit(self.shoal("status", "--join-file", self.worker_join), 1,
                         "for a worker", "--role client")
        self.assert_exit(self.shoal("start", "--join-file", self.client), 1, "for a client",
                         "--role worker")

    #
    def test_another_head_at_the_same_place(self):
        endpoint = self.started()
        other = Join(endpoint, Pair().public, Pair(), "client", "x").save(self.path("x.join"))
        self.assert_exit(self.shoal("status", "--join-file", other), 1, "another key")
        other = Join(endpoint, Pair().public, Pair(), "worker", "x").save(self.path("y.join"))
        self.assert_exit(self.shoal("start", "--join-file", other), 1, "another key")
        self.assert_exit(self.shoal("status", "--head", endpoint), 1, "--join-file")
        unlisted = Join(endpoint, Join.read(self.client).head, Pair(), "client", "x")
        self.assert_exit(self.shoal("status", "--join-file", unlisted.save(self.path("z.join"))),
                         1, "does not know this key")
        self.assertEqual(processes_of(self.folder).keys(),
                         {pid for pid, line in processes_of(self.folder).items()
                          if "shoal-head" in line})

    #
    def test_join_files_that_cannot_be_used(self):
        self.started()
        good = Join.read(self.client)
        with open(self.client) as file:
            text = file.read()
        token = good.token()
        cases = [
            ("empty", "", "no join string in it"),
            ("cut", token[:-9], "cut short or changed"),
            ("garbled", token[:40] + "AAAA" + token[44:], "cut short or changed"),
            ("version", good.token(version=7), "version 7"),
            ("endpoint", "tcp://127.0.0.1:1", "no join string"),
            ("twice", text + text, "several"),
            ("role", good.token(r="boss"), "lacks something"),
            ("key", good.token(s=b"short"), "lacks something"),
            ("ipc", good.token(e="ipc:///tmp/x"), "a join file is for tcp"),
            ("nowhere", good.token(e="nonsense"), "nonsense"),
        ]
        for name, content, says in cases:
            with self.subTest(name):
                path = self.write(name + ".join", content)
                os.chmod(path, 0o600)
                done = self.shoal("status", "--join-file", path)
                self.assertIn(done.status, (1, 2), done)
                self.assertIn(says, done.err)
                self.assertNotIn(token[20:40], done.err)
        os.chmod(self.client, 0o644)
        self.assert_exit(self.shoal("status", "--join-file", self.client), 1,
                         "chmod 600 " + self.client)
        self.assert_exit(self.shoal("status"), 1, "chmod 600")
        os.chmod(self.client, 0o600)
        self.assert_exit(self.shoal("status", "--join-file", self.path("none")), 1, "none")
        for flag in ("--address", "--join-file"):
            done = self.shoal("start", flag, token)
            self.assert_exit(done, 2, "is a secret")
            self.assertNotIn(token[20:40], done.err)

    def test_wrong_usage_of_key(self):
        for words, says in ((["new"], "--role"), (["new", "--role", "boss", "--name", "x"], "boss"),
                            (["new", "--role", "worker", "--name", "a b",
                              "--endpoint", "tcp://h:1"], "letters"),
                            (["new", "--role", "worker", "--name", "x",
                              "--endpoint", "ipc:///x"], "tcp://HOST:PORT"),
                            (["revoke"], "revoke NAME"), (["frob"], "shoal key list")):
            with self.subTest(words):
                done = self.shoal("key", *words)
                self.assertEqual(done.status, 2, done)
                self.assertIn(says, done.err)
        self.assert_exit(self.shoal("key", "new", "--role", "worker", "--name", "x"), 1,
                         "--endpoint")
        self.assert_exit(self.shoal("key", "list"), 0, "nobody may join")

    def test_a_folder_for_programs_that_are_started_otherwise(self):
        keys = self.path("K")
        done = self.shoal("key", "new", "--keys", keys, "--endpoint", "tcp://127.0.0.1:16999",
                          "--role", "client", "--name", "me")
        self.assert_exit(done, 0)
        head = self.head("--keys", keys, listen="tcp://127.0.0.1:*")
        join = Join.parse(done.out)
        path = join.save(self.path("me.join"))
        self.assert_exit(self.shoal("status", "--head", head.endpoint, "--join-file", path), 0)
        self.assert_exit(self.shoal("key", "list", "--keys", keys), 0, "me")

    def test_a_lost_head_key_is_not_replaced(self):
        self.started()
        self.assert_exit(self.shoal("stop"), 0)
        os.unlink(os.path.join(self.keys, "head.key"))
        self.assert_exit(self.shoal("start", "--head", "--listen", "tcp://127.0.0.1:*"), 1,
                         "head.key is gone")
        shutil.rmtree(self.keys)
        self.started()

    def test_a_worker_that_is_revoked_during_a_job(self):
        self.started()
        first = self.new("worker", "first")
        second = self.new("worker", "second")
        flow = self.workflow(self.sqlite_source(self.sqlite(300), includeTables=True),
                             sharding={"type": "table_count", "tables_per_shard": 1})
        self.assert_exit(self.shoal("start", "--join-file", first, "--slots", "2"), 0)
        run = self.start("ingest", "-c", flow, "--join-file", self.client, "--output", "json")
        wait_until(lambda: "JOB-ACCEPTED" in self.log(), 10, "the job")
        self.assert_exit(self.shoal("key", "revoke", "first"), 0)
        self.assert_exit(self.shoal("start", "--join-file", second, "--slots", "2"), 0)
        out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(json.loads(out)["records"]["by_kind"]["table"], 301)
        self.assertEqual(len(self.tables()), 301)

    def test_a_worker_by_hand_reads_its_key_from_standard_input(self):
        self.started()
        with open(self.worker_join) as file:
            worker = subprocess.Popen([program("shoal-worker"), "--join-file", "-"], stdin=file,
                                      cwd=self.folder, stderr=subprocess.DEVNULL)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.terminate)
        wait_until(lambda: self.workers() == 1, 10, "the worker")


class Secrets(EndToEnd):
    """What a job's arguments hold is on the disk only sealed."""

    SECRET = "open-sesame-4711"

    def files(self):
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if stat.S_ISREG(os.stat(os.path.join(folder, name)).st_mode):
                    yield os.path.join(folder, name)

    def assert_sealed(self):
        boxes = [path for path in self.files() if path.endswith(".box")]
        self.assertEqual(len(boxes), 1)
        for path in self.files():
            with open(path, "rb") as file:
                self.assertNotIn(self.SECRET.encode(), file.read(), path)
        for path in boxes + [path for path in self.files() if path.endswith("vault.key")]:
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_they_survive_the_head_and_are_readable_nowhere(self):
        head = self.head()
        whole = {"name": "secret", "class": "pipeline", "collect": True,
                 "args": {"password": self.SECRET}}
        with Client(head.endpoint, id="one") as client:
            job = client.submit(whole, "job")
        self.assert_sealed()
        head.kill()
        self.assert_sealed()
        again = self.head()
        with Worker(again.endpoint) as worker:
            actor = worker.expect("ACTOR")
            self.assertIn(self.SECRET.encode(), actor.payload)
            self.assertEqual(actor.job, job)
        self.assert_sealed()


if __name__ == "__main__":
    unittest.main()
