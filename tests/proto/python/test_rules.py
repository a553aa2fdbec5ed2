# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md, its dictionary and the tests belong together: this reads all three."""

import os
import re
import unittest

from shoal_wire import ROOT, SPECS

RULE = r"R-\d+\.\d+"


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


DOCUMENT = read("docs", "protocol.md")


def rules_in_tests():
    found = {}
    for folder, _, names in os.walk(os.path.join(ROOT, "tests")):
        for name in names:
            if name.endswith((".c", ".py", ".h")) and name != "test_rules.py":
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    for rule in re.findall(RULE, file.read()):
                        found.setdefault(rule, os.path.relpath(path, ROOT))
    return found


class Rules(unittest.TestCase):
    def test_every_rule_is_named_in_a_test(self):
        rules = set(re.findall(r"\*\*(%s)\*\*" % RULE, DOCUMENT))
        self.assertGreater(len(rules), 20)
        self.assertEqual(sorted(rules - set(rules_in_tests())), [])

    def test_no_test_names_a_rule_that_is_not_there(self):
        rules = set(re.findall(r"\*\*(%s)\*\*" % RULE, DOCUMENT))
        strays = {rule: where for rule, where in rules_in_tests().items() if rule not in rules}
        self.assertEqual(strays, {})

    def test_no_rule_is_numbered_twice(self):
        rules = re.findall(r"\*\*(%s)\*\*" % RULE, DOCUMENT)
        self.assertEqual(sorted(rules), sorted(set(rules)))


class Dictionary(unittest.TestCase):
    """The table of section 13 is messages.def, row by row."""

    def test_every_message_and_field_is_in_the_document(self):
        rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| ([a-z, ]+) \| ([^|]*) \| (yes|) ?\|$",
                          DOCUMENT, re.M)
        written = {name: (int(number), frozenset(who.upper().split(", ")),
                          re.findall(r"`(\w+)`(\*?)", fields), payload == "yes")
                   for number, name, who, fields, payload in rows}
        expected = {spec.name: (spec.number, spec.senders,
                                [(f.name, "*" if f.must else "") for f in spec.fields.values()],
                                spec.has_payload) for spec in SPECS}
        self.assertEqual(list(written), list(expected))
        for name, row in expected.items():
            self.assertEqual(written[name], row, name)

    def test_numbers_and_names_are_used_once(self):
        self.assertEqual(len({spec.number for spec in SPECS}), len(SPECS))
        self.assertEqual(len({spec.name for spec in SPECS}), len(SPECS))

    def test_limits_of_the_document_are_those_of_the_code(self):
        header = read("proto", "wire", "message.h")
        for name, number in re.findall(r"#define SHOAL_(FRAME_BYTES|BATCH_BYTES|RECORD_BYTES|"
                                       r"VALUE_DEPTH|BODY_FIELDS)_MAX +(\d+)", header):
            words = {"FRAME_BYTES": "%d MiB", "RECORD_BYTES": "%d MiB", "BATCH_BYTES": "%d KiB",
                     "VALUE_DEPTH": "%d deep", "BODY_FIELDS": "at most %d keys"}[name]
            unit = 1 << 20 if "MiB" in words else 1 << 10 if "KiB" in words else 1
            words %= int(number) // unit
            self.assertTrue(words in " ".join(DOCUMENT.split()), "the document lacks " + words)


if __name__ == "__main__":
    unittest.main()
