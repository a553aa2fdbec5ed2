# SPDX-License-Identifier: Apache-2.0
"""job - a job of known records, made from a seed, and the proof that its output is what it must be.

Records are numbered from 0 and named r0, r1, ...; each belongs to one shard. Which of them are bad
follows from the shard, so the set that must come out is known before anything runs.
"""

import json
import os
import re

NAME = re.compile(rb'"name":"r(\d+)"')
LETTERS_MAX = 8000  # of one job; the head's limit is 10,000
SHOWN = 12  # of a long list


class Shard:
    def __init__(self, scope, first, records, **behaviour):
        self.scope, self.first, self.records = scope, first, records
        self.behaviour = behaviour

    def every(self, key, index):
        n = self.behaviour.get(key, 0)
        return n > 0 and index % n == n - 1

    def is_bad(self, number):
        index = number - self.first
        return self.every("bad_every", index) or self.every("poison_every", index)

    def bad(self):
        return [n for n in range(self.first, self.first + self.records) if self.is_bad(n)]

    def as_plan(self):
        plan = {"scope": self.scope, "first": self.first, "records": self.records}
        plan.update(self.behaviour)
        return plan

    def __repr__(self):
        return "shard of records %d..%d (scope %d, %s)" % (
            self.first, self.first + self.records - 1, self.scope,
            ", ".join("%s=%s" % pair for pair in self.behaviour.items()) or "plain")


