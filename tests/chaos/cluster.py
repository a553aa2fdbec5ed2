# SPDX-License-Identifier: Apache-2.0
"""cluster - the real programs under test: one head, workers and a client, each behind a proxy.

Everything runs in one folder, with a log file a process. Nothing here decides what is to happen;
it does what it is told and knows what is to be expected of each process.
"""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
sys.path.insert(0, os.path.join(ROOT, "tests", "proto", "python"))

from programs import SLOWER, Head, processes_of, program, wait_until  # noqa: E402,F401
from keys import KeyFolder  # noqa: E402
from proxy import Proxy  # noqa: E402
from shoal_wire import Client, Late, WireError  # noqa: E402,F401

HEARTBEAT_MS, LIVENESS_MS, LEASE_MS = (int(ms * SLOWER) for ms in (100, 1000, 1500))
TIMES = ("--heartbeat-ms", str(HEARTBEAT_MS), "--liveness-ms", str(LIVENESS_MS),
         "--lease-ms", str(LEASE_MS))
CRASHED = re.compile(r"WORKER-DIED .*signal=(4|6|7|8|11)\b")
DISK_BYTES = 192 << 20  # far more than a run needs
DRAIN_SECONDS = int(3 * SLOWER)  # then a worker gives back what still runs
TERM_SECONDS = DRAIN_SECONDS + 15 * SLOWER


class Broken(Exception):
    """The system under test did what it must never do."""


def child_of(pid):
    """The worker process below a supervisor, or None."""
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            pids = file.read().split()
    except OSError:
        return None
    return int(pids[0]) if pids else None


def send_signal(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


class Worker:
    """A place for a worker: its proxy stays, its processes come and go."""

    def __init__(self, cluster, name, slots):
        self.cluster, self.name, self.slots = cluster, name, slots
        self.proxy = Proxy(cluster.head.endpoint)
        self.door = cluster.door("worker", name, self.proxy.endpoint)
        self.log_path = cluster.path(name + ".log")
        self.stopped = None  # the process that stands still now
        self.expected = None  # why the present process may end
        self.start()

    def start(self):
        life_in, self.lifeline = os.pipe()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [program("shoal-worker"), *self.door, "--lifeline-fd", str(life_in), "--slots", str(self.slots), "--name", self.name,
                 "--connectors", self.cluster.connectors, "--drain-seconds", str(DRAIN_SECONDS)],
                pass_fds=(life_in,), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.cluster.folder, env=self.environment())
        os.close(life_in)
        self.expected = None
        self.ends_by = None
        self.killed_at = -10.0

    def environment(self):
        """A shard that crashes is meant to: a sanitizer shall not make a report of the signal."""
        whole = dict(os.environ)
        if "ASAN_OPTIONS" in whole:
            whole["ASAN_OPTIONS"] += ":handle_segv=0"
        return whole

    def crashes(self):
        """How often its process died of a signal of its own making."""
        with open(self.log_path, errors="replace") as file:
            return sum(bool(CRASHED.search(line)) for line in file)

    def child(self):
        return child_of(self.process.pid)

    def look(self):
        """Starts it again if it has ended as was expected."""
        status = self.process.poll()
        if status is None:
            if self.ends_by and time.monotonic() > self.ends_by and not self.stopped:
                raise Broken("%s has not ended %.0f s after SIGTERM" % (self.name, TERM_SECONDS))
            return
        os.close(self.lifeline)
        if self.expected is None:
            raise Broken("%s (supervisor) ended with %d, and nobody asked it to" %
                         (self.name, status))
        if status not in self.expected:
            raise Broken("%s ended with %d, expected was %s" % (self.name, status, self.expected))
        self.cluster.note("%s ended with %d and is started again" % (self.name, status))
        self.start()

    def kill(self):
        pid = self.child()
        if pid and self.expected:
            self.expected += (128 + signal.SIGKILL,)  # it was leaving: nobody starts it again
        self.killed_at = time.monotonic()
        return bool(pid) and send_signal(pid, signal.SIGKILL)

    def stop(self):
        self.stopped = self.child()
        return bool(self.stopped) and send_signal(self.stopped, signal.SIGSTOP)

    def go_on(self):
        if self.stopped:
            send_signal(self.stopped, signal.SIGCONT)
            self.stopped = None

    def term(self):
        self.expected = (0,) + self.cluster.job.deaths()  # a shard may kill it meanwhile
        if time.monotonic() - self.killed_at < 2:  # the supervisor may hear of both at once
            self.expected += (128 + signal.SIGKILL,)
        self.ends_by = time.monotonic() + TERM_SECONDS
        return send_signal(self.process.pid, signal.SIGTERM)

    def kill_supervisor(self):
        self.expected = (-signal.SIGKILL,)
        return send_signal(self.process.pid, signal.SIGKILL)

    def end(self):
        """The polite end; returns the exit status."""
        self.go_on()
        if self.process.poll() is None and not self.ends_by:  # a second one would end it at once
            send_signal(self.process.pid, signal.SIGTERM)
        try:
            status = self.process.wait(15 * SLOWER)
        except subprocess.TimeoutExpired:
            raise Broken("%s did not end within %.0f s of SIGTERM" % (self.name, 15 * SLOWER))
        os.close(self.lifeline)
        self.proxy.close()
        return status


