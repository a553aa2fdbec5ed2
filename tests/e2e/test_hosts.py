# SPDX-License-Identifier: Apache-2.0
"""Several hosts: a head on one, workers and a client on others, over TCP with keys. The hosts are
network namespaces; links are cut and made worse while a job runs."""

import json
import os
import subprocess
import sys
import unittest

from case import EndToEnd, ROOT, program, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from hosts import Hosts, why_not  # noqa: E402
from keys import KeyFolder  # noqa: E402

PORT = 6380
MISSING = why_not()
TABLES = 3000
QUICK = ("--heartbeat-ms", "100", "--liveness-ms", "1000")


@unittest.skipIf(MISSING, MISSING)
class SeveralHosts(EndToEnd):
    def lay(self, *names):
        """Hosts, and a head on the first one that listens at every address."""
        self.hosts = Hosts(*names)
        self.addCleanup(self.hosts.close)
        self.keys = KeyFolder(self.path("keys"))
        self.joins = {name: self.join(name, "client" if name == "client" else "worker")
                      for name in names[1:]}
        os.makedirs(self.path("state"), mode=0o700)
        self.head_log = self.path("head.log")
        self.the_head = self.start_head(names[0])

    def start_head(self, host):
        starts = self.log().count("HEAD-READY")
        head = self.run_at(host, "shoal-head", "--listen", "tcp://0.0.0.0:%d" % PORT, "--keys",
                           self.keys.path, "--state", self.path("state"), *QUICK,
                           log=self.head_log)
        wait_until(lambda: self.log().count("HEAD-READY") > starts, 20, "the head")
        return head

    def join(self, name, role):
        made = self.keys.add(role, name, "tcp://%s:%d" % (self.hosts.hub_for(name), PORT))
        return made.save(self.path(name + ".join"))

    def log(self):
        if not os.path.exists(self.head_log):
            return ""
        with open(self.head_log, errors="replace") as file:
            return file.read()

    def run_at(self, host, name, *arguments, log):
        with open(log, "ab") as out:
            process = subprocess.Popen(
                [*self.hosts.inside(host), program(name), *arguments], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment())
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)
        return process

    def workers(self, *hosts):
        for host in hosts:
            self.run_at(host, "shoal-worker", "--join-file", self.joins[host], "--slots", "2",
                        log=self.path(host + ".log"))
        wait_until(lambda: self.log().count("WORKER-JOINED") >= len(hosts), 20, "the workers")

    def flow(self, tables=TABLES):
        return self.workflow(self.sqlite_source(self.sqlite(tables)),
                             sharding={"type": "table_count", "tables_per_shard": 10})

    def begin(self, flow):
        """`shoal ingest` on the client's host."""
        return subprocess.Popen(
            [*self.hosts.inside("client"), program("shoal"), "ingest", "-c", flow, "--join-file",
             self.joins["client"], "--output", "json"], cwd=self.folder, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, run, tables=TABLES, seconds=90):
        try:
            out, err = run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            run.kill()
            out, err = run.communicate()
            self.fail("the run did not end: %s\n%s" % (err, self.log()[-3000:]))
        self.assertEqual(run.returncode, 0, err + self.log()[-3000:])
        whole = json.loads(out)
        self.assertEqual(whole["state"], "SUCCEEDED", err)
        self.assertEqual(len(self.tables()), tables + 1)  # and the view
        return whole

    def test_two_hosts(self):
        self.lay("hub", "client")
        beside = self.keys.add("worker", "beside", "tcp://127.0.0.1:%d" % PORT)
        self.joins["hub"] = beside.save(self.path("beside.join"))
        self.workers("hub")
        self.finish(self.begin(self.flow()))

    def test_three_hosts(self):
        self.lay("hub", "left", "right", "client")
        self.workers("left", "right")
        self.finish(self.begin(self.flow()))
        for host in ("left", "right"):
            with open(self.path(host + ".log")) as file:
                self.assertIn("LINK-READY", file.read())

    def test_a_workers_link_is_cut_in_the_middle(self):
        self.lay("hub", "left", "client")
        self.workers("left")
        run = self.begin(self.flow())
        wait_until(lambda: "JOB-ACCEPTED" in self.log(), 20, "the job")
        self.hosts.cut("left")
        wait_until(lambda: "WORKER-GONE" in self.log() or "WORKER-LOST" in self.log(), 20,
                   "the head to miss its worker")
        self.assertNotIn("JOB-ENDED", self.log())
        self.hosts.mend("left")
        self.finish(run)

    def test_one_of_two_workers_is_cut_off_for_good(self):
        self.lay("hub", "left", "right", "client")
        self.workers("left", "right")
        run = self.begin(self.flow())
        wait_until(lambda: "JOB-ACCEPTED" in self.log(), 20, "the job")
        self.hosts.cut("left")
        self.finish(run)

    def test_the_clients_link_is_cut_while_the_job_ends(self):
        self.lay("hub", "left", "client")
        self.workers("left")
        run = self.begin(self.flow())
        wait_until(lambda: "JOB-ACCEPTED" in self.log(), 20, "the job")
        self.hosts.cut("client")
        wait_until(lambda: "JOB-ENDED" in self.log(), 60, "the end of the job")
        self.hosts.mend("client")
        self.finish(run)

    def test_the_head_is_killed_and_started_again(self):
        self.lay("hub", "left", "client")
        self.workers("left")
        run = self.begin(self.flow())
        wait_until(lambda: "JOB-ACCEPTED" in self.log(), 20, "the job")
        self.the_head.kill()
        self.the_head.wait()
        self.assertNotIn("JOB-ENDED", self.log())
        self.start_head("hub")
        self.finish(run)

    def test_slow_links_that_lose_packets(self):
        self.lay("hub", "left", "right", "client")
        try:
            for name in ("left", "right", "client"):
                self.hosts.worsen(name, "delay", "10ms", "2ms", "loss", "1%")
        except OSError as why:
            self.skipTest("this kernel makes no link worse (netem): %s" % why)
        self.workers("left", "right")
        self.finish(self.begin(self.flow(1000)), 1000, seconds=180)

    # a stranger on a host that can reach the port.
    def test_a_stranger_on_the_network_stays_out(self):
        self.lay("hub", "client")
        stranger = KeyFolder(self.path("theirs")).add(
            "client", "x", "tcp://%s:%d" % (self.hosts.hub_for("client"), PORT))
        stranger.head = self.keys.own.public
        done = subprocess.run(
            [*self.hosts.inside("client"), program("shoal"), "status", "--join-file",
             stranger.save(self.path("x.join"))], env=self.environment(), capture_output=True,
            text=True, timeout=30)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("does not know this key", done.stderr)
        wait_until(lambda: "PEER-UNKNOWN" in self.log() and "address=10.77.1.2" in self.log(), 5,
                   "a line with its address")


if __name__ == "__main__":
    unittest.main()
