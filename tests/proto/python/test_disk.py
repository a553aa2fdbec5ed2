# SPDX-License-Identifier: Apache-2.0
"""A head whose disk is full: its state is on a file system of 4 MiB that a test fills and frees."""

import os
import subprocess
import unittest

import msgpack

from case import WireTest, shard, spec
from programs import wait_until
from shoal_wire import Late

MOUNT = 'mount -t tmpfs -o size=4m,mode=700 none "$0" && exec "$@"'


def can_mount():
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@unittest.skipUnless(can_mount(), "no namespaces here")
class DiskTest(WireTest):
    FLAGS = ("--liveness-ms", "600000", "--lease-ms", "600000")

    def head(self, *flags, **options):
        state = self.path("head/state")
        for folder in (os.path.dirname(state), state):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        return super().head(*flags, within=("unshare", "-rm", "sh", "-c", MOUNT, state), **options)

    def state(self, name):
        """A file there, as the head sees it."""
        return "/proc/%d/root%s" % (self.the_head.process.pid, self.path("head/state/" + name))

    def fill(self):
        with open(self.state("filler"), "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free(self):
        os.unlink(self.state("filler"))

    def log_says(self, word):
        wait_until(lambda: word in self.the_head.log(), 10, word)

    def test_nothing_is_accepted_that_cannot_be_kept(self):
        client = self.client()
        self.fill()
        request = client.request()
        client.send("SUBMIT", msgpack.packb(spec()), request=request, id="job")
        self.log_says("DISK-FULL")
        with self.assertRaises(Late):
            client.wait_for(lambda m: m.name == "ACCEPTED", 0.7)  # a retry comes in between
        self.assertTrue(self.beside.is_answered())
        self.free()
        client.expect("ACCEPTED", request=request)
        self.log_says("DISK-OK")

    def test_a_job_waits_and_goes_on(self):
        worker, client = self.worker(slots=4), self.client()
        job = self.submitted(client)
        worker.start_job([shard(n) for n in range(1, 21)])
        self.fill()
        for _ in range(2):
            call = worker.call("map")
            worker.batch(call, 0, b"%d\n" % call.args["n"] + b"x" * 60000 + b"\n", 2)
            worker.result(call, batches=1, records=2)
        self.log_says("DISK-FULL")
        wait_until(lambda: "disk" in client.ask("job", id=str(job))["detail"]["wait"], 10, "it waits")
        worker.heartbeat()
        worker.expect("HEARTBEAT")
        self.assertTrue(worker.kept)  # not acknowledged
        self.free()
        final = worker.serve(client, job, (), lambda args: [b"%d" % args["n"]])
        self.assertEqual(final.state, "SUCCEEDED")
        lines = b"".join(self.output(client, job).values()).split()
        self.assertEqual(sorted(int(line) for line in lines if not line.startswith(b"x")),
                         list(range(1, 21)))
        self.log_says("DISK-OK")

    def test_a_stop_is_promised_when_it_is_kept(self):
        worker, client = self.worker(slots=4), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        worker.lines(worker.call("map"), [b"1"])
        while worker.kept:
            worker.heartbeat()
            worker.expect("HEARTBEAT")
        self.fill()
        request = client.request()
        client.send("STOP", request=request, job=job, reason="enough")
        self.log_says("DISK-FULL")
        self.assertEqual(client.ask("job", id=str(job))["state"], "RUNNING")  # not promised yet
        with self.assertRaises(Late):
            client.wait_for(lambda m: m.name == "ACCEPTED", 0.2)
        self.free()
        client.expect("ACCEPTED", request=request)
        self.assertEqual(client.final(job).state, "STOPPED")

    def test_finished_jobs_make_room_by_themselves(self):
        worker, client = self.worker(slots=4), self.client()
        job = self.submitted(client, "old")
        worker.start_job([shard(n) for n in range(1, 11)])
        for _ in range(10):
            call = worker.call("map")
            worker.batch(call, 0, b"x" * 99999 + b"\n", 1)
            worker.result(call, batches=1, records=1)
        self.assertEqual(worker.serve(client, job).state, "SUCCEEDED")
        self.assertEqual(len(self.output(client, job)), 10)  # fetched to the end
        self.fill()
        request = client.request()
        client.send("SUBMIT", msgpack.packb(spec()), request=request, id="new")
        accepted = client.expect("ACCEPTED", 15, request=request)
        self.assertIn("DISK-FULL", self.the_head.log())
        self.assertEqual([one["job"] for one in client.ask("jobs")], [accepted.job])


if __name__ == "__main__":
    unittest.main()
