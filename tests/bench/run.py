#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks, each beside its floor, interleaved, and prints a table of medians.

    tests/bench/run.py [--rounds 9] [--only dispatch,idle,stream,...] [--build build/release]

A row is one figure of ours, the floor's in the same round, and the median of the ratios round by
round: this machine's speed drifts, so only the ratios are worth remembering. Nothing here fails on
a slow figure; it says "short" beside it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOOR = ROOT / "build/floor"
BATCH_RECORDS = 65536 / 2242  # of bench_stream's in a batch


def run(*command, env=None, timeout=300):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            timeout=timeout, env={**os.environ, **(env or {})})
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]} ended {result.returncode}: {result.stderr.strip()[-500:]}")
    return result.stdout.strip()


def fields(*command, **more):
    return run(*command, **more).splitlines()[-1].split(",")


class Table:
    """Collects (ours, floor) pairs by row name; `goal` is a bound on the median of ours / floor."""

    def __init__(self):
        self.rows = {}

    def add(self, name, unit, ours, floor, goal):
        row = self.rows.setdefault(name, {"unit": unit, "goal": goal, "pairs": []})
        row["pairs"].append((ours, floor))

    @staticmethod
    def spread(values):
        middle = statistics.median(values)
        digits = 0 if middle >= 100 else 2
        return f"{middle:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"

    def show(self):
        print("| what | unit | Shoal | floor | ratio | goal | |")
        print("|---|---|---|---|---|---|---|")
        for name, row in self.rows.items():
            ours = [pair[0] for pair in row["pairs"]]
            floors = [pair[1] for pair in row["pairs"] if pair[1] is not None]
            sense, bound = row["goal"]
            if floors:
                value = statistics.median(a / b for a, b in row["pairs"] if b)
                floor_text, ratio_text = self.spread(floors), f"{value:.2f}"
            else:
                value = statistics.median(ours)
                floor_text, ratio_text = "", ""
            good = value >= bound if sense == ">=" else value <= bound
            print(f"| {name} | {row['unit']} | {self.spread(ours)} | {floor_text} | {ratio_text} "
                  f"| {sense} {bound:g} | {'' if good else 'short'} |")


