#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hostile - peers that mean no good, beside a good job that must not notice them.

    hostile.py                        the suite: some seconds
    hostile.py --messages 1000000 --silent 10000      all of it

One after the other: connections that say nothing, one that never reads, ones that send without end,
and malformed messages from many peers, by a seed. Meanwhile a job of known records runs on a real
worker, and another one of small calls is counted. The head must stay up and below its memory limit,
the small calls be back at 0.8 of their rate within 2 s of the offender's end, and the good job's
output be whole, each record once.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import run as driver  # noqa: E402
from cluster import SLOWER, Broken, Cluster, wait_until  # noqa: E402
from job import Job  # noqa: E402
from mutate import garbage, hello, message as mutated  # noqa: E402
from raw_wire import Raw, message as framed  # noqa: E402
from shoal_wire import Client, Late, Worker, encode  # noqa: E402

MIB = 1 << 20
MEMORY_MAX = 640 * MIB  # of the head: 64 of records, 256 for those who do not read, and the rest
RATE_PART, RATE_SECONDS = 0.8, 2.0
SMALL_SHARDS = 2000
BURST = 20  # malformed messages on one connection, at most
AT_ONCE = 100  # such connections


# ---- the others' work

def small_calls(endpoint, count, stop):
    """A worker and a client of small calls, in a process of its own: `count` grows with each."""
    items = [{"shard": n + 1, "stage": 2, "cost": 5000000, "title": "", "args": n}
             for n in range(SMALL_SHARDS)]
    with Worker(endpoint, id="small", slots=8, window=16, classes=["small"]) as worker, \
            Client(endpoint, id="small") as client:
        turn = 0
        while not stop.is_set():
            turn += 1
            client.submit({"name": "small", "class": "small", "args": {}}, "small %d" % turn)
            left = 2 + SMALL_SHARDS + 1  # check, discover, the shards, finish
            while left and not stop.is_set():
                try:
                    call = worker.take(0.2)
                except Late:
                    worker.heartbeat()
                    continue
                if call.name != "CALL":
                    continue
                left -= 1
                worker.answer(call, items)
                count.value += 1
                if client.socket.poll(0):
                    client.take(0)
                if count.value % 500 == 0:
                    client.send("HEARTBEAT")
        worker.send("BYE")


class Pulse:
    """How fast the small calls go."""

    def __init__(self, endpoint):
        context = multiprocessing.get_context("fork")
        self.count = context.Value("Q", 0, lock=False)
        self.stop_event = context.Event()
        self.process = context.Process(target=small_calls,
                                       args=(endpoint, self.count, self.stop_event), daemon=True)
        self.process.start()
        wait_until(lambda: self.count.value > 100, 20, "the first small calls")

    def rate(self, seconds=0.25):
        before, begin = self.count.value, time.monotonic()
        time.sleep(seconds)  # the time over which it is measured
        return (self.count.value - before) / (time.monotonic() - begin)

    def usual(self):
        return sorted(self.rate() for _ in range(5))[2]

    def recovered(self, usual):
        """Seconds until the rate is back, or None if it is not by then; its best rate."""
        begin, best = time.monotonic(), 0.0
        while time.monotonic() - begin < RATE_SECONDS * SLOWER:
            best = max(best, self.rate())
            if best >= RATE_PART * usual:
                return time.monotonic() - begin, best
        return None, best

    def stop(self):
        self.stop_event.set()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


# ---- offenders

def malformed(endpoint, seed, messages, sent):
    """Sends so many malformed messages over as many connections as it takes."""
    rng = random.Random(seed)
    before = []
    while sent.value < messages:
        group = []
        for _ in range(AT_ONCE):
            try:
                group.append(Raw(endpoint, seconds=5))
            except OSError:
                pass  # full just now
        for raw in before:  # they have had the time to be read
            raw.close()
        for raw in group:
            if raw.settle(patient=True):
                count, data = burst_of(rng)
                sent.value += count if raw.send(data) else 0
        before = group
    for raw in before:
        raw.close()