class Fetcher:
    """The client: `shoal ingest`, and `shoal job output` when it comes again."""

    def __init__(self, cluster, flow, out):
        self.cluster, self.flow, self.out = cluster, flow, out
        self.proxy = Proxy(cluster.head.endpoint, None if cluster.keys else cluster.path("c.sock"))
        self.door = cluster.door("client", "client", self.proxy.endpoint)
        self.log_path = cluster.path("client.log")
        self.job = None
        self.comes_at = None
        self.expects_kill = False
        self.comings = 0
        self.run("ingest", "-c", flow, "--no-progress")

    def run(self, *arguments):
        self.comings += 1
        self.came_at = time.monotonic()
        self.comes_at = None
        self.expects_kill = False
        with open(self.log_path, "ab") as log:
            log.write(b"-- shoal %s\n" % " ".join(arguments).encode())
            log.flush()
            self.process = subprocess.Popen(
                [program("shoal"), *arguments, *self.door],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cluster.folder,
                env=self.cluster.environment())

    def kill(self, comes_in):
        if self.process.poll() is not None or self.job is None:
            return False  # before the job is known there is nothing to come back for
        self.expects_kill = True
        self.process.kill()
        self.comes_at = time.monotonic() + comes_in
        return True

    def look(self):
        """None while it runs or stays away; else its exit status."""
        if self.comes_at is not None:
            self.process.wait()
            if time.monotonic() >= self.comes_at:
                self.cluster.note("the client comes again for its output")
                self.run("job", "output", str(self.job), "-o", self.out)
            return None
        return self.process.poll()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.proxy.close()