class Bench:
    def __init__(self, build, rounds):
        self.build = build
        self.rounds = rounds
        self.table = Table()
        self.head = build / "bin/shoal-head"
        self.shoal = build / "bin/shoal"

    def tool(self, name):
        return self.build / "bench" / name

    # ---- one method a group; its name is the --only word

    def dispatch(self):
        for peers in (8, 64, 512, 2000, 10000):
            for _ in range(self.rounds):
                floor = fields(FLOOR / "scale", "-k", "zmtp", "-n", peers, "-d", 1, "-h", 0.2)
                for window, rate, cpu in ((1, 11, 12), (4, 14, 15)):
                    tasks = 600000 if peers < 10000 else 400000
                    ours = fields(self.tool("bench_dispatch"), "-n", peers, "-w", window,
                                  "-t", tasks, "-s", 1, self.head)
                    self.table.add(f"dispatch, {peers:,} workers, window {window}", "tasks/s",
                                   float(ours[6]), float(floor[rate]), (">=", 0.6))
                    self.table.add(f"head CPU a task, {peers:,} workers, window {window}", "us",
                                   float(ours[7]), float(floor[cpu]), ("<=", 1.7))

    def idle(self):
        for peers in (2000, 10000):
            for _ in range(self.rounds):
                floor = fields(FLOOR / "scale", "-k", "zmtp", "-n", peers, "-d", 0.1, "-h", 3)
                ours = fields(self.tool("bench_dispatch"), "-n", peers, "-w", 1, "-t", 1000,
                              "-i", 3, self.head)
                self.table.add(f"idle head, {peers:,} workers beating", "% of a core",
                               float(ours[4]), float(floor[6]), ("<=", 1.5))
                self.table.add(f"registration of {peers:,} workers", "s",
                               float(ours[3]), float(floor[5]), ("<=", 2.0))
                self.table.add(f"head memory a worker, {peers:,} workers", "KiB",
                               float(ours[5]), None, ("<=", 42))

    def million(self):
        for _ in range(min(self.rounds, 3)):
            ours = fields(self.tool("bench_dispatch"), "-n", 64, "-w", 4, "-t", 1000000,
                          "-s", 100, self.head)
            self.table.add("1,000,000 shards: submit and drain", "s", float(ours[8]), None,
                           ("<=", 10))
            self.table.add("1,000,000 shards: head's peak memory", "MiB", float(ours[9]), None,
                           ("<=", 256))

    def stream(self):
        for _ in range(self.rounds):
            floor = float(fields(FLOOR / "batch", "-E", "hand", "-D", "hand", "-B", 65536,
                                 "-q", 8)[7])
            for mode, goal in (("head", 0.7), ("client", 0.45)):
                ours = fields(self.tool("bench_stream"), mode, self.head)
                self.table.add(f"records streamed, worker to {mode if mode == 'head' else 'head to client'}",
                               "records/s", float(ours[1]), floor, (">=", goal))

    def curve(self):
        """With keys: CURVE at both ends, as between hosts."""
        for _ in range(self.rounds):
            floor = float(fields(FLOOR / "batch", "-c", "-E", "hand", "-D", "hand", "-B", 65536,
                                 "-q", 8)[7])
            plain = float(fields(self.tool("bench_stream"), "head", self.head)[1])
            ours = float(fields(self.tool("bench_stream"), "head", self.head, 64, "off", "keys")[1])
            self.table.add("records streamed with keys, worker to head", "records/s", ours, floor,
                           (">=", 0.75))
            self.table.add("the same beside a stream without keys", "records/s", ours, plain,
                           (">=", 0.2))
            self.table.add("records streamed with keys, to a client", "records/s",
                           float(fields(self.tool("bench_stream"), "client", self.head, 64, "off",
                                        "keys")[1]), floor, (">=", 0.4))

    def journal(self):
        """With the journal on; what the disk gives alone; and how a slower disk would do."""
        for _ in range(self.rounds):
            for peers in (64, 512):
                floor = fields(FLOOR / "scale", "-k", "zmtp", "-n", peers, "-d", 1, "-h", 0.2)
                for window, rate, goal in ((1, 11, 0.4), (4, 14, 0.3)):
                    self.table.add(f"durable dispatch, {peers} workers, window {window}", "tasks/s",
                                   self.durable_dispatch(peers, window, "on"), float(floor[rate]),
                                   (">=", goal))
            disk = {line.split(",")[1]: float(line.split(",")[2])
                    for line in run(self.tool("bench_disk"), "-s", 0.5, "batches").splitlines()}
            unsafe = float(fields(self.tool("bench_stream"), "client", self.head)[1])
            floor = min(unsafe, disk["8"] * BATCH_RECORDS)
            self.table.add("durable records, worker to head to client", "records/s",
                           self.durable_stream("on"), floor, (">=", 0.5))
            for line in run(self.tool("bench_disk"), "-s", 0.5, "commits").splitlines():
                _, group, rate = line.split(",")[:3]
                self.table.add(f"journal alone, {group} entries a commit", "entries/s", float(rate),
                               None, (">=", 1))
        for delay in ("on", "1", "5", "10"):
            for _ in range(min(self.rounds, 3)):
                name = "0" if delay == "on" else delay
                for window in (1, 4):
                    self.table.add(f"64 workers, window {window}, syncs {name} ms slower", "tasks/s",
                                   self.durable_dispatch(64, window, delay), None, (">=", 1))
                self.table.add(f"records to a client, syncs {name} ms slower", "records/s",
                               self.durable_stream(delay), None, (">=", 1))

    def durable_dispatch(self, peers, window, journal):
        return float(fields(self.tool("bench_dispatch"), "-n", peers, "-w", window, "-t", 400000,
                            "-s", 1, "-j", journal, self.head)[6])

    def durable_stream(self, journal):
        return float(fields(self.tool("bench_stream"), "client", self.head, 64, journal)[1])

    def codec(self):
        for _ in range(self.rounds):
            text = run(FLOOR / "mpbench", 0.1)
            ours = {line.split(",")[0]: float(line.split(",")[2])
                    for line in run(self.tool("bench_codec"), 0.1).splitlines()}
            for what, key in (("encode", "write"), ("decode", "read")):
                floor = self.mpbench(text, what)
                self.table.add(f"record codec, {what}", "ns", ours[key], floor, ("<=", 1.5))

    @staticmethod
    def mpbench(text, what):
        """The record's nanoseconds of the hand-written codec in mpbench's CSV."""
        name = {"encode": "enc hand", "decode": "dec hand cursor + struct"}[what]
        for line in text.splitlines():
            words = line.split(",")
            if words[:2] == [name, "record"]:
                return float(words[3])
        raise RuntimeError(f"mpbench printed no hand-written {what} of the record")

    def postgres(self):
        with catalogue_server() as server:
            env = {"DSN": server.dsn}
            for _ in range(self.rounds):
                one = float(fields(FLOOR / "pgread", "set", 1, env=env)[7])
                two = float(fields(FLOOR / "pgread", "range", 2, 4, env=env)[7])
                for slots, floor, goal in ((1, one, 0.85), (2, two, 0.8)):
                    ours = self.tables_per_second(server, slots)
                    self.table.add(f"PostgreSQL, 10,098 tables delivered, {slots} slot(s)",
                                   "tables/s", ours, floor, (">=", goal))
                seconds = self.whole_process(server)
                self.table.add("`shoal ingest` of it, exec to exit, less 0.15 s", "s",
                               seconds - 0.15, 10098 / one, ("<=", 2.5))

    def tables_per_second(self, server, slots):
        report = self.ingest(server, slots)
        return report["tables"] / report["seconds"]

    def ingest(self, server, slots):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            text = run(self.shoal, "ingest", server.url, "-o", f"{folder}/out.jsonl", "--output",
                       "json", "--no-progress", "--parallelism", slots)
            took = time.monotonic() - begin
            report = json.loads(text)
            return {"tables": report["records"]["by_kind"]["table"], "seconds": report["seconds"],
                    "took": took}

    def whole_process(self, server):
        return self.ingest(server, 2)["took"]

    def start(self):
        for _ in range(self.rounds):
            ours = run(self.tool("bench_start"), self.build / "bin").split(",")
            self.table.add("head and two workers started and registered", "ms", float(ours[0]),
                           None, ("<=", 60))
            self.table.add("idle head, RssAnon", "MiB", float(ours[1]) / 1024, None, ("<=", 8))
            self.table.add("idle worker, RssAnon", "MiB", float(ours[2]) / 1024, None, ("<=", 8))


