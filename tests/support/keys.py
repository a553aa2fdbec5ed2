# SPDX-License-Identifier: Apache-2.0
"""keys - key folders and join strings, written from docs/protocol.md section 10 alone.

With it the tests make heads that ask for keys without `shoal`, and peers that come with the right
key, a wrong one or none.
"""

import base64
import hashlib
import os

import msgpack
import zmq
from zmq.utils import z85


def text_of(key):
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def bytes_of(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Pair:
    """A CURVE key pair, as bytes."""

    def __init__(self, secret=None):
        if secret is None:
            self.public, self.secret = map(z85.decode, zmq.curve_keypair())
        else:
            self.secret = secret
            self.public = z85.decode(zmq.curve_public(z85.encode(secret)))


class Join:
    """What a join string holds."""

    def __init__(self, endpoint, head, own, role="worker", name="w1"):
        self.endpoint, self.head, self.own, self.role, self.name = endpoint, head, own, role, name

    def token(self, version=1, **more):
        whole = {"e": self.endpoint, "h": self.head, "s": self.own.secret, "r": self.role,
                 "n": self.name}
        whole.update(more)
        payload = msgpack.packb(whole)
        check = hashlib.blake2b(payload, digest_size=16).digest()[:8]
        return "shoal%d:%s" % (version, text_of(check + payload))

    def save(self, path, mode=0o600, **more):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write("# for people\n%s\n" % self.token(**more))
        os.chmod(path, mode)
        return path

    @staticmethod
    def parse(text):
        """Of a token, or of a file that holds one."""
        lines = [line.strip() for line in text.split("\n")]
        token, = [line for line in lines if line and not line.startswith("#")]
        assert token.startswith("shoal1:"), token[:7]
        whole = bytes_of(token[len("shoal1:"):])
        check, payload = whole[:8], whole[8:]
        assert hashlib.blake2b(payload, digest_size=16).digest()[:8] == check
        found = msgpack.unpackb(payload)
        return Join(found["e"], found["h"], Pair(found["s"]), found["r"], found["n"])

    @staticmethod
    def read(path):
        with open(path) as file:
            return Join.parse(file.read())

    def curve(self):
        """For shoal_wire.Peer."""
        return self.head, self.own.public, self.own.secret


class KeyFolder:
    """A head's key folder, with holders that come and go."""

    def __init__(self, path):
        self.path, self.holders = path, {}
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.own = Pair()
        self.write("head.key", "shoal head key 1\n%s\n" % text_of(self.own.secret))
        self.list()

    def write(self, name, text, mode=0o600):
        """In one step, as `shoal key` does."""
        draft = os.path.join(self.path, name + ".draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
        os.chmod(draft, mode)
        os.rename(draft, os.path.join(self.path, name))

    def list(self):
        lines = ["%s %s %s 2026-01-31" % (role, name, text_of(public))
                 for name, (role, public) in self.holders.items()]
        self.write("allowed", "# who may join\n" + "".join(line + "\n" for line in lines))

    def add(self, role, name, endpoint="tcp://127.0.0.1:1"):
        """Lists a new key; returns the holder's Join."""
        own = Pair()
        self.holders[name] = (role, own.public)
        self.list()
        return Join(endpoint, self.own.public, own, role, name)

    def revoke(self, name):
        del self.holders[name]
        self.list()
