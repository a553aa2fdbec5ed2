#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""run - the chaos suite: a job of known records, while everything that can go wrong does.

    run.py                    the suite: seeds 1 to 10 and those of seeds.txt
    run.py --seeds 7,20-30    these seeds
    run.py --for 3600         new seeds for an hour
    run.py --seeds 7 --jobs 1 --keep    one seed, its folder kept

Each seed is a run of its own: what the job is like, what goes wrong and when follow from the seed
(what meets what, of course, also from the machine). At the end each record is there once, each bad
one has failed once, the books balance, and nothing is left over. A seed that fails is told with
what was expected and what came, the timeline of its faults, and where its logs are.
"""

import argparse
import ctypes
import heapq
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = range(1, 11)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TRACES = ("AddressSanitizer", "ThreadSanitizer", "runtime error:", "Assertion `", "assertion")


# ---- one seed

class Run:
    """One seed, from the first process to the last."""

    def __init__(self, options, folder):
        from cluster import SLOWER, Cluster
        from faults import make
        from job import Job
        self.options, self.folder = options, folder
        self.rng = rng = random.Random(options.one)
        workers = rng.randint(2, 3)
        deadly = rng.randint(0, 2)
        self.job = Job(rng, options.records, options.seconds, workers * 2, deadly)
        self.faults = make(rng, options.seconds * 1.5, workers, deadly, options.faults)
        self.kills_at_submit = rng.uniform(0, 0.15) if rng.random() < 0.2 else None
        self.retries = rng.random() < 0.25
        self.deadline = (options.seconds * 3 + 40) * SLOWER
        self.later = []  # (when, order, function): what a fault does at its end
        self.fired = 0
        self.complaints = []
        self.status = None
        sync_ms = rng.choice((0, 0, 5, 30, 120))  # of the disk, longer than it takes by itself
        has_keys, has_disk = rng.random() < 0.3, rng.random() < 0.3
        self.like = "%d workers, sync +%d ms%s%s" % (
            workers, sync_ms, ", keys" if has_keys else "", ", a small disk" if has_disk else "")
        self.cluster = Cluster(folder, self.job, workers, 2, "--sync-delay-ms", str(sync_ms),
                               has_keys=has_keys, has_disk=has_disk)

    def play(self):
        """Plays the faults until the client has its output."""
        cluster = self.cluster
        if self.kills_at_submit is not None:
            time.sleep(self.kills_at_submit)  # when the head is killed, from the client's start
            cluster.end_head(signal.SIGKILL, 0.1)
            cluster.note("head-kill        about when the job is submitted")
        cluster.find_job()
        begin = time.monotonic()
        cluster.note("job %d is accepted; faults begin" % cluster.client.job)
        waiting = list(self.faults)
        while self.status is None:
            now = time.monotonic() - begin
            while waiting and waiting[0].at <= now:
                self.fire(waiting.pop(0))
            while self.later and self.later[0][0] <= time.monotonic():
                heapq.heappop(self.later)[2]()
            self.status = cluster.look()
            if now > self.deadline:
                self.complaints.append("the client has not ended after %.0f s" % now)
                return
            time.sleep(0.01)
        cluster.note("the client ended with %d" % self.status)

    def after(self, seconds, what):
        heapq.heappush(self.later, (time.monotonic() + seconds, len(self.later) + id(what), what))

    def fire(self, fault):
        worker = None if fault.worker is None else self.cluster.workers[fault.worker]
        done = getattr(self, fault.kind.replace("-", "_"))(fault, worker)
        self.fired += done is not False
        self.cluster.note("%s%s" % (repr(fault)[10:].strip(), "" if done is not False else
                                    " (nobody there)"))

    # -- what each fault does

    def worker_kill(self, fault, worker):
        return worker.kill()

    def worker_stop(self, fault, worker):
        if worker.stopped or not worker.stop():
            return False
        self.after(fault.seconds, worker.go_on)

    def worker_term(self, fault, worker):
        return worker.expected is None and worker.term()

    def supervisor_kill(self, fault, worker):
        return worker.expected is None and worker.kill_supervisor()

    def net_cut(self, fault, worker):
        worker.proxy.cut()

    def net_half_open(self, fault, worker):
        worker.proxy.half_open()

    def net_black_hole(self, fault, worker):
        worker.proxy.black_hole(fault.seconds)

    def net_slow(self, fault, worker):
        worker.proxy.slow(0.02 + fault.seconds / 10, fault.seconds)

    def head_kill(self, fault, _):
        return self.cluster.end_head(signal.SIGKILL, fault.seconds)

    def head_term(self, fault, _):
        return self.cluster.end_head(signal.SIGTERM, fault.seconds)

    def head_crash(self, fault, _):
        return self.cluster.end_head(signal.SIGKILL, fault.seconds, fault.point)

    def disk_full(self, fault, _):
        """The head's disk has no room for a while."""
        if not self.cluster.fill_disk():
            return False
        self.after(fault.seconds, self.cluster.free_disk)

    def head_stop(self, fault, _):
        process = self.cluster.head.process
        if self.cluster.head_comes_at is not None or process.poll() is not None:
            return False
        process.send_signal(signal.SIGSTOP)
        self.after(fault.seconds, lambda: process.poll() is None and
                   process.send_signal(signal.SIGCONT))

    def key_revoke(self, fault, worker):
        """The worker's key is taken off the list, and is on it again later."""
        keys = self.cluster.keys
        if not keys or worker.name not in keys.holders:
            return False
        holder = keys.holders[worker.name]
        keys.revoke(worker.name)

        def again():
            keys.holders[worker.name] = holder
            keys.list()
        self.after(fault.seconds, again)

    def client_kill(self, fault, _):
        return self.cluster.client.kill(fault.seconds)

    def client_stop(self, fault, _):
        process = self.cluster.client.process
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGSTOP)
        self.after(fault.seconds, lambda: process.poll() is None and
                   process.send_signal(signal.SIGCONT))

    def client_cut(self, fault, _):
        self.cluster.client.proxy.cut()

    def client_half_open(self, fault, _):
        self.cluster.client.proxy.half_open()

    def client_slow(self, fault, _):
        self.cluster.client.proxy.slow(0.02 + fault.seconds / 10, fault.seconds)

    # -- the proof

    def verify(self):
        want = 3 if self.job.bad else 0
        if self.status != want:
            self.complaints.append("the client's exit status: expected %d, got %r" %
                                   (want, self.status))
        if os.path.exists(self.cluster.out):
            self.complaints += self.job.verify_output(self.cluster.out)
        else:
            self.complaints.append("there is no file of records: %s" % self.cluster.out)
        self.complaints += self.cluster.verify_job()
        if self.retries and self.job.bad and not self.complaints:
            self.complaints += self.cluster.retry_letters()


