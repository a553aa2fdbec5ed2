# SPDX-License-Identifier: Apache-2.0
"""Who gets in over TCP (docs/protocol.md section 10): keys, roles, revocation."""

import os
import unittest

import zmq

from case import ShoalTest, spec
from keys import Join, KeyFolder, Pair
from programs import wait_until
from shoal_wire import Client, DENIED, Late, Peer, Worker, encode


class KeysTest(ShoalTest):
    def setUp(self):
        super().setUp()
        self.keys = KeyFolder(self.path("keys"))
        self.watcher = self.keys.add("client", "watcher")
        self.the_head = self.head("--keys", self.keys.path, listen="tcp://127.0.0.1:*")
        self.peers = []
        self.addCleanup(lambda: [peer.close() for peer in self.peers])
        self.beside = self.keep(Client(self.the_head.endpoint, id="beside",
                                       curve=self.watcher.curve()))

    def tearDown(self):
        self.assertTrue(self.the_head.is_alive(), self.the_head.log()[-4000:])
        self.assertTrue(self.beside.is_answered(), "the healthy peer is not answered")

    def keep(self, peer):
        self.peers.append(peer)
        return peer

    def peer(self, join=None, curve=None):
        return self.keep(Peer(self.the_head.endpoint, curve=curve or (join and join.curve())))

    def say_hello(self, peer):
        try:
            peer.socket.send_multipart(encode("HELLO", role="client", id="stranger"), zmq.DONTWAIT)
        except zmq.Again:
            pass  # libzmq takes nothing more once a handshake has failed

    def assert_stays_out(self, peer, *events):
        """Its handshake fails in one of these ways, and nothing that it says is heard."""
        before = self.beside.ask("head")
        self.say_hello(peer)
        failed = peer.handshake_fails()
        self.assertIsNotNone(failed, "it was let in")
        self.assertIn(failed[0], events)
        with self.assertRaises(Late):
            peer.take(0.05)
        after = self.beside.ask("head")
        self.assertEqual((after["peers"], after["refused"]), (before["peers"], before["refused"]))

    #
    def test_a_listed_key_gets_in(self):
        for role, make in (("client", Client), ("worker", Worker)):
            join = self.keys.add(role, "new-" + role)
            self.settle()
            self.keep(make(self.the_head.endpoint, id=role, curve=join.curve()))
        self.assertEqual(self.beside.ask("head")["workers"], 1)

    def settle(self):
        """Until the head has read the list as it is now."""
        lines = "holders=%d" % len(self.keys.holders)
        wait_until(lambda: lines in self.the_head.log().split("KEYS-READ")[-1], 10,
                   "the list to be read")

    #
    def test_a_key_that_is_not_listed_stays_out(self):
        stranger = Join("", self.keys.own.public, Pair())
        self.assert_stays_out(self.peer(stranger), zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        wait_until(lambda: "PEER-UNKNOWN" in self.the_head.log(), 5, "a line about it")

    #
    def test_without_a_key_nobody_gets_in(self):
        # Who hangs up first is a race.
        self.assert_stays_out(self.peer(), zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                              zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)

    #
    def test_the_key_of_another_head_does_not_fit(self):
        join = Join("", Pair().public, Pair())
        self.assert_stays_out(self.peer(join), zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                              zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        wait_until(lambda: "HANDSHAKE-FAILED" in self.the_head.log(), 5, "a line about it")

    # a public key alone is of no use.
    def test_a_listed_public_key_with_another_secret_stays_out(self):
        own = self.watcher.own
        self.assert_stays_out(self.peer(curve=(self.keys.own.public, own.public, Pair().secret)),
                              zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                              zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)

    #
    def test_a_key_plays_its_own_role_only(self):
        for role, other in (("worker", "client"), ("client", "worker"), ("viewer", "worker")):
            with self.subTest(role):
                join = self.keys.add(role, "k-" + role)
                self.settle()
                peer = self.peer(join)
                peer.send("HELLO", role=other, id="x" + role, slots=1, window=1,
                          classes=["pipeline"])
                error = peer.expect("ERROR", closing=True)
                self.assertEqual(error.code, DENIED)
                self.assertIn("k-" + role, error.reason)
                self.assertIn(role, error.reason)
                self.assertTrue(peer.is_dropped())

    #
    def test_a_viewer_looks_and_does_nothing(self):
        self.keys.add("viewer", "v")
        worker = self.keys.add("worker", "w")
        join = Join("", self.keys.own.public, Pair(), "viewer", "v2")
        self.keys.holders["v2"] = ("viewer", join.own.public)
        self.keys.list()
        self.settle()
        self.keep(Worker(self.the_head.endpoint, curve=worker.curve()))
        job = self.beside.submit(spec(), "job")
        viewer = self.keep(Client(self.the_head.endpoint, id="viewer", curve=join.curve()))
        self.assertEqual(viewer.ask("head")["workers"], 1)
        viewer.watch(job)
        viewer.expect("EVENT", job=job)
        viewer.send("OUTPUT", request=viewer.request(), job=job, **{"from": 1, "credit": 1000})
        for name, payload, fields in (("SUBMIT", b"\x80", {"id": "mine"}),
                                      ("STOP", None, {"job": job})):
            request = viewer.request()
            viewer.send(name, payload, request=request, **fields)
            error = viewer.expect("ERROR", request=request)
            self.assertEqual((error.code, error.closing), (DENIED, False))
            self.assertIn("viewer", error.reason)
        self.assertTrue(viewer.is_answered())
        self.assertNotIn(self.beside.ask("job", id=str(job))["state"], ("STOPPED", "FAILED"))

    #
    def test_a_workers_id_is_its_keys(self):
        mine, other = self.keys.add("worker", "mine"), self.keys.add("worker", "other")
        self.settle()
        worker = self.keep(Worker(self.the_head.endpoint, id="a", curve=mine.curve()))
        thief = self.peer(other)
        thief.send("HELLO", role="worker", id="a", slots=1, window=1, classes=["pipeline"])
        error = thief.expect("ERROR", closing=True)
        self.assertEqual(error.code, DENIED)
        self.assertTrue(thief.is_dropped())
        self.assertTrue(worker.is_answered())
        again = self.keep(Worker(self.the_head.endpoint, id="a", incarnation=2,
                                 curve=mine.curve()))
        self.assertTrue(again.is_answered())  # the same key may
        self.keys.revoke("mine")
        self.assertTrue(again.is_dropped())
        self.keep(Worker(self.the_head.endpoint, id="a", incarnation=3, curve=other.curve()))

    #
    def test_a_workers_id_is_its_keys_over_a_restart(self):
        mine, other = self.keys.add("worker", "mine"), self.keys.add("worker", "other")
        owner = self.keys.add("client", "owner")
        self.settle()
        worker = self.keep(Worker(self.the_head.endpoint, id="a", curve=mine.curve()))
        self.keep(Client(self.the_head.endpoint, id="c", curve=owner.curve())).submit(spec(), "job")
        worker.result(worker.call("check"), detail={"collected": True})
        worker.call("discover")
        wait_until(lambda: worker.is_answered() and not worker.kept, 10, "what it was to be safe")
        self.the_head.kill()
        for peer in self.peers:
            peer.close()
        self.the_head = self.head("--keys", self.keys.path, listen="tcp://127.0.0.1:*")
        self.beside = self.keep(Client(self.the_head.endpoint, id="beside",
                                       curve=self.watcher.curve()))
        self.assertEqual([w["id"] for w in self.beside.ask("workers")], ["a"])
        thief = self.peer(other)
        thief.send("HELLO", role="worker", id="a", slots=1, window=1, classes=["pipeline"])
        self.assertEqual(thief.expect("ERROR", closing=True).code, DENIED)
        again = self.keep(Worker(self.the_head.endpoint, id="a", incarnation=2,
                                 curve=mine.curve()))
        self.assertTrue(again.is_answered())

    #
    def test_a_revoked_key_ends_its_connections_and_no_other(self):
        mine = self.keys.add("worker", "mine")
        other = self.keys.add("worker", "other")
        self.settle()
        worker = self.keep(Worker(self.the_head.endpoint, id="a", curve=mine.curve()))
        healthy = self.keep(Worker(self.the_head.endpoint, id="b", curve=other.curve()))
        self.keys.revoke("mine")
        error = worker.expect("ERROR", closing=True)
        self.assertEqual(error.code, DENIED)
        self.assertIn("revoked", error.reason)
        self.assertTrue(worker.is_dropped())
        states = {w["id"]: w["state"] for w in self.beside.ask("workers")}
        self.assertEqual(states.get("b"), "alive")
        self.assertNotEqual(states.get("a"), "alive")
        self.assertTrue(healthy.is_answered())
        self.assert_stays_out(self.peer(mine), zmq.EVENT_HANDSHAKE_FAILED_AUTH)

    # a role that changes is a key that goes.
    def test_a_key_whose_role_changes_is_put_out(self):
        join = self.keys.add("client", "k")
        self.settle()
        client = self.keep(Client(self.the_head.endpoint, id="k", curve=join.curve()))
        self.keys.holders["k"] = ("viewer", join.own.public)
        self.keys.list()
        client.expect("ERROR", closing=True)
        self.assertTrue(client.is_dropped())

    def test_a_list_that_cannot_be_read_leaves_the_old_one(self):
        join = self.keys.add("client", "k")
        self.settle()
        self.keys.write("allowed", "worker only half a li")
        wait_until(lambda: "KEYS-UNREADABLE" in self.the_head.log(), 10, "a line about it")
        self.assertIn("line 1", self.the_head.log())
        self.keep(Client(self.the_head.endpoint, id="k", curve=join.curve()))
        self.keys.list()
        self.settle()

    def test_a_changed_list_that_others_may_read_leaves_the_old_one(self):
        self.keys.write("allowed", "", mode=0o644)
        wait_until(lambda: "chmod 600" in self.the_head.log(), 10, "a line about it")
        self.assertTrue(self.beside.is_answered())

    def test_an_empty_list_puts_everybody_out(self):
        self.beside.close()
        join = self.keys.add("client", "k")
        self.settle()
        client = self.keep(Client(self.the_head.endpoint, id="k", curve=join.curve()))
        os.unlink(os.path.join(self.keys.path, "allowed"))
        self.assertTrue(client.is_dropped())
        self.keys.holders = {"watcher": self.keys.holders["watcher"]}
        self.keys.list()
        self.settle()
        self.beside = self.keep(Client(self.the_head.endpoint, id="again",
                                       curve=self.watcher.curve()))


class Refusals(ShoalTest):
    """A head that does not start, and says why."""

    def refused(self, *flags, listen="tcp://127.0.0.1:*"):
        with self.assertRaises(AssertionError) as raised:
            self.head(*flags, listen=listen)
        return str(raised.exception)

    #
    def test_tcp_without_keys(self):
        for listen in ("tcp://127.0.0.1:*", "tcp://0.0.0.0:*", "tcp://[::1]:*"):
            self.assertIn("--keys DIR", self.refused(listen=listen))

    def test_keys_that_are_not_there_or_open_to_others(self):
        self.assertIn("head.key", self.refused("--keys", self.path("none")))
        keys = KeyFolder(self.path("keys"))
        for name in ("head.key", "allowed"):
            os.chmod(os.path.join(keys.path, name), 0o644)
            said = self.refused("--keys", keys.path)
            self.assertIn("chmod 600", said)
            self.assertIn(name, said)
            os.chmod(os.path.join(keys.path, name), 0o600)
        keys.write("head.key", "nonsense")
        self.assertIn("no head's key", self.refused("--keys", keys.path))

    def test_keys_on_ipc(self):
        keys = KeyFolder(self.path("keys"))
        os.makedirs(self.path("head"), mode=0o700)
        self.assertIn("--keys is for tcp", self.refused(
            "--keys", keys.path, listen="ipc://%s/head.sock" % self.path("head")))

    def test_ipv6_works_with_and_without_keys(self):
        import socket
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as why:
            self.skipTest("no IPv6 here: %s" % why)
        keys = KeyFolder(self.path("keys"))
        head = self.head("--keys", keys.path, listen="tcp://[::1]:*")
        self.assertRegex(head.endpoint, r"^tcp://\[::1\]:\d+$")
        worker = keys.add("worker", "w", head.endpoint)
        file = worker.save(self.path("w.join"))
        wait_until(lambda: "holders=1" in head.log(), 10, "the list to be read")
        self.worker(None, "--join-file", file)
        wait_until(lambda: "WORKER-JOINED" in head.log(), 10, "the worker")


if __name__ == "__main__":
    unittest.main()
