# SPDX-License-Identifier: Apache-2.0
"""faults - what goes wrong, when and to whom: a list made from the seed before anything runs.

A fault that costs a shard its worker is *deadly*: a shard is given up after ten of them (it is a
limit of the head's own), so there are never so many in one run.
"""

from cluster import LEASE_MS, LIVENESS_MS, SLOWER

DEADLY_MAX = 8  # below SHOAL_LOSSES_MAX, whichever shard they hit


# Named places of head/store/crash.h, between the steps of a group commit.
CRASH_POINTS = ("segment-written", "segment-synced", "commit-begun", "commit-before",
                "commit-after", "report-before", "report-after")


class Fault:
    def __init__(self, at, kind, worker, seconds, point=None):
        self.at, self.kind, self.worker, self.seconds = at, kind, worker, seconds
        self.point = point  # where a head is to kill itself: NAME:N

    def __repr__(self):
        text = "%6.2f s  %-16s" % (self.at, self.kind)
        if self.worker is not None:
            text += " w%d" % (self.worker + 1)
        text += " at " + self.point if self.point else ""
        return text + (" for %.2f s" % self.seconds if self.seconds else "")


# kind: (weight, deadly, needs a worker, shortest and longest in seconds)
LIVENESS, LEASE = LIVENESS_MS / 1000, LEASE_MS / 1000
KINDS = {
    "worker-kill": (4, 1, True, 0, 0),
    "worker-stop": (3, 1, True, LIVENESS * 0.3, LEASE * 1.6),
    "worker-term": (3, 0, True, 0, 0),
    "supervisor-kill": (2, 1, True, 0, 0),
    "net-cut": (4, 0, True, 0, 0),
    "net-half-open": (2, 1, True, 0, 0),
    "net-black-hole": (2, 1, True, LIVENESS * 0.3, LIVENESS * 2),
    "net-slow": (3, 0, True, 0.2, 1.5),
    "disk-full": (3, 0, False, 0.1, 2),
    "key-revoke": (1, 1, True, 0.1, LIVENESS * 2),
    "head-kill": (3, 0, False, 0.02, LIVENESS),
    "head-stop": (1, 0, False, 0.1, LIVENESS * 1.6),
    "head-term": (2, 0, False, 0.02, LIVENESS),
    "head-crash": (4, 0, False, 0.02, LIVENESS),
    "client-kill": (3, 0, False, 0, 1),
    "client-stop": (1, 0, False, 0.1, LIVENESS * 1.5),
    "client-cut": (2, 0, False, 0, 0),
    "client-half-open": (1, 0, False, 0, 0),
    "client-slow": (1, 0, False, 0.2, 1),
}


def make(rng, seconds, workers, deadly, kinds=None):
    """The faults of a run of about `seconds`, in order. Each seed leaves some kinds out, so that the
    others come more often: runs differ more than if each had a little of everything."""
    table = {k: v for k, v in KINDS.items() if k in (kinds or KINDS)}
    chosen = {k: v for k, v in table.items() if rng.random() < 0.6}
    table = chosen if chosen and not kinds else table
    gap = rng.choice((0.15, 0.35, 0.35, 0.7)) * SLOWER
    faults = []
    at = rng.uniform(0.1, 0.5)
    while at < seconds * SLOWER:
        kind = rng.choices(list(table), [row[0] for row in table.values()])[0]
        _, is_deadly, needs_worker, least, most = table[kind]
        if deadly + is_deadly <= DEADLY_MAX:
            deadly += is_deadly
            point = "%s:%d" % (rng.choice(CRASH_POINTS), rng.choice((1, 2, 5, 20)))
            faults.append(Fault(at, kind, rng.randrange(workers) if needs_worker else None,
                                rng.uniform(least, most),
                                point if kind == "head-crash" else None))
        at += rng.expovariate(1 / gap)
    return faults
