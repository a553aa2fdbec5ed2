# SPDX-License-Identifier: Apache-2.0
"""deploy/install-deps with stand-ins for dpkg-query, apt-get and sudo: nothing is installed."""

import os
import shutil
import subprocess
import tempfile
import unittest

SCRIPT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy",
                                      "install-deps"))


class InstallDeps(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="shoal-t-")
        self.addCleanup(shutil.rmtree, self.folder)
        for tool in ("bash", "sed", "id", "env", "rm", "mkdir", "tee", "sleep", "true"):
            os.symlink(shutil.which(tool), os.path.join(self.folder, tool))
        self.calls = os.path.join(self.folder, "calls")

    def tool(self, name, body):
        path = os.path.join(self.folder, name)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "w") as file:
            file.write("#!/bin/bash\necho \"%s $*\" >>%s\n%s\n" % (name, self.calls, body))
        os.chmod(path, 0o755)

    def debian(self, missing=(), apt="exit 0", user=0):
        """A Debian that lacks those packages."""
        lacks = " | ".join('*" %s"' % name for name in missing) or "none-at-all"
        self.tool("dpkg-query", "case \" $*\" in %s) exit 1 ;; esac; echo -n installed" % lacks)
        self.tool("apt-get", apt)
        self.tool("id", "echo %d" % user)
        for name in ("tee", "mkdir", "rm"):  # they would touch /etc
            self.tool(name, "read -r _; exit 0")  # tee's writer would get SIGPIPE now and then

    def run_script(self, *groups):
        done = subprocess.run([SCRIPT, *groups], capture_output=True, text=True, cwd="/",
                              stdin=subprocess.DEVNULL,
                              env={"PATH": self.folder, "SHOAL_APT_PAUSE": "0"})
        calls = ""
        if os.path.exists(self.calls):
            with open(self.calls) as file:
                calls = file.read()
        return done, calls

    def test_nothing_is_called_when_all_is_there(self):
        self.debian()
        done, calls = self.run_script("build", "test", "lint")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertNotIn("apt-get", calls)

    def test_only_what_is_missing_is_installed(self):
        self.debian(missing=["cmake", "libzmq3-dev"])
        done, calls = self.run_script()
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("update", calls)
        self.assertRegex(calls, r"install --no-install-recommends cmake libzmq3-dev\n")

    def test_postgresql_comes_without_a_running_server(self):
        self.debian(missing=["postgresql-15"])
        done, calls = self.run_script("test")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("tee /etc/postgresql-common/createcluster.d/", calls)
        self.assertIn("rm -f /etc/postgresql-common/createcluster.d/", calls)

    def test_a_locked_apt_is_tried_again(self):
        mark = os.path.join(self.folder, "mark")
        self.debian(missing=["cmake"], apt="[ -e %s ] && exit 0; echo x >%s; exit 100" % (mark, mark))
        done, calls = self.run_script()
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(calls.count("apt-get"), 3)

    def test_an_apt_that_fails_for_good_is_told(self):
        self.debian(missing=["cmake"], apt="echo no network >&2; exit 100")
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("no network", done.stderr)
        self.assertIn("cmake", done.stderr)

    def test_a_user_goes_by_sudo(self):
        self.debian(missing=["cmake"], user=1000)
        self.tool("sudo", '[ "$1" != -n ] || shift; exec "$@"')
        done, calls = self.run_script()
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("sudo -n env", calls)

    def test_a_user_without_sudo_is_told_what_to_do(self):
        self.debian(missing=["cmake"], user=1000)
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("apt-get install cmake", done.stderr)

    def test_a_refused_sudo_is_told(self):
        self.debian(missing=["cmake"], user=1000)
        self.tool("sudo", "exit 1")
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("apt-get install cmake", done.stderr)

    def test_a_machine_without_apt_is_told_what_it_needs(self):
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("libzmq3-dev", done.stderr)

    def test_an_unknown_group_is_refused(self):
        self.debian()
        done, _ = self.run_script("everything")
        self.assertEqual(done.returncode, 1)
        self.assertIn("everything", done.stderr)


if __name__ == "__main__":
    unittest.main()
