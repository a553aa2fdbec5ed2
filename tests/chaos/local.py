#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""local - a local run of known records whose head, workers and command are killed, and resumed.

    local.py --seeds 1-20

`shoal ingest -c FILE` starts a private head and workers. What dies of them is started again by the
command, and the run goes on unasked; when the command itself was killed, `--resume` goes on. At the
end each record is in the file once, the dead letters are in theirs, and nothing is left.
"""

import argparse
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import run as driver  # noqa: E402
from cluster import SLOWER, Broken, child_of, processes_of, program, send_signal  # noqa: E402
from job import Job  # noqa: E402

HEAD_KILLS_MAX, WORKER_KILLS_MAX = 3, 5  # of one life of the command, which has limits of its own
KINDS = ("head-kill", "worker-kill", "worker-kill", "supervisor-kill", "command-kill",
         "command-kill")


class Local:
    def __init__(self, options, folder):
        self.folder = folder
        self.rng = rng = random.Random(options.one)
        self.job = Job(rng, options.records, options.seconds, 4, 0, has_short_lease=False)
        self.timeline, self.complaints = [], []
        self.began = time.monotonic()
        self.out = os.path.join(folder, "out.jsonl")
        self.flow = os.path.join(folder, "flow.json")
        self.job.write(self.flow, os.path.join(folder, "marks"), self.out)
        self.link_programs()
        self.deadline = time.monotonic() + (options.seconds * 3 + 60) * SLOWER
        self.fired = 0
        self.start()

    def note(self, text):
        self.timeline.append((time.monotonic() - self.began, text))

    def link_programs(self):
        """Programs find their connectors beside themselves: a copy with ours among them."""
        build = os.path.dirname(os.path.dirname(program("shoal")))
        for source, target in (("bin/*", "bin"), ("lib/shoal/*.so", "lib/shoal"),
                               ("tests/chaos/*.so", "lib/shoal")):
            os.makedirs(os.path.join(self.folder, "prefix", target), exist_ok=True)
            for path in glob.glob(os.path.join(build, source)):
                if os.path.isfile(path):
                    shutil.copy2(path, os.path.join(self.folder, "prefix", target))

    def environment(self):
        base = {"PATH": os.environ["PATH"], "HOME": self.folder, "XDG_RUNTIME_DIR": self.folder,
                "TMPDIR": self.folder, "LC_ALL": "C.UTF-8"}
        base.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        return base

    def start(self, *more):
        self.kills = {"head": 0, "worker": 0}
        with open(os.path.join(self.folder, "shoal.log"), "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.folder, "prefix/bin/shoal"), "ingest", "-c", self.flow,
                 "--no-progress", "--parallelism", "4", "--workers", "2", "--log-level", "info",
                 *more], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment())
        self.note("shoal ingest %s" % " ".join(more))

    def children(self, name):
        """Processes of the command by their program's name."""
        found = []
        try:
            with open("/proc/%d/task/%d/children" % ((self.process.pid,) * 2)) as file:
                for pid in map(int, file.read().split()):
                    with open("/proc/%d/comm" % pid) as comm:
                        if comm.read().strip() == name:
                            found.append(pid)
        except OSError:
            pass  # it ended while we looked
        return found

    # -- what goes wrong

    def kill(self, pids, counted, most):
        if not pids or self.kills[counted] >= most:
            return False
        self.kills[counted] += 1
        return send_signal(self.rng.choice(pids), signal.SIGKILL)

    def head_kill(self):
        return self.kill(self.children("shoal-head"), "head", HEAD_KILLS_MAX)

    def supervisor_kill(self):
        return self.kill(self.children("shoal-worker"), "worker", WORKER_KILLS_MAX)

    def worker_kill(self):
        workers = [child_of(pid) for pid in self.children("shoal-worker")]
        return self.kill([pid for pid in workers if pid], "worker", WORKER_KILLS_MAX)

    def command_kill(self):
        self.process.kill()
        self.process.wait()
        if self.rng.random() < 0.5:
            time.sleep(self.rng.uniform(0, 0.5))  # what it has left may still be ending, or not
        runs = glob.glob(os.path.join(self.folder, ".local/state/shoal/runs/*"))
        self.start(*(["--resume"] if runs else []))  # killed before anything was kept: from the start

    def play(self):
        next_at = time.monotonic() + self.rng.uniform(0.0, 1.0)
        faults = self.rng.randint(2, 10)
        while True:
            status = self.process.poll()
            if status is not None:
                self.note("shoal ended with %d" % status)
                return status
            if time.monotonic() > self.deadline:
                raise Broken("the run has not ended after %.0f s" %
                             (time.monotonic() - self.began))
            if faults and time.monotonic() >= next_at:
                kind = self.rng.choice(KINDS)
                done = getattr(self, kind.replace("-", "_"))()
                self.note(kind + (" (nobody there)" if done is False else ""))
                self.fired += done is not False
                faults -= 1
                next_at = time.monotonic() + self.rng.expovariate(1 / 0.6) * SLOWER
            time.sleep(0.01)

    def verify(self, status):
        want = 3 if self.job.bad else 0
        if status != want:
            self.complaints.append("exit status: expected %d, got %d" % (want, status))
        if os.path.exists(self.out):
            self.complaints += self.job.verify_output(self.out)
        else:
            self.complaints.append("there is no file of records: %s" % self.out)
        if self.job.bad:
            with open(self.out + ".letters.jsonl" if os.path.exists(self.out + ".letters.jsonl")
                      else os.devnull, "rb") as file:
                self.complaints += self.job.verify_letters(file.read().splitlines())
        left = processes_of(self.folder)
        end = time.monotonic() + 5 * SLOWER
        while left and time.monotonic() < end:
            left = processes_of(self.folder)
            time.sleep(0.02)  # between two looks
        if left:
            self.complaints.append("processes are left over: %r" % (left,))
        for path in glob.glob(os.path.join(self.folder, "**"), recursive=True,
                              include_hidden=True):
            if path.endswith((".sock", ".part", ".part.state")) or "/run-" in path or \
                    "/shoal/runs/" in path and not path.endswith("/runs/"):
                self.complaints.append("a file is left over: %s" % path)