class Job:
    def __init__(self, rng, records, seconds, slots, deadly, has_short_lease=True):
        """About `seconds` long on `slots` slots. `deadly`: how many workers it may cost by itself.
        `has_short_lease`: a try that stands still is given up soon enough for a test."""
        self.has_short_lease = has_short_lease
        self.records = records
        self.shards = []
        self.letters = 0  # at most
        self.scopes = rng.randint(1, 4)
        self.pause_ms = rng.choice((0, 0, 5, 20))  # of discovery, between two shards
        self.cut(rng, rng.choice((40, 60, 60, 150, 400)), seconds * slots, deadly)
        self.bad = sorted(n for shard in self.shards for n in shard.bad())
        self.good = records - len(self.bad)

    def cut(self, rng, count, slot_seconds, deadly):
        weights = [rng.choice((1, 1, 1, 2, 5, 20)) for _ in range(count)]
        first = 0
        for index, weight in enumerate(weights):
            last = index == count - 1
            size = self.records - first if last else self.records * weight // sum(weights)
            shard = Shard(rng.randint(1, self.scopes), first, size)
            first += size
            self.behave(rng, shard, slot_seconds / count)
            self.shards.append(shard)
        manners = ["refuse", "break", "break"] + rng.sample(("die", "crash"), k=deadly)
        if self.has_short_lease:
            manners += ["stall", "hang"] if rng.random() < 0.3 else ["stall"]
        for shard, manner in zip(rng.sample(self.shards, len(manners)), manners):
            tries = rng.randint(1, 2) if manner in ("refuse", "break") else 1
            shard.behaviour.update(manner=manner, tries=tries)
        for shard in rng.sample(self.shards, 2):  # a few whose records are large
            shard.behaviour["bytes"] = min(rng.choice((2000, 20000, 300000)),
                                           6000000 // max(shard.records, 1))

    def behave(self, rng, shard, seconds):
        """Some are slow: together the pauses take `seconds` a shard."""
        how = shard.behaviour
        how["bytes"] = rng.choice((0, 10, 40, 100))
        if shard.records and rng.random() < 0.7:
            pauses = rng.randint(1, min(20, shard.records))
            how["pause_every"] = max(shard.records // pauses, 1)
            how["pause_ms"] = max(int(seconds * 1000 * rng.uniform(0.3, 2.5) / pauses), 1)
        for key, choices in (("bad_every", (7, 50, 400)), ("poison_every", (11, 60, 300))):
            every = rng.choice(choices)
            if rng.random() < 0.15 and self.letters + shard.records // every < LETTERS_MAX:
                how[key] = every
                self.letters += shard.records // every

    def workflow(self, marks, out):
        config = {"marks": marks, "pause_ms": self.pause_ms,
                  "plan": [shard.as_plan() for shard in self.shards]}
        return {"source": {"type": "chaos", "serviceName": "chaos",
                           "serviceConnection": {"config": config}},
                "processor": {"type": "chaos"},
                "sink": {"type": "file", "config": {"filename": out}},
                "workflowConfig": {"distributedExecution": {"retryPolicy": {
                    "maxAttempts": 100, "backoffSeconds": 0.05, "backoffFactor": 1}}}}

    def deaths(self):
        """Exit statuses of a worker's supervisor that shards may cause while it leaves."""
        manners = [shard.behaviour.get("manner") for shard in self.shards]
        return tuple(128 + number for manner, number in (("die", 9), ("crash", 11))
                     if manner in manners)

    def shard_of(self, number):
        return next(s for s in self.shards if s.first <= number < s.first + s.records)

    def write(self, path, marks, out):
        os.makedirs(marks, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.workflow(marks, out), file)

    # -- the proof

    def verify_output(self, path):
        """Complaints about the records' file: each good record is there once, no other is."""
        seen = bytearray(self.records)
        strange, lines, named = [], 0, 0
        with open(path, "rb") as file:
            for line in file:
                lines += 1
                match = NAME.search(line)
                number = int(match.group(1)) if match else -1
                if not 0 <= number < self.records or not line.endswith(b"}\n"):
                    strange.append(line[:80])
                    continue
                named += 1
                seen[number] = min(seen[number] + 1, 255)
        complaints = []
        twice = [n for n in range(self.records) if seen[n] > 1]
        bad = set(self.bad)
        lost = [n for n in range(self.records) if seen[n] == 0 and n not in bad]
        extra = [n for n in self.bad if seen[n]]
        for what, numbers in (("came more than once", twice), ("are missing", lost),
                              ("are bad, but came", extra)):
            if numbers:
                complaints.append("%d of %d records %s: %s" %
                                  (len(numbers), self.good, what, self.tell(numbers)))
        if strange:
            complaints.append("%d of %d lines are no record of the job: %r" %
                              (len(strange), lines, strange[:3]))
        return complaints

    def verify_letters(self, lines):
        """Complaints about an export of the job's dead letters."""
        seen, strange = {}, []
        for line in lines:
            name = str(json.loads(line).get("record_id"))
            match = re.fullmatch(r"r(\d+)", name.rsplit(".", 1)[-1])
            if match:
                seen[int(match.group(1))] = seen.get(int(match.group(1)), 0) + 1
            else:
                strange.append(line[:200])
        bad, complaints = set(self.bad), []
        for what, numbers in (
                ("have no dead letter", [n for n in self.bad if n not in seen]),
                ("have several dead letters", sorted(n for n in seen if seen[n] > 1)),
                ("are good, but have a dead letter", sorted(set(seen) - bad))):
            if numbers:
                complaints.append("%d records (%d are bad) %s: %s" %
                                  (len(numbers), len(bad), what, self.tell(numbers)))
        if strange:
            complaints.append("%d of %d dead letters are of no record of the job: %r" %
                              (len(strange), len(lines), strange[:3]))
        return complaints

    def tell(self, numbers):
        """Record numbers as ranges, with the shards that they are of."""
        ranges, start = [], numbers[0]
        for n, after in zip(numbers, numbers[1:] + [None]):
            if after != n + 1:
                ranges.append("r%d" % n if start == n else "r%d..r%d" % (start, n))
                start = after
        shards = []
        for n in numbers:
            if not shards or not shards[-1].first <= n < shards[-1].first + shards[-1].records:
                shard = self.shard_of(n)
                if shard not in shards:
                    shards.append(shard)
        text = ", ".join(ranges[:SHOWN]) + (" ..." if len(ranges) > SHOWN else "")
        return text + "".join("\n      of %r" % s for s in shards[:SHOWN])
