# SPDX-License-Identifier: Apache-2.0
"""`shoal journal check|dump` on the state of a head that was killed, and heads that find damage."""

import json
import os
import unittest

from case import WireTest, shard
from programs import wait_until

JOURNAL = ("journal.db", "journal.db-wal")


class AuditTest(WireTest):
    FLAGS = ("--liveness-ms", "600000", "--lease-ms", "600000")

    def tearDown(self):
        pass  # most heads here are dead, and were meant to be

    def state(self, *names):
        return os.path.join(self.the_head.folder, "state", *names)

    def contents(self):
        """Every file of the state folder but for the lock."""
        found = {}
        for folder, _, names in os.walk(self.state()):
            for name in names:
                if name == "head.lock":
                    continue
                try:
                    with open(os.path.join(folder, name), "rb") as file:
                        found[name] = file.read()
                except FileNotFoundError:
                    pass  # the head removed it while we looked
        return found

    def journal(self, verb):
        """Runs it, and sees that it only looked."""
        before = self.contents()
        done = self.shoal("journal", verb, self.state())
        self.assertEqual(self.contents(), before)
        self.assertFalse(os.path.exists(self.state("head.lock")) and not self.the_head.is_alive())
        return done

    def killed_in_the_middle(self):
        """Two shards of four are done, and a finished job is there too. Returns the jobs."""
        worker, client = self.worker("w", slots=4), self.client()
        first = self.submitted(client, "first")
        client.watch(first)
        worker.start_job([shard(1)])
        self.assertEqual(worker.serve(client, first, (), lambda args: [b"one"]).state, "SUCCEEDED")
        second = self.submitted(client, "second")
        worker.start_job([shard(n) for n in (1, 2, 3, 4)])
        for _ in range(2):
            call = worker.call("map")
            worker.lines(call, [b"%d" % call.args["n"]], detail={"kinds": {"table": 1}})
        self.settle(worker)
        self.the_head.kill()
        for peer in self.peers:
            peer.close()
        return first, second

    def settle(self, worker):
        while worker.kept:
            worker.heartbeat()
            worker.expect("HEARTBEAT")

    def damage(self, name, at):
        with open(self.state(name), "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))


class Looking(AuditTest):
    def test_what_a_killed_head_left_is_whole(self):
        self.killed_in_the_middle()
        done = self.journal("check")
        self.assertEqual((done.status, done.err), (0, ""), done)
        self.assertIn("ok: 2 jobs, 1 of them not finished", done.out)
        self.assertIn("3 batches of records", done.out)

    def test_a_dump_has_jobs_entries_and_segments_and_no_records(self):
        first, second = self.killed_in_the_middle()
        done = self.journal("dump")
        self.assertEqual(done.status, 0, done)
        lines = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual(lines[0]["lives"], 1)
        jobs = {line["job"]: line for line in lines if "id" in line}
        self.assertEqual(jobs[first]["state"], "SUCCEEDED")
        self.assertEqual(jobs[second]["state"], "not final")
        entries = [line["entry"][0] for line in lines if "entry" in line and line["job"] == second]
        self.assertEqual(entries.count("DONE"), 4)  # check, discover, and two
        self.assertFalse([line for line in lines if "entry" in line and line["job"] == first])
        self.assertEqual({line["job"] for line in lines if "segment" in line}, {first, second})
        self.assertNotIn("args", jobs[second]["submit"])

    def test_a_reader_that_goes_away_ends_it_quietly(self):
        self.killed_in_the_middle()
        for arguments in (("journal", "dump", self.state()), ("journal", "check", self.state()),
                          ("--help",), ("--version",)):
            with self.subTest(arguments):
                read_end, write_end = os.pipe()
                os.close(read_end)
                done = self.shoal(*arguments, stdout=write_end)
                os.close(write_end)
                self.assertEqual((done.status, done.err), (141, ""), done)

    def test_a_running_head_is_left_alone(self):
        for verb in ("check", "dump"):
            done = self.shoal("journal", verb, self.state())
            self.assertEqual(done.status, 1, done)
            self.assertIn("process %d on host" % self.the_head.process.pid, done.err)

    def test_a_folder_without_a_journal_is_told(self):
        done = self.shoal("journal", "check", self.path("nothing"))
        self.assertEqual(done.status, 1, done)
        self.assertIn("there is no journal", done.err)
        self.assertEqual(self.shoal("journal", "mend", self.state()).status, 2)
        self.assertEqual(self.shoal("journal").status, 2)


class Damage(AuditTest):
    def test_a_changed_record_is_found(self):
        first, _ = self.killed_in_the_middle()
        name = "spool-%d-1.seg" % first
        self.damage(name, 64)
        done = self.journal("check")
        self.assertEqual(done.status, 1, done)
        self.assertIn('%s" at 0: the payload\'s checksum is wrong' % name, done.err)

    def test_a_changed_header_is_found_and_the_head_does_not_start(self):
        _, second = self.killed_in_the_middle()
        name = "spool-%d-1.seg" % second
        self.damage(name, 10)
        self.assertIn('%s" at 0' % name, self.journal("check").err)
        before = self.contents()[name]
        with self.assertRaisesRegex(AssertionError, '%s" at 0' % name):
            self.head(*self.FLAGS)
        self.assertEqual(self.contents()[name], before)

    def test_a_missing_segment_is_found(self):
        _, second = self.killed_in_the_middle()
        os.unlink(self.state("spool-%d-1.seg" % second))
        done = self.journal("check")
        self.assertEqual(done.status, 1, done)
        self.assertIn("job %d" % second, done.err)

    def test_a_torn_tail_is_told_and_harmless(self):
        _, second = self.killed_in_the_middle()
        name = "spool-%d-1.seg" % second
        size = os.path.getsize(self.state(name))
        with open(self.state(name), "ab") as file:
            file.write(b"SPL1 and no more")
        done = self.journal("check")
        self.assertEqual(done.status, 0, done)
        self.assertIn("%s: a torn tail, which the next start cuts off (16 bytes)" % name, done.out)
        self.the_head = self.head(*self.FLAGS)
        self.assertIn("SPOOL-MENDED", self.the_head.log())
        self.assertEqual(os.path.getsize(self.state(name)), size)

    def test_a_damaged_journal_is_found_and_the_head_does_not_start(self):
        self.killed_in_the_middle()
        self.the_head = self.head(*self.FLAGS)
        self.assertEqual(self.the_head.stop(), 0)  # all of it is in the database now
        self.damage("journal.db", 100)  # the root page's kind
        done = self.journal("check")
        self.assertEqual(done.status, 1, done)
        self.assertIn("damaged", done.err)
        with self.assertRaisesRegex(AssertionError, "damaged"):
            self.head(*self.FLAGS)

    def test_a_second_head_is_told_of_the_first(self):
        pid = self.the_head.process.pid
        with self.assertRaisesRegex(AssertionError, "process %d on host" % pid):
            self.head("--listen", "ipc://%s/other.sock" % self.the_head.folder)


class Forgetting(AuditTest):
    """A finished job beyond --retain-bytes goes, whatever happens meanwhile."""

    FLAGS = AuditTest.FLAGS + ("--retain-bytes", "1000")

    def finished(self):
        worker, client = self.worker(), self.client()
        job = self.submitted(client)
        worker.start_job([shard(1)])
        self.assertEqual(worker.serve(client, job, (), lambda args: [b"x" * 5000]).state, "SUCCEEDED")
        self.output(client, job)

    def left(self):
        return sorted(name for name in self.contents() if name.startswith("spool-") or
                      name.endswith(".box"))

    def test_nothing_of_it_is_left(self):
        self.finished()
        wait_until(lambda: self.beside.ask("jobs") == [])
        wait_until(lambda: self.left() == [])
        self.the_head.kill()
        self.assertIn("ok: 0 jobs", self.journal("check").out)

    def test_nor_if_the_head_is_killed_on_the_way(self):
        for place in ("forget-before", "forget-after"):
            with self.subTest(place):
                self.the_head.stop()
                self.the_head = self.head(*self.FLAGS, "--crash-at", place)
                self.finished()
                self.the_head.process.wait(20)
                self.assertIn("ok: 0 jobs", self.journal("check").out)
                self.the_head = self.head(*self.FLAGS)
                self.assertEqual(self.left(), [])
                self.assertEqual(self.client("later").ask("jobs"), [])


if __name__ == "__main__":
    unittest.main()