class Server:
    def __init__(self, dsn, url):
        self.dsn, self.url = dsn, url


@contextlib.contextmanager
def catalogue_server():
    """A private PostgreSQL that holds the database of floor/pggen.py."""
    os.environ.setdefault("SHOAL_BUILD", str(ROOT / "build/release"))
    sys.path.insert(0, str(ROOT / "tests/support"))
    import postgres  # tests/support/postgres.py
    server = postgres.Postgres(shared_buffers="128MB")
    try:
        server.sql("create role lab login superuser password 'lab'")
        server.sql("create database lab owner lab")
        server.sql(run(sys.executable, ROOT / "tests/bench/floor/pggen.py"), database="lab")
        server.sql("vacuum analyze", database="lab")
        yield Server(f"host=127.0.0.1 port={server.port} user=lab password=lab dbname=lab",
                     f"postgres://lab:lab@127.0.0.1:{server.port}/lab")
    finally:
        server.destroy()


GROUPS = ("codec", "start", "stream", "curve", "postgres", "dispatch", "idle", "million", "journal")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default=",".join(GROUPS))
    parser.add_argument("--build", default="build/release")
    options = parser.parse_args()
    bench = Bench(ROOT / options.build, options.rounds)
    run("make", "-s", "-C", ROOT / "tests/bench/floor", f"BUILD={FLOOR}")
    for name in options.only.split(","):
        print(f"bench: {name}", file=sys.stderr)
        try:
            getattr(bench, name)()
        except (RuntimeError, AssertionError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
            print(f"bench: {name} could not finish: {error}", file=sys.stderr)
    commit = run("git", "-C", ROOT, "describe", "--always", "--dirty")
    print(f"\n{platform.system()} {platform.machine()}, {os.cpu_count()} cores, commit {commit}, "
          f"{options.rounds} rounds: median (least to most)\n")
    bench.table.show()


if __name__ == "__main__":
    main()
