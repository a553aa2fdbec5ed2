# SPDX-License-Identifier: Apache-2.0
"""hosts - "hosts" on one machine: network namespaces, tied to the first one by veth pairs.

    hub 10.77.1.1 --- 10.77.1.2 a
        10.77.2.1 --- 10.77.2.2 b

Needs root and a kernel with namespaces; why_not() says what is missing, so that tests can be skipped
with it. What is made has the process id in its name and is gone after close().
"""

import os
import subprocess


def run(*words):
    return subprocess.run(words, capture_output=True, text=True)


def must(*words):
    done = run(*words)
    if done.returncode != 0:
        raise OSError("%s: %s" % (" ".join(words), done.stderr.strip()))


def why_not():
    """None if namespaces can be made here; else why they cannot."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = "shoal-probe-%d" % os.getpid()
    try:
        must("ip", "netns", "add", name)
    except OSError as why:
        return "no network namespaces here: %s" % why
    try:
        must("ip", "-n", name, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1")
        return None
    except OSError as why:
        return "no veth here: %s" % why
    finally:
        run("ip", "netns", "del", name)


class Hosts:
    def __init__(self, *names):
        """The first one is the hub; every other one has a link to it."""
        self.names, self.made = names, []
        try:
            for name in names:
                self.make(name)
            for number, name in enumerate(names[1:], 1):
                self.tie(name, number)
        except OSError:
            self.close()
            raise

    def space(self, name):
        return "shoal-%d-%s" % (os.getpid(), name)

    def make(self, name):
        must("ip", "netns", "add", self.space(name))
        self.made.append(name)
        must("ip", "-n", self.space(name), "link", "set", "lo", "up")

    def tie(self, name, number):
        hub, space = self.space(self.names[0]), self.space(name)
        must("ip", "-n", hub, "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns",
             space)
        must("ip", "-n", hub, "addr", "add", "10.77.%d.1/24" % number, "dev", name)
        must("ip", "-n", space, "addr", "add", "10.77.%d.2/24" % number, "dev", "uplink")
        must("ip", "-n", hub, "link", "set", name, "up")
        must("ip", "-n", space, "link", "set", "uplink", "up")

    def hub_for(self, name):
        """The hub's address as `name` reaches it."""
        return "10.77.%d.1" % self.names.index(name)

    def inside(self, name):
        """Words before a command that is to run there."""
        return ["ip", "netns", "exec", self.space(name)]

    def cut(self, name):
        must("ip", "-n", self.space(self.names[0]), "link", "set", name, "down")

    def mend(self, name):
        must("ip", "-n", self.space(self.names[0]), "link", "set", name, "up")

    def worsen(self, name, *netem):
        """Latency and loss in both directions; OSError where the kernel has no netem."""
        for space, device in ((self.space(self.names[0]), name), (self.space(name), "uplink")):
            must("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", device, "root", "netem",
                 *netem)

    def close(self):
        for name in self.made:
            run("ip", "netns", "del", self.space(name))
        self.made = []