class Cluster:
    def __init__(self, folder, job, workers, slots, *head_flags, has_keys=False,
                 has_disk=False):
        """`has_keys`: everybody comes over TCP with a key, else over Unix sockets or loopback.
        `has_disk`: the head has a small disk of its own, where this may be made."""
        self.folder, self.job, self.head_flags = folder, job, TIMES + head_flags
        self.keys = KeyFolder(self.path("keys")) if has_keys else None
        self.listen = "tcp://127.0.0.1:*" if has_keys else "ipc://" + self.path("head", "head.sock")
        if has_keys:
            self.head_flags += ("--keys", self.keys.path)
        self.started = time.monotonic()
        self.timeline = []
        self.connectors = self.path("connectors")
        self.out = self.path("out.jsonl")
        self.head = None
        self.head_expected = None  # how the present one may end
        self.head_comes_at = None  # it is gone, and when it comes again
        self.head_left_at = self.head_ready_at = -1.0
        self.head_pause = 0.0
        self.head_starts = 0
        self.head_crash = None
        self.workers, self.client = [], None
        self.disk = self.mount_disk() if has_disk else None
        self.link_connectors()
        self.start_head()
        self.looker = self.keys and self.keys.add("client", "looker", self.head.endpoint)
        self.own_door = self.door("client", "looker", self.head.endpoint)
        for n in range(workers):
            self.workers.append(Worker(self, "w%d" % (n + 1), slots))
        flow = self.path("flow.json")
        job.write(flow, self.path("marks"), self.out)
        self.client = Fetcher(self, flow, self.out)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def environment(self):
        base = {"PATH": os.environ["PATH"], "HOME": self.folder, "XDG_RUNTIME_DIR": self.folder,
                "TMPDIR": self.folder, "LC_ALL": "C.UTF-8"}
        base.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        return base

    def note(self, text):
        self.timeline.append((time.monotonic() - self.started, text))

    def link_connectors(self):
        """A folder with the modules of this build, and the one of this test."""
        os.mkdir(self.connectors)
        build = os.path.dirname(os.path.dirname(program("shoal")))
        for path in glob.glob(os.path.join(build, "lib", "shoal", "*.so")) + \
                glob.glob(os.path.join(build, "tests", "chaos", "*.so")):
            os.symlink(path, os.path.join(self.connectors, os.path.basename(path)))

    def mount_disk(self):
        """Its folder; None where one may not mount."""
        folder = self.path("head")
        os.mkdir(folder, 0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d,mode=0700" % DISK_BYTES,
                               "tmpfs", folder], stderr=subprocess.DEVNULL)
        return folder if done.returncode == 0 else None

    def fill_disk(self):
        """Takes all room on the head's disk; False if it has none of its own, or it is full."""
        if not self.disk or os.path.exists(os.path.join(self.disk, "filler")):
            return False
        with open(os.path.join(self.disk, "filler"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError:
                return True

    def free_disk(self):
        if self.disk and os.path.exists(os.path.join(self.disk, "filler")):
            os.unlink(os.path.join(self.disk, "filler"))
            self.note("there is room on the disk again")

    def start_head(self, crash_at=None):
        """`crash_at`: it is to kill itself there."""
        flags = self.head_flags + (("--crash-at", crash_at) if crash_at else ())
        began = time.monotonic()
        self.head_expected = (-signal.SIGKILL,) if crash_at else None
        self.head_comes_at = None
        self.head_starts += 1
        try:
            self.head = Head(self.folder, *flags, listen=self.listen)
        except AssertionError:
            if not crash_at:
                raise
            self.note("the head killed itself at %s while it started" % crash_at)
            self.head_comes_at = time.monotonic() + self.head_pause
            return
        self.listen = self.head.endpoint  # the same again
        self.head_ready_at = time.monotonic()
        self.note("head %d is ready after %.3f s: %s" % (
            self.head.process.pid, time.monotonic() - began, " ".join(flags[len(TIMES):])))

    def end_head(self, number, pause, crash_at=None):
        """Sends it a signal that ends it; it comes again after `pause` seconds."""
        if self.head_comes_at is not None or self.head.process.poll() is not None:
            return False
        if number == signal.SIGTERM and self.head_expected:
            return False  # one that is to crash may do so meanwhile
        self.head_expected = (0,) if number == signal.SIGTERM else (-signal.SIGKILL,)
        self.head.process.send_signal(number)
        self.head.process.send_signal(signal.SIGCONT)  # it may stand still
        try:
            status = self.head.process.wait(15 * SLOWER)
        except subprocess.TimeoutExpired:
            raise Broken("the head did not end within %.0f s of signal %d" %
                         (15 * SLOWER, number))
        self.head_gone(status, pause, crash_at)
        return True

    def head_gone(self, status, pause, crash_at=None):
        if status not in (self.head_expected or ()):
            raise Broken("the head ended with %d, expected was %s" %
                         (status, self.head_expected or "that it runs"))
        os.close(self.head.lifeline)
        self.head_left_at = time.monotonic()
        self.head_pause, self.head_crash = pause, crash_at
        self.head_comes_at = time.monotonic() + pause

    def look_at_head(self):
        if self.head_comes_at is not None:
            is_full = self.disk and os.path.exists(os.path.join(self.disk, "filler"))
            if time.monotonic() >= self.head_comes_at and not is_full:
                crash_at, self.head_crash = self.head_crash, None
                self.start_head(crash_at)
        elif self.head.process.poll() is not None:
            self.note("the head ended with %d" % self.head.process.returncode)
            self.head_gone(self.head.process.returncode, 0.1)

    def await_head(self):
        """A head that stays, for the proof at the end."""
        if self.head_comes_at is None and self.head_expected and self.head.process.poll() is None:
            self.end_head(signal.SIGKILL, 0.0)  # one that is to crash
        wait_until(lambda: self.look_at_head() or self.head_comes_at is None, 30, "the head")

    def door(self, role, name, endpoint):
        """How a program is told where the head is: flags."""
        if not self.keys:
            flag = "--connect" if role == "worker" else "--head"
            return [flag, endpoint] + (["--insecure-loopback"] if role == "worker" else [])
        join = self.looker if name == "looker" else self.keys.add(role, name, endpoint)
        return ["--join-file", join.save(self.path(name + ".join"))]

    def ask(self, what, **fields):
        curve = self.looker.curve() if self.looker else None
        with Client(self.head.endpoint, id="looker", curve=curve) as client:
            return client.ask(what, **fields)

    def find_job(self):
        """Waits until the head has accepted the client's job."""
        def look():
            self.look_at_head()
            if self.client.process.poll() is not None and not self.has_given_up():
                raise Broken("the client ended with %d before its job was there" %
                             self.client.process.returncode)
            jobs = self.head_comes_at is None and self.ask("jobs")
            if not jobs and self.client.process.poll() is not None:
                self.client.run("ingest", "-c", self.client.flow, "--no-progress")
            return jobs and jobs[0]["job"]
        self.client.job = wait_until(look, 20, "a job at the head")

    def look(self):
        """One look at everybody; the client's exit status once it has ended by itself."""
        self.look_at_head()
        for worker in self.workers:
            worker.look()
        status = self.client.look()
        if status is not None and self.has_given_up():
            self.note("the client found no head and gave up; it comes again")
            self.client.comes_at = time.monotonic() + 0.2
            status = None
        return status

    def has_given_up(self):
        """The client ended because there was no head: it says so, and may come again."""
        return self.client.process.returncode == 1 and self.client.comings < 20 and \
            (self.head_comes_at is not None or
             max(self.head_left_at, self.head_ready_at) > self.client.came_at)

    # -- the end

    def end(self):
        """Ends everything politely; complaints about what does not end well."""
        complaints = []
        for worker in self.workers:
            status = worker.end()
            if status != 0:
                complaints.append("%s ended with %d after SIGTERM, expected was 0" %
                                  (worker.name, status))
        self.client.end()
        self.head.process.send_signal(signal.SIGTERM)
        try:
            status = self.head.process.wait(15 * SLOWER)
        except subprocess.TimeoutExpired:
            return complaints + ["the head did not end within %.0f s of SIGTERM" % (15 * SLOWER)]
        os.close(self.head.lifeline)
        if status != 0:
            complaints.append("the head ended with %d after SIGTERM, expected was 0" % status)
        return complaints + self.leftovers()

    def leftovers(self):
        complaints = []
        left = processes_of(self.folder)
        if left:
            complaints.append("processes are left over: %r" % (left,))
        for path in glob.glob(self.path("**"), recursive=True):
            if path.endswith((".sock", ".part", ".part.state")) or "/run-" in path:
                complaints.append("a file is left over: %s" % path)
        return complaints

    def shoal(self, *arguments):
        """Runs `shoal ...` at the head itself, without a proxy; its standard output."""
        done = subprocess.run([program("shoal"), *arguments, *self.own_door],
                              stdin=subprocess.DEVNULL, capture_output=True, cwd=self.folder,
                              env=self.environment(), timeout=60 * SLOWER)
        if done.returncode != 0:
            raise Broken("shoal %s ended with %d: %s" % (
                " ".join(arguments), done.returncode, done.stderr.decode(errors="replace")))
        return done.stdout

    def verify_letters(self):
        """Each bad record is a dead letter, once."""
        out = self.shoal("dlq", "list", str(self.client.job), "--output", "jsonl")
        with open(self.path("letters.jsonl"), "wb") as file:
            file.write(out)
        return self.job.verify_letters(out.splitlines())

    def retry_letters(self):
        """Tries the dead letters again, as the job's next run: they fail again, each once."""
        out = self.path("again.jsonl")
        with open(self.path("retry.log"), "wb") as log:
            done = subprocess.run(
                [program("shoal"), "dlq", "retry", str(self.client.job), "-o", out,
                 "--no-progress", *self.own_door], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.folder, env=self.environment(), timeout=120 * SLOWER)
        complaints = []
        if done.returncode != 3:
            complaints.append("shoal dlq retry: expected exit 3, got %d" % done.returncode)
        if os.path.exists(out) and os.path.getsize(out) > 0:
            complaints.append("a retry of bad records brought records: %s" % out)
        for part in (".part", ".part.state"):
            if os.path.exists(out + part):
                os.unlink(out + part)
        return complaints + self.verify_letters()

    def verify_job(self, is_alone=True):
        """What the head says of the job when all is over. `is_alone`: it has no other."""
        answer = self.ask("job", id=str(self.client.job))
        detail, complaints = answer["detail"], []
        jobs = [(job["job"], job["id"]) for job in self.ask("jobs")]
        if is_alone and len(jobs) != 1:
            complaints.append("jobs at the head: expected one, got %r" % (jobs,))
        with open(self.path("job.json"), "w", encoding="utf-8") as file:
            json.dump(answer, file, indent=1, default=repr)

        def expect(what, is_value, want):
            if is_value != want:
                complaints.append("%s: expected %r, got %r" % (what, want, is_value))
        expect("state of the job", answer["state"], "PARTIAL" if self.job.bad else "SUCCEEDED")
        records = detail["records"]
        expect("records delivered", records["successful"], self.job.good)
        expect("records failed", records["failed"], len(self.job.bad))
        expect("records listed", records.get("listed"), self.job.records)
        shards = detail["shards"]
        expect("shards dead", shards["dead"], 0)
        expect("shards running", shards["running"], 0)
        expect("shards done", shards["done"], shards["total"])
        expect("balanced", detail.get("balanced"), True)
        scopes = detail.get("scopes", {})
        expect("scopes balanced", scopes.get("balanced"), self.job.scopes)
        expect("scopes complete", scopes.get("complete"), self.job.scopes)
        crashes = sum(worker.crashes() for worker in self.workers)
        meant = sum(s.behaviour.get("manner") == "crash" for s in self.job.shards)
        if crashes > meant:
            complaints.append("workers crashed %d times, at most %d were meant to: see "
                              "WORKER-DIED in their logs" % (crashes, meant))
        for worker in self.ask("workers"):
            if worker["state"] != "lost":
                expect("calls still running at %s" % worker["name"], worker["running"], 0)
        return complaints + self.verify_letters()