def traces(folder):
    """What the logs say that they must never say."""
    found = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".log"):
            with open(os.path.join(folder, name), errors="replace") as file:
                line = next((line for line in file if any(t in line for t in TRACES)), None)
            if line:
                found.append("%s says: %s" % (name, line.strip()[:300]))
    return found


def run_seed(options):
    """In a process of its own: 0, or 1 after a report."""
    began = time.monotonic()
    folder = options.folder
    run = None
    try:
        run = Run(options, folder)
        run.play()
        for worker in run.cluster.workers:
            worker.go_on()
        run.cluster.free_disk()
        run.cluster.await_head()
        if not run.complaints:
            run.verify()
        run.complaints += run.cluster.end()
    except Exception as error:  # whatever it is, it is the report's first line
        from cluster import Broken
        told = str(error) if isinstance(error, (Broken, AssertionError)) else \
            traceback.format_exc()
        if run is None:
            print("seed %d could not be started:\n%s" % (options.one, told))
            print("logs: %s" % folder)
            return 1
        run.complaints.append(told)
    run.complaints += traces(folder)
    seconds = time.monotonic() - began
    if not run.complaints:
        print("seed %-6d ok      %5.1f s  %s" % (options.one, seconds, tell(run)))
        if options.keep:
            print("            kept in %s" % folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return 0
    report(options, run, seconds, folder)
    return 1


def tell(run):
    return "%2d faults, %d records, %d bad, %d shards, %s" % (
        run.fired, run.job.records, len(run.job.bad), len(run.job.shards), run.like)


def report(options, run, seconds, folder):
    lines = ["seed %-6d FAILED  %5.1f s  %s" % (options.one, seconds, tell(run))]
    lines += ["  expected and got:"] + ["    - " + text for text in run.complaints]
    lines += ["  timeline:"] + ["    %7.3f s  %s" % row for row in run.cluster.timeline]
    lines += ["  logs: %s" % folder,
              "  again: tests/chaos/run.py --seeds %d --records %d --seconds %g" %
              (options.one, options.records, options.seconds)]
    text = "\n".join(lines)
    with open(os.path.join(folder, "REPORT"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)


# ---- nobody survives: each seed has a guard who outlives it

def prctl(option, value):
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants():
    try:
        with open("/proc/self/task/%d/children" % os.getpid()) as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def sweep():
    """Kills all that is left below this process; orphans come to it, as it is their reaper."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pids = descendants()
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for _ in pids:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def unmount(folder):
    """The small disk that the head may have had; what was on it goes with it."""
    with open("/proc/mounts", encoding="utf-8") as file:
        for line in file:
            if line.split()[1].startswith(folder + "/"):
                subprocess.run(["umount", "-l", line.split()[1]], stderr=subprocess.DEVNULL)


def guard(play, options):
    """Runs `play(options)` in a child and ends all that it leaves behind, however it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    options.folder = tempfile.mkdtemp(prefix="shoal-c-", dir="/tmp")
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        status = 1
        try:
            status = play(options)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def stop(*_):
        sweep()
        unmount(options.folder)
        os._exit(1)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while True:
        ended, status = os.waitpid(-1, 0)  # orphans end here too
        if ended == pid:
            break
    sweep()
    unmount(options.folder)
    return os.waitstatus_to_exitcode(status)


# ---- many seeds

def read_seeds(text):
    seeds = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def suite():
    seeds = list(SUITE)
    with open(os.path.join(HERE, "seeds.txt"), encoding="utf-8") as file:
        for line in file:
            word = line.split("#")[0].strip()
            if word and int(word) not in seeds:
                seeds.append(int(word))
    return seeds


def endless(seconds, first):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield first
        first += 1


def start(options, seed, script):
    arguments = [sys.executable, script, "--one", str(seed),
                 "--records", str(options.records), "--seconds", str(options.seconds)]
    arguments += ["--keep"] if options.keep else []
    arguments += ["--faults", ",".join(options.faults)] if options.faults else []
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_many(options, seeds, script=os.path.abspath(__file__)):
    """Runs the seeds, a few at a time; the ones that failed."""
    running, failed, count = [], [], 0
    seeds = iter(seeds)
    more = True
    while more or running:
        while more and len(running) < options.jobs:
            seed = next(seeds, None)
            more = seed is not None
            if more:
                running.append((seed, start(options, seed, script)))
        seed, process = running.pop(0) if running else (None, None)
        if process:
            out, _ = process.communicate()
            count += 1
            print(out.rstrip(), flush=True)
            if process.returncode != 0:
                failed.append(seed)
                if options.stop_at_first:
                    more = False
    print("%d seeds, %d failed%s" % (count, len(failed), ": " + ", ".join(map(str, failed))
                                     if failed else ""))
    return failed


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", help="as in 7,20-30; default: the suite")
    parser.add_argument("--for", dest="endless", type=float, help="new seeds for so many seconds")
    parser.add_argument("--from", dest="first", type=int, help="the first of the new seeds")
    parser.add_argument("--jobs", type=int, default=4, help="seeds at a time")
    parser.add_argument("--records", type=int, default=100000)
    parser.add_argument("--seconds", type=float, default=3, help="that the job's pauses take")
    parser.add_argument("--faults", type=lambda text: text.split(","), help="these kinds only")
    parser.add_argument("--keep", action="store_true", help="keep the folders of good runs")
    parser.add_argument("--stop-at-first", action="store_true", help="failure")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.one is not None:
        return guard(run_seed, options)
    if options.endless:
        seeds = endless(options.endless, options.first or int(time.time()))
    else:
        seeds = read_seeds(options.seeds) if options.seeds else suite()
    return 1 if run_many(options, seeds) else 0


if __name__ == "__main__":
    sys.exit(main())