def burst_of(rng):
    """What one connection sends: perhaps a HELLO that is right, then messages that are not."""
    data = []
    role = rng.choice((None, "worker", "client", "client"))
    if role:
        data.append(framed(*hello(role, rng.randrange(1000))))
    count = rng.randint(1, BURST)
    data += [framed(*mutated(rng)) if rng.random() < 0.97 else garbage(rng) for _ in range(count)]
    return count, b"".join(data)


def exchange(sock, data):
    """Sends what goes and throws away what came; whether the connection has ended, bytes sent."""
    sent = 0
    for step in (lambda: sock.send(data), lambda: len(sock.recv(MIB)) * 0):
        try:
            sent += step()
        except BlockingIOError:
            pass
        except OSError:  # dropped: it does not read as fast as it sends
            return True, sent
    return False, sent


class Hostile:
    def __init__(self, options, folder):
        self.options = options
        self.job = Job(random.Random(options.seed), options.records, options.seconds, 2, 0)
        self.cluster = Cluster(folder, self.job, 1, 2)
        self.endpoint = self.cluster.head.endpoint
        self.cluster.find_job()
        self.pulse = Pulse(self.endpoint)
        self.complaints = []
        self.peak = 0

    def note(self, text):
        self.cluster.note(text)
        print("  %6.1f s  %s" % self.cluster.timeline[-1], flush=True)

    def memory(self):
        with open("/proc/%d/status" % self.cluster.head.process.pid) as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    bytes_now = int(line.split()[1]) * 1024
                    self.peak = max(self.peak, bytes_now)
                    return bytes_now
        raise Broken("the head is gone")

    def watch(self, condition, seconds, what):
        """Waits for a condition and looks at the head's memory meanwhile."""
        def look():
            self.memory()
            self.cluster.look()
            return condition()
        return wait_until(look, seconds, what)

    def offence(self, name, offend):
        """Plays one offence and tells what it cost. `offend` returns when the offender was dropped,
        or has done its worst."""
        usual = self.pulse.usual()
        self.peak = self.memory()
        told = offend()
        seconds, best = self.pulse.recovered(usual)
        self.note("%-22s %s; head at most %d MiB; small calls %d/s before, %d/s %s" % (
            name, told, self.peak // MIB, usual, best,
            "after %.1f s" % seconds if seconds is not None else "at best after"))
        if self.peak > MEMORY_MAX * SLOWER:
            self.complaints.append("%s: the head took %d MiB, at most %d are allowed" %
                                   (name, self.peak // MIB, MEMORY_MAX // MIB))
        if seconds is None and self.options.strict:
            self.complaints.append("%s: the small calls were at %d/s before, and at most %d/s "
                                   "within %.0f s after" % (name, usual, best, RATE_SECONDS))

    def head_says(self, key):
        return self.cluster.ask("head")[key]

    # -- the offences

    def silence(self):
        """Connections that say nothing: some not even the greeting."""
        count = self.options.silent
        begin = time.monotonic()
        raws = [Raw(self.endpoint, handshake=n % 2 == 0) for n in range(count)]
        opened = time.monotonic() - begin
        self.watch(lambda: self.head_says("silent") >= count // 4, 20, "all of them to be accepted")
        most = self.head_says("silent")
        during = self.pulse.rate(1.0)
        self.watch(lambda: self.head_says("silent") == 0, 40, "the end of who says nothing")
        left = sum(not raw.is_shut(1.0 * SLOWER) for raw in raws[::max(count // 500, 1)])
        for raw in raws:
            raw.close()
        if left:
            self.complaints.append("%d connections that said nothing were not shut" % left)
        return "%d connections in %.1f s, %d at once, %d/s meanwhile" % (count, opened, most, during)

    def never_reads(self):
        """Asks for much and reads nothing."""
        raw = Raw(self.endpoint)
        raw.settle()
        raw.send(framed(*encode("HELLO", role="client", id="never reads")))
        refused, asked = self.head_says("refused"), 0
        ask = framed(*encode("ASK", request=1, what="jobs")) * 50
        raw.socket.setblocking(False)

        def more():
            nonlocal asked
            try:
                asked += raw.socket.send(ask) // (len(ask) // 50)
            except BlockingIOError:
                pass
            except OSError:
                return True
            return self.head_says("refused") > refused
        self.watch(more, 40, "the end of who never reads")
        raw.close()
        return "%d questions asked" % asked

    def sends_endlessly(self):
        """Valid messages as fast as they go, for three seconds, answers read; then garbage."""
        raw = Raw(self.endpoint)
        raw.settle()
        raw.send(framed(*encode("HELLO", role="client", id="endless")))
        beats = framed(*encode("HEARTBEAT")) * 200
        raw.socket.setblocking(False)
        sent, begin, first = 0, time.monotonic(), self.pulse.count.value
        is_dropped = False
        while not is_dropped and time.monotonic() < begin + 3:
            is_dropped, passed = exchange(raw.socket, beats)
            sent += passed
            self.memory()
        seconds = time.monotonic() - begin
        during = (self.pulse.count.value - first) / seconds
        raw.socket.setblocking(True)
        raw.send(framed(b"garbage", b"garbage"))
        if not raw.is_shut(10 * SLOWER):
            self.complaints.append("who sent garbage at the end was not dropped")
        raw.close()
        return "%d heartbeats in %.1f s, small calls %d/s meanwhile" % (
            sent * 200 // len(beats), seconds, during)

    def malformed(self):
        context = multiprocessing.get_context("fork")
        sent = context.Value("Q", 0, lock=False)
        before, begin = self.head_says("refused"), time.monotonic()
        process = context.Process(target=malformed, daemon=True, args=(
            self.endpoint, self.options.seed, self.options.messages, sent))
        process.start()
        while process.is_alive():
            self.memory()
            self.cluster.look()
            process.join(0.05)
        seconds = time.monotonic() - begin
        return "%d messages in %.0f s, %d connections refused" % (
            sent.value, seconds, self.head_says("refused") - before)

    # -- all of it

    def play(self):
        for name in self.options.only or ("silence", "never_reads", "sends_endlessly", "malformed"):
            self.offence(name.replace("_", " "), getattr(self, name))
        self.pulse.stop()
        status = self.watch(lambda: self.cluster.client.process.poll() is not None and
                            (self.cluster.client.process.returncode,), 120, "the good job's end")[0]
        want = 3 if self.job.bad else 0
        if status != want:
            self.complaints.append("the good job's client: expected exit %d, got %d" %
                                   (want, status))
        self.complaints += self.job.verify_output(self.cluster.out) + \
            self.cluster.verify_job(is_alone=False)


def play(options):
    """In a process of its own: 0, or 1 after a report."""
    folder = options.folder
    hostile = None
    try:
        hostile = Hostile(options, folder)
        hostile.play()
        hostile.complaints += hostile.cluster.end()
    except Exception as error:
        told = str(error) if isinstance(error, (Broken, AssertionError)) else traceback.format_exc()
        if hostile is None:
            print("could not be started:\n%s\nlogs: %s" % (told, folder))
            return 1
        hostile.complaints.append(told)
    hostile.complaints += driver.traces(folder)
    if not hostile.complaints:
        print("hostile %d ok" % options.seed)
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print("hostile %d FAILED\n  expected and got:" % options.seed)
    for text in hostile.complaints:
        print("    - " + text)
    print("  timeline:")
    for row in hostile.cluster.timeline:
        print("    %7.3f s  %s" % row)
    print("  logs: %s" % folder)
    return 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=20000, help="malformed ones")
    parser.add_argument("--silent", type=int, default=1000, help="connections that say nothing")
    parser.add_argument("--records", type=int, default=20000, help="of the good job")
    parser.add_argument("--seconds", type=float, default=12, help="that the good job takes")
    parser.add_argument("--only", type=lambda text: text.split(","), help="these offences")
    parser.add_argument("--strict", action="store_true",
                        help="a rate that does not come back fails; for a quiet machine")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(driver.guard(play, arguments()))
