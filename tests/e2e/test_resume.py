# SPDX-License-Identifier: Apache-2.0
"""Local runs that are killed and go on: the command, its head, its workers, all of them at once.

The source is chaos (tests/support/modules): its records are known and its shards are slow, so that a
kill comes at the moment that a test wants. Each output is compared, sorted, with an undisturbed one.
"""

import glob
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import unittest

from case import BUILD, EndToEnd, processes_of, wait_until

SHARDS, RECORDS = 24, 200  # of each shard
SECRET = "s3cret-in-the-arguments"


def install(folder):
    """The programs and modules, chaos among them, as `make install` would put them."""
    os.makedirs(os.path.join(folder, "bin"))
    os.makedirs(os.path.join(folder, "lib", "shoal"))
    for name in ("shoal", "shoal-head", "shoal-worker"):  # they look for each other beside them
        shutil.copy2(os.path.join(BUILD, "bin", name), os.path.join(folder, "bin", name))
    modules = glob.glob(os.path.join(BUILD, "lib", "shoal", "*.so"))
    for path in [*modules, os.path.join(BUILD, "tests", "chaos", "shoal-chaos.so")]:
        os.symlink(path, os.path.join(folder, "lib", "shoal", os.path.basename(path)))


class ResumeTest(EndToEnd):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.programs = tempfile.mkdtemp(prefix="shoal-programs-")
        cls.addClassCleanup(shutil.rmtree, cls.programs)
        install(cls.programs)

    def start(self, *arguments, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([os.path.join(self.programs, "bin", "shoal"), *arguments],
                                cwd=self.folder, env=self.environment(**(env or {})),
                                start_new_session=True, **options)

    def flow(self, name="flow.yaml", out="out.jsonl", pause_ms=35, **more):
        """About SHARDS / 2 * 4 * pause_ms long, with two slots."""
        os.makedirs(self.path("marks"), exist_ok=True)
        plan = [{"first": i * RECORDS, "records": RECORDS, "bytes": 100,
                 "pause_every": RECORDS // 4, "pause_ms": pause_ms} for i in range(SHARDS)]
        source = {"type": "chaos", "serviceName": "chaos",
                  "serviceConnection": {"config": {"type": SECRET, "marks": self.path("marks"),
                                                   "plan": plan}}}
        return self.workflow(source, name=name, out=out, workflowConfig={
            "distributedExecution": {"parallelism": 2,
                                     "retryPolicy": {"backoffSeconds": 0.05}}}, **more)

    def sorted_lines(self, name="out.jsonl"):
        with open(self.path(name), "rb") as file:
            return sorted(file)

    def undisturbed(self):
        """What the output must be."""
        flow = self.flow("calm.yaml", "calm.jsonl", pause_ms=0)
        self.assert_exit(self.ingest(flow), 0)
        lines = self.sorted_lines("calm.jsonl")
        self.assertEqual(sum(b'"name":"r' in line for line in lines), SHARDS * RECORDS)
        return lines

    def assert_whole(self, expected, name="out.jsonl"):
        self.assertTrue(self.sorted_lines(name) == expected, "%s is not what it must be: %d lines, "
                        "not %d" % (name, len(self.sorted_lines(name)), len(expected)))
        self.assert_no_partial(name)
        self.assertEqual(self.kept(), [], "a run that has finished is kept")

    # -- runs

    def kept(self):
        found = glob.glob(self.path(".local/state/shoal/runs/*"))
        return sorted(path for path in found if not os.path.basename(path).startswith("new-"))

    def part(self):
        try:
            return os.path.getsize(self.path("out.jsonl.part"))
        except OSError:
            return 0

    def running(self, *flags, until=1, **options):
        """A run whose part has that many bytes."""
        run = self.start("ingest", "-c", self.path("flow.yaml"), *flags, **options)
        wait_until(lambda: self.part() >= until or run.poll() is not None, 20, "a part of the output")
        self.assertIsNone(run.poll(), "the run has ended")
        return run

    def of(self, run, name):
        """The pids of that program that the command has started."""
        found = []
        for pid, line in processes_of(self.folder).items():
            try:
                with open("/proc/%d/stat" % pid) as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == run.pid and line.split(" ")[0].endswith(name):
                found.append(pid)
        return found

    def kill(self, run):
        run.kill()
        run.communicate()

    def kill_all(self, run):
        """As if the machine had stopped."""
        pids = [run.pid, *processes_of(self.folder)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGSTOP)  # so that none of them sees another one go
            except ProcessLookupError:
                pass
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        run.communicate()

    def resume(self, *flags):
        return self.ingest(self.path("flow.yaml"), "--resume", *flags)


class Kills(ResumeTest):
    def setUp(self):
        super().setUp()
        self.expected = self.undisturbed()
        self.size = sum(map(len, self.expected))
        self.flow()

    def test_the_command_killed_early(self):
        run = self.start("ingest", "-c", self.path("flow.yaml"))
        wait_until(self.kept, 10, "the run's folder")
        self.kill(run)
        self.assert_exit(self.resume(), 0, "resumed")
        self.assert_whole(self.expected)

    def test_the_command_killed_while_it_writes(self):
        for share in (0.05, 0.5, 0.9):
            with self.subTest(share=share):
                self.kill(self.running(until=int(self.size * share)))
                with open(self.path("out.jsonl.part"), "rb") as file:
                    part = file.read()
                done = self.resume("--output", "json")
                self.assert_exit(done, 0)
                self.assertEqual(self.summary(done)["shards"]["total"], SHARDS + 1)
                self.assert_whole(self.expected)
                self.assert_goes_on(part)

    def assert_goes_on(self, part):
        """What was safe at the kill has not been made again: it is the output's beginning."""
        with open(self.path("out.jsonl"), "rb") as file:
            whole = file.read()
        common = os.path.commonprefix([part, whole])
        self.assertGreaterEqual(len(common), len(part) // 2)  # the last commits may have been torn

    def test_everything_killed_at_once(self):
        for share in (0.01, 0.6):
            with self.subTest(share=share):
                self.kill_all(self.running(until=int(self.size * share)))
                self.assert_exit(self.resume(), 0)
                self.assert_whole(self.expected)

    def test_the_state_of_its_head_is_lost(self):
        run = self.running(until=self.size * 2 // 3)
        wait_until(lambda: os.path.exists(self.path("out.jsonl.part.state")), 20, "a safe part")
        self.kill_all(run)
        shutil.rmtree(os.path.join(self.kept()[0], "head"))
        os.mkdir(os.path.join(self.kept()[0], "head"), mode=0o700)
        self.assert_exit(self.resume(), 0)
        self.assert_whole(self.expected)

    def test_killed_again_and_again(self):
        flags = ()
        for step in range(1, 6):
            self.kill(self.running(*flags, until=int(self.size * step / 7)))
            flags = ("--resume",)
        self.assert_exit(self.resume(), 0)
        self.assert_whole(self.expected)

    def test_a_head_that_dies_alone_is_started_again_and_the_run_goes_on(self):
        for share in (0.01, 0.5, 0.8):
            with self.subTest(share=share):
                run = self.running("--output", "json", until=int(self.size * share))
                os.kill(self.of(run, "shoal-head")[0], signal.SIGKILL)
                out, err = run.communicate(timeout=60)
                self.assertEqual(run.returncode, 0, err)
                self.assertIn(b"started again", err)
                self.assertNotIn(b"from the start", err)
                self.assert_whole(self.expected)

    def test_a_head_that_dies_three_times(self):
        run = self.running(until=1)
        for step in range(1, 4):
            victim = wait_until(lambda: self.of(run, "shoal-head"), 10, "a head")[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: self.part() > self.size * step / 8 or run.poll() is not None, 20,
                       "more output")
        err = run.communicate(timeout=60)[1]
        self.assertEqual(run.returncode, 0, err)
        self.assert_whole(self.expected)

    def test_head_and_command_killed_one_after_the_other(self):
        run = self.running(until=self.size // 3)
        os.kill(self.of(run, "shoal-head")[0], signal.SIGKILL)
        self.kill(run)
        self.assert_exit(self.resume(), 0)
        self.assert_whole(self.expected)

    def test_a_worker_that_dies_alone(self):
        run = self.running(until=self.size // 3)
        os.kill(self.of(run, "shoal-worker")[0], signal.SIGKILL)
        err = run.communicate(timeout=60)[1]
        self.assertEqual(run.returncode, 0, err)
        self.assert_whole(self.expected)

    def test_ctrl_c_twice_can_be_gone_on_with(self):
        run = self.running(until=self.size // 3)
        os.kill(self.of(run, "shoal-head")[0], signal.SIGSTOP)  # else it ends politely
        run.send_signal(signal.SIGINT)
        self.assertIn(b"Ctrl-C again", run.stderr.readline())
        run.send_signal(signal.SIGINT)
        err = run.communicate(timeout=30)[1]
        self.assertEqual(run.returncode, 130)
        self.assertIn(b"to go on with this run: shoal ingest -c", err)
        self.assert_exit(self.resume(), 0)
        self.assert_whole(self.expected)


class Manners(ResumeTest):
    def interrupted(self, *flags):
        self.flow()
        self.kill(self.running(*flags))

    def test_nothing_to_go_on_with(self):
        self.flow(pause_ms=0)
        self.assert_exit(self.resume(), 2, "nothing to go on with", "flow.yaml")
        self.assert_exit(self.ingest(self.path("flow.yaml")), 0)
        self.assert_exit(self.resume(), 2, "nothing to go on with")

    def test_a_changed_file_is_refused_with_the_way_out(self):
        self.interrupted()
        with open(self.path("flow.yaml"), "a") as file:
            file.write("\n")
        self.assert_exit(self.resume(), 2, "flow.yaml has changed", "leave out --resume")
        self.flow()  # as it was
        self.assert_exit(self.resume(), 0)

    def test_another_set_is_refused(self):
        self.interrupted("--set", "source.serviceName=other")
        self.assert_exit(self.resume(), 2, "of source.serviceName then, of none now")
        self.assert_exit(self.resume("--set", "source.serviceName=third"), 2, "then")
        self.assert_exit(self.resume("--set", "source.serviceName=other"), 0)

    def test_an_address_instead_of_a_file(self):
        base = sqlite3.connect(self.path("many.db"))
        base.execute("PRAGMA synchronous = OFF")
        for n in range(400):
            base.execute("CREATE TABLE t%03d (%s)" % (n, ", ".join(
                "a_rather_long_name_of_a_column_%d TEXT" % c for c in range(30))))
        base.commit()
        base.close()
        done = self.shoal("ingest", "sqlite:many.db", "--resume")
        self.assert_exit(done, 2, "nothing to go on with")
        run = self.start("ingest", "sqlite:many.db", "-o", "many.jsonl", "--set",
                         "sharding.tables_per_shard=10")
        wait_until(lambda: self.kept() or run.poll() is not None, 10, "the run's folder")
        self.kill_all(run)
        if self.kept():  # else it was quicker
            done = self.shoal("ingest", "sqlite:many.db", "--resume", "--set",
                              "sharding.tables_per_shard=10")
            self.assert_exit(done, 0, "resumed", "many.jsonl")
        self.assertEqual(len(self.tables("many.jsonl")), 400)

    def test_what_it_was_told_cannot_be_told_again(self):
        self.interrupted()
        for flags in (("-o", "x.jsonl"), ("--limit", "3"), ("--dry-run",)):
            self.assert_exit(self.resume(*flags), 2, "leave out --")
        self.assert_exit(self.resume("--head", "ipc:///x"), 2, "private head")
        with open(self.path("flow.yaml")) as file:
            done = self.shoal("ingest", "-c", "-", "--resume", stdin=file)
        self.assert_exit(done, 2, "standard input")
        self.assert_exit(self.resume(), 0)

    def test_the_output_is_the_one_of_the_beginning(self):
        self.flow()
        run = self.start("ingest", "-c", self.path("flow.yaml"), "-o", "other.jsonl")
        wait_until(lambda: os.path.exists(self.path("other.jsonl.part")), 20, "a part")
        self.kill(run)
        self.assert_exit(self.resume(), 0, "other.jsonl")
        self.assertFalse(os.path.exists(self.path("out.jsonl")))
        self.assertEqual(sum(b'"name":"r' in line for line in self.sorted_lines("other.jsonl")),
                         SHARDS * RECORDS)

    def test_a_new_run_says_that_there_is_one_and_takes_its_place(self):
        self.interrupted()
        self.assertEqual(len(self.kept()), 1)
        done = self.ingest(self.path("flow.yaml"))
        self.assert_exit(done, 0, "was interrupted", "shoal ingest -c", "--resume")
        self.assertEqual(self.kept(), [])

    def test_a_run_that_goes_on_is_not_taken_over(self):
        self.flow()
        run = self.running()
        self.assert_exit(self.resume(), 1, "going on just now", str(run.pid))
        self.assertEqual(run.wait(60), 0, run.communicate())

    def test_no_secret_is_kept_in_the_open(self):
        self.interrupted()
        wait_until(lambda: not processes_of(self.folder), 10, "the end of the children")
        looked = 0
        for folder, _, names in os.walk(self.kept()[0]):
            self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700, folder)
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertNotIn(SECRET.encode(), file.read(), name)
                looked += 1
        self.assertGreater(looked, 3)
        self.assert_exit(self.resume(), 0)

    def test_a_run_whose_records_are_shown_is_not_kept(self):
        self.flow(pause_ms=0)
        with open(self.path("shown"), "wb") as shown:
            run = self.start("ingest", "-c", self.path("flow.yaml"), "-o", "-", stdout=shown)
            self.assertEqual(self.kept(), [])
            self.assertEqual(run.wait(60), 0)
            run.communicate()

    def test_a_failed_job_leaves_nothing_to_go_on_with(self):
        self.flow()
        with open(self.path("flow.yaml")) as file:
            whole = json.load(file)
        whole["source"]["serviceConnection"]["config"]["plan"] = "none"
        self.write("flow.yaml", json.dumps(whole))
        self.assertNotEqual(self.ingest(self.path("flow.yaml")).status, 0)
        self.assertEqual(self.kept(), [])


if __name__ == "__main__":
    unittest.main()
