# SPDX-License-Identifier: Apache-2.0
"""postgres - a private PostgreSQL server for a test: own folder, own port, gone at the end.

PostgreSQL refuses to run as root, so as root everything here runs as the user postgres. Clients
in the test use psql over the server's Unix socket as its superuser, without a password; over TCP a
password is asked (PASSWORD).
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

from programs import wait_until

PASSWORD = "s3cret-Passw0rd"
SUPERUSER = "postgres"


def tools():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not found:
        raise AssertionError("PostgreSQL is not installed (deploy/install-deps test)")
    return os.path.dirname(found[-1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A server; the constructor returns when it answers."""

    def __init__(self, **settings):
        self.bin = tools()
        self.folder = tempfile.mkdtemp(prefix="shoal-pg-", dir="/tmp")
        self.as_user = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chmod(self.folder, 0o755)
        self.data = os.path.join(self.folder, "data")
        self.process = None
        password_file = os.path.join(self.folder, "password")
        with open(password_file, "w") as file:
            file.write(PASSWORD + "\n")
        try:
            self._run("initdb", "-D", self.data, "-U", SUPERUSER, "--pwfile", password_file,
                      "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync",
                      "--no-instructions", "--locale=C.UTF-8", "--encoding=UTF8")
            self.start(**settings)
        except BaseException:
            self.destroy()
            raise

    def _run(self, tool, *arguments, **options):
        done = subprocess.run([os.path.join(self.bin, tool), *arguments], cwd=self.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **self.as_user, **options)
        if done.returncode:
            raise AssertionError("%s: %s" % (tool, done.stdout.decode(errors="replace")))
        return done.stdout.decode(errors="replace")

    def start(self, **settings):
        self.port = free_port()
        values = {"listen_addresses": "127.0.0.1", "port": self.port, "fsync": "off",
                  "unix_socket_directories": self.folder, "autovacuum": "off",
                  "max_connections": 40, "shared_buffers": "16MB", "logging_collector": "off"}
        values.update(settings)
        flags = [word for name, value in values.items() for word in ("-c", "%s=%s" % (name, value))]
        with open(os.path.join(self.folder, "server.log"), "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.bin, "postgres"), "-D", self.data, *flags], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self.as_user)
        wait_until(self.answers, 20, "the start of PostgreSQL")

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "server.log"), errors="replace") as log:
                raise AssertionError("PostgreSQL did not start: " + log.read()[-2000:])
        return subprocess.run([os.path.join(self.bin, "pg_isready"), "-q", "-h", self.folder,
                               "-p", str(self.port)], stdin=subprocess.DEVNULL).returncode == 0

    def _psql(self, database):
        return [os.path.join(self.bin, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                "-h", self.folder, "-p", str(self.port), "-U", SUPERUSER, "-d", database]

    def sql(self, text, database="postgres"):
        """Runs statements; returns the rows as text."""
        done = subprocess.run(self._psql(database), input=text.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if done.returncode:
            raise AssertionError("psql: %s" % done.stderr.decode(errors="replace"))
        return done.stdout.decode().strip()

    def session(self, text, database="postgres"):
        """A psql that has run `text` and keeps its transaction open until it is closed."""
        process = subprocess.Popen(self._psql(database), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        process.stdin.write(text.encode() + b"\n\\echo ready\n")
        process.stdin.flush()
        seen = process.stdout.readline()
        if seen.strip() != b"ready":
            raise AssertionError("psql: %r" % (seen + process.stdout.read(),))
        return process

    def config(self, database="postgres", user=SUPERUSER, password=PASSWORD, **more):
        """serviceConnection.config of a workflow."""
        whole = {"hostPort": "127.0.0.1:%d" % self.port, "username": user, "database": database,
                 "authType": {"password": password}}
        whole.update(more)
        return whole

    def url(self, database="postgres", user=SUPERUSER, password=PASSWORD):
        return "postgres://%s:%s@127.0.0.1:%d/%s" % (user, password, self.port, database)

    def kill(self):
        """The server and all its backends, at once."""
        os.killpg(self.process.pid, signal.SIGQUIT)
        self.process.wait()

    def destroy(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
