# SPDX-License-Identifier: Apache-2.0
"""Peers that do not keep up, or never say who they are: what they cost the head, and for how long."""

import unittest

from case import WireTest, shard
from programs import wait_until
from raw_wire import MORE, Raw, frame, message
from shoal_wire import Peer, encode

MIB = 1 << 20


def private_bytes(pid):
    """Anonymous memory of a process."""
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Bounds(WireTest):
    def memory(self):
        return private_bytes(self.the_head.process.pid)

    def unread(self):
        return self.beside.ask("head")["unread_bytes"]

    def lazy(self, id):
        """A client that reads WELCOME and then nothing unless it is told to."""
        peer = self.keep(Peer(self.the_head.endpoint, receive_hwm=1))
        peer.hello("client", id=id)
        return peer

    def large_replies(self):
        """Makes REPLY to ASK "workers" about half a MiB."""
        for n in range(28):
            self.worker("fat %d" % n, labels={"padding": "x" * 16000})
        self.assertGreater(len(repr(self.beside.ask("workers"))), 400000)

    #
    def test_a_client_that_asks_much_and_never_reads_is_dropped(self):
        self.large_replies()
        before = self.memory()
        lazy = self.lazy("lazy")
        for n in range(200):  # 90 MiB of replies
            lazy.send("ASK", request=n + 1, what="workers")
        wait_until(lambda: "it does not read" in self.the_head.log(), 10, "the end of its patience")
        wait_until(lambda: self.unread() < MIB, 10, "the memory of what it was sent")
        self.assertLess(self.memory() - before, 60 * MIB)

    #
    def test_many_that_never_read_share_one_bound(self):
        self.large_replies()
        lazies = [self.lazy("lazy %d" % n) for n in range(24)]
        before = self.memory()
        for lazy in lazies:  # 14 MiB each, 330 MiB together
            for n in range(31):
                lazy.send("ASK", request=n + 1, what="workers")
        wait_until(lambda: "it does not read" in self.the_head.log(), 20, "one to be dropped")
        wait_until(self.beside.is_answered, 10, "an answer to the one that reads")
        self.assertLessEqual(self.unread(), 256 * MIB)
        self.assertLess(self.memory() - before, 400 * MIB)

    #
    def test_a_subscriber_that_reads_late_is_waited_for_whatever_credit_it_gave(self):
        worker = self.worker(slots=1, window=1)
        client = self.client()
        job = self.submitted(client)
        self.run_large_job(worker, 64)  # 16 MiB
        lazy = self.lazy("late")
        lazy.send("OUTPUT", request=1, job=job, **{"from": 1, "credit": (1 << 32) - 1})
        wait_until(lambda: self.unread() > 8 * MIB, 10, "output on its way")
        self.assertTrue(self.beside.is_answered())
        self.assertLess(self.unread(), 10 * MIB)
        self.assertFalse(lazy.is_dropped(0.2))
        taken = 0
        while True:
            message = lazy.wait_for(lambda m: m.name in ("PIECE", "OUTPUT_END"), 10, "output")
            if message.name == "OUTPUT_END":
                break
            taken += len(message.payload)
        self.assertEqual(taken, 16 * MIB)

    def run_large_job(self, worker, shards):
        """Plays the worker: each shard has one batch of 256 KiB."""
        line = b"x" * (MIB // 4 - 1) + b"\n"
        worker.result(worker.call("check"), detail={"collected": True})
        worker.items(worker.call("discover"), [shard(n + 1) for n in range(shards)])
        for _ in range(shards):
            call = worker.call("map")
            worker.batch(call, 0, line, 1)
            worker.result(call, batches=1, records=1)
        worker.result(worker.call("finish"))


class OnTcp(WireTest):
    FLAGS = WireTest.FLAGS + ("--insecure-loopback",)
    LISTEN = "tcp://127.0.0.1:*"

    #
    def test_a_message_that_does_not_end_costs_its_sender_the_connection(self):
        part = frame(b"x" * MIB, MORE)
        for is_known in (True, False):
            with self.subTest(is_known=is_known):
                sender = Raw(self.the_head.endpoint, seconds=2)  # then it stands still
                self.addCleanup(sender.close)
                sender.settle()
                if is_known:
                    sender.send(message(*encode("HELLO", role="client", id="endless")))
                before = private_bytes(self.the_head.process.pid)
                parts = 0
                while parts < 2000 and sender.send(part):  # 2 GiB
                    parts += 1
                self.assertLess(parts, 2000, "2 GiB were taken")
                grown = private_bytes(self.the_head.process.pid) - before
                self.assertLess(grown, 400 * MIB)
                self.assertTrue(self.beside.is_answered())


if __name__ == "__main__":
    unittest.main()