def play(options):
    run, began = None, time.monotonic()
    try:
        run = Local(options, options.folder)
        run.verify(run.play())
    except Exception as error:
        told = str(error) if isinstance(error, (Broken, AssertionError)) else traceback.format_exc()
        if run is None:
            print("seed %d could not be started:\n%s" % (options.one, told))
            return 1
        run.complaints.append(told)
    run.complaints += driver.traces(options.folder)
    about = "%2d faults, %d records, %d bad, %d shards, local" % (
        run.fired, run.job.records, len(run.job.bad), len(run.job.shards))
    seconds = time.monotonic() - began
    if not run.complaints:
        print("local %-5d ok      %5.1f s  %s" % (options.one, seconds, about))
        shutil.rmtree(options.folder, ignore_errors=True)
        return 0
    print("local %-5d FAILED  %5.1f s  %s\n  expected and got:" % (options.one, seconds, about))
    print("\n".join("    - " + text for text in run.complaints))
    print("  timeline:\n" + "\n".join("    %7.3f s  %s" % row for row in run.timeline))
    print("  logs: %s\n  again: tests/chaos/local.py --seeds %d" % (options.folder, options.one))
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="1-4", help="as in 7,20-30")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--records", type=int, default=100000)
    parser.add_argument("--seconds", type=float, default=3, help="that the job's pauses take")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        return driver.guard(play, options)
    options.keep, options.faults, options.stop_at_first = False, None, False
    return 1 if driver.run_many(options, driver.read_seeds(options.seeds),
                                os.path.abspath(__file__)) else 0


if __name__ == "__main__":
    sys.exit(main())
