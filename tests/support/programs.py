# SPDX-License-Identifier: Apache-2.0
"""programs - Shoal's programs as processes, for the tests that need real ones.

The build folder is SHOAL_BUILD (ctest sets it). Each test has a folder of its own under /tmp,
short enough for socket paths, and every process that it starts is gone when it ends.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.abspath(os.environ.get("SHOAL_BUILD", os.path.join(ROOT, "build", "release")))
SLOWER = float(os.environ.get("SHOAL_TEST_SLOWER", "1"))  # sanitizers need more time


def program(name):
    return os.path.join(BUILD, "bin", name)


def wait_until(condition, seconds=10.0, what="the condition"):
    """Polls `condition` until it is true and returns its value; fails at the deadline."""
    end = time.monotonic() + seconds * SLOWER
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s did not come true in %.0f s" % (what, seconds * SLOWER))
        time.sleep(pause)  # between two looks at the condition
        pause = min(pause * 2, 0.02)


def processes_of(folder):
    """{pid: command line} of the processes that name `folder` in an argument or stand in it."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open("/proc/%s/cmdline" % entry, "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
            inside = folder in line or os.readlink("/proc/%s/cwd" % entry).startswith(folder)
            with open("/proc/%s/stat" % entry) as file:
                zombie = file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue  # it ended while we looked
        if inside and not zombie:
            found[int(entry)] = line
    return found


class Head:
    """A shoal-head on ipc in `folder`; it stops when its lifeline closes or stop() is called.
    `within`: words of a command that execs the rest of its arguments."""

    def __init__(self, folder, *flags, listen=None, within=()):
        self.folder = os.path.join(folder, "head")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        listen = listen or "ipc://%s/head.sock" % self.folder
        ready_in, ready_out = os.pipe()
        life_in, self.lifeline = os.pipe()
        self.log_path = os.path.join(folder, "head.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*within, program("shoal-head"), "--listen", listen,
                 "--state", os.path.join(self.folder, "state"),
                 "--ready-fd", str(ready_out), "--lifeline-fd", str(life_in), *flags],
                pass_fds=(ready_out, life_in), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(ready_out)
        os.close(life_in)
        with os.fdopen(ready_in) as ready:
            self.endpoint = ready.readline().strip()
        if not self.endpoint:
            self.process.wait(10)
            os.close(self.lifeline)
            raise AssertionError("shoal-head did not start: " + self.log())

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def is_alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Closes the lifeline; returns the exit status."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        try:
            return self.process.wait(10 * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("shoal-head did not stop: " + self.log()[-4000:])


class WorkerProgram:
    """A real shoal-worker (supervisor and worker)."""

    def __init__(self, folder, endpoint, *flags):
        life_in, self.lifeline = os.pipe()
        self.log_path = os.path.join(folder, "worker.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [program("shoal-worker"), *(["--connect", endpoint] if endpoint else []),
                 "--lifeline-fd", str(life_in), *flags],
                pass_fds=(life_in,), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(life_in)

    def stop(self):
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        try:
            return self.process.wait(10 * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("shoal-worker did not stop")


class Finished:
    """What a command left: exit status, standard output and standard error."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return "exit %s\n-- stdout\n%s\n-- stderr\n%s" % (self.status, self.out, self.err)


class ShoalTest(unittest.TestCase):
    """A test with a folder of its own, in which and from which nothing survives it."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="shoal-t-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.end_processes)

    def end_processes(self):
        """Nothing may be left; whatever is gets killed so that the next test is not disturbed."""
        try:
            wait_until(lambda: not processes_of(self.folder), 5, "the end of all processes")
        except AssertionError:
            left = processes_of(self.folder)
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            raise AssertionError("processes left behind: %r" % (left,))

    def head(self, *flags, **options):
        head = Head(self.folder, *flags, **options)
        self.addCleanup(head.stop)
        return head

    def worker(self, endpoint, *flags):
        worker = WorkerProgram(self.folder, endpoint, *flags)
        self.addCleanup(worker.stop)
        return worker

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def environment(self, **more):
        """Scrubbed, with this test's folder wherever a program looks for one."""
        base = {"PATH": os.environ["PATH"], "HOME": self.folder, "XDG_RUNTIME_DIR": self.folder,
                "TMPDIR": self.folder, "LC_ALL": "C.UTF-8"}
        base.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        base.update(more)
        return base

    def start(self, *arguments, env=None, **options):
        """`shoal ...` in a session of its own, standing in this test's folder."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([program("shoal"), *arguments], cwd=self.folder,
                                env=self.environment(**(env or {})), start_new_session=True,
                                **options)

    def shoal(self, *arguments, seconds=30.0, **options):
        """Runs `shoal ...` to its end."""
        process = self.start(*arguments, **options)
        try:
            out, err = process.communicate(timeout=seconds * SLOWER)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            self.fail("shoal %s did not end: %s" % (" ".join(arguments), err.decode()))
        return Finished(process.returncode, (out or b"").decode(errors="replace"),
                        (err or b"").decode(errors="replace"))
