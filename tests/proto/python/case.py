# SPDX-License-Identifier: Apache-2.0
"""case - what the tests of the wire share: a real head, and a healthy peer beside each test."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "support"))
sys.path.insert(0, os.path.dirname(__file__))

from programs import SLOWER, ShoalTest  # noqa: E402,F401
from shoal_wire import Client, Peer, Worker  # noqa: E402

SECOND_US = 1000000  # a shard's cost: long enough to be no small call


def shard(number, args=None, stage=2, cost=5 * SECOND_US, **more):
    item = {"shard": number, "stage": stage, "cost": cost, "title": "shard %d" % number,
            "args": args if args is not None else {"n": number}}
    item.update(more)
    return item


def spec(**more):
    """A job's specification: collected output, quick retries."""
    whole = {"name": "test", "class": "pipeline", "args": {}, "collect": True,
             "retry": {"max_attempts": 3, "backoff_ms": 1, "factor": 1}}
    whole.update(more)
    return whole


class WireTest(ShoalTest):
    """Each test has a head of its own (FLAGS) and a healthy client beside it, which must still
    be answered when the test is over. Peers here send heartbeats only where a test says so, so
    the head is patient."""

    FLAGS = ("--liveness-ms", "600000")
    LISTEN = None  # a socket in the test's folder

    def setUp(self):
        super().setUp()
        self.the_head = self.head(*self.FLAGS, listen=self.LISTEN)
        self.peers = []
        self.addCleanup(lambda: [peer.close() for peer in self.peers])
        self.beside = self.keep(Client(self.the_head.endpoint, id="beside"))

    def tearDown(self):
        self.assertTrue(self.the_head.is_alive(), self.the_head.log()[-4000:])
        self.assertFalse(self.beside.is_dropped(0), "the healthy peer was dropped")
        self.assertTrue(self.beside.is_answered(), "the healthy peer is not answered")

    def keep(self, peer):
        self.peers.append(peer)
        return peer

    def peer(self):
        return self.keep(Peer(self.the_head.endpoint))

    def client(self, id="client", **more):
        return self.keep(Client(self.the_head.endpoint, id=id, **more))

    def worker(self, id="worker", **more):
        return self.keep(Worker(self.the_head.endpoint, id=id, **more))

    def submitted(self, client, id="job", **more):
        """Submits and watches a job; returns its number."""
        job = client.submit(spec(**more), id)
        client.watch(job)
        return job

    def output(self, client, job, start=1, credit=1 << 20):
        """The job's output from commit `start` on: {commit: bytes}, taking all of it."""
        client.send("OUTPUT", request=client.request(), job=job, **{"from": start, "credit": credit})
        commits, whole = {}, b""
        while True:
            message = client.wait_for(
                lambda m: m.name in ("PIECE", "OUTPUT_END") and m.job == job, 10, "output")
            if message.name == "OUTPUT_END":
                self.assertEqual(whole, b"", "OUTPUT_END in the middle of a commit")
                self.output_end = message
                return commits
            whole += message.payload
            if message.last:
                commits[message.commit], whole = whole, b""
            client.send("TAKEN", job=job, commit=message.commit if message.last else
                        message.commit - 1, bytes=len(message.payload))

    def assert_told(self, peer, code, closing=True, refers=None, seconds=5.0):
        """The peer gets ERROR with that code; it is dropped exactly if the error is `closing`."""
        error = peer.expect("ERROR", seconds * SLOWER)
        self.assertEqual(error.code, code, error)
        self.assertEqual(error.closing, closing, error)
        self.assertNotEqual(error.reason, "")
        if refers is not None:
            self.assertEqual(error.refers, refers, error)
        if closing:
            self.assertTrue(peer.is_dropped(), "told %r, but not dropped" % (error,))
        else:
            self.assertFalse(peer.is_dropped(0), "dropped after %r" % (error,))
        return error
