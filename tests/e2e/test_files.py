# SPDX-License-Identifier: Apache-2.0
"""Bad workflow files: exit 2, the file, the line, the key, the next step, and no data read."""

import json
import os
import unittest

from case import EndToEnd

GOOD = """source:
  type: sqlite
  serviceName: small
  serviceConnection:
    config:
      type: SQLite
      databaseMode: {database}
  sourceConfig:
    config:
      type: DatabaseMetadata
sink:
  type: file
  config:
    filename: {out}
workflowConfig:
  loggerLevel: INFO
"""


class BadFiles(EndToEnd):
    def setUp(self):
        super().setUp()
        self.good = GOOD.format(database=self.sqlite(3), out=self.path("out.jsonl"))

    def refused(self, text, *words, name="flow.yaml"):
        if isinstance(text, bytes):
            with open(self.path(name), "wb") as file:
                file.write(text)
        else:
            self.write(name, text)
        done = self.ingest(self.path(name))
        self.assert_exit(done, 2, name, *words)
        self.assertFalse(os.path.exists(self.path("out.jsonl")), "data was read")
        self.assertLess(len(done.err), 5000)
        return done

    def changed(self, old, new):
        self.assertIn(old, self.good)
        return self.good.replace(old, new)

    def test_the_good_file_is_good(self):
        self.write("flow.yaml", self.good)
        self.assert_exit(self.ingest(self.path("flow.yaml")), 0)

    def test_missing(self):
        done = self.ingest(self.path("none.yaml"))
        self.assert_exit(done, 2, "none.yaml", "No such file")

    def test_a_directory(self):
        self.assert_exit(self.ingest(self.folder), 2, self.folder, "directory")

    def test_unreadable(self):
        self.write("flow.yaml", self.good)
        os.chmod(self.path("flow.yaml"), 0)
        done = self.shoal("ingest", "-c", self.path("flow.yaml"), **self.as_nobody())
        self.assert_exit(done, 2, "flow.yaml", "ermission denied")

    def test_empty(self):
        self.refused("", "empty")
        self.refused("# only a comment\n")

    def test_not_utf8(self):
        self.refused(self.good.encode() + b"# caf\xe9\nname: \xff\xfe\n", "UTF-8")

    def test_a_hundred_megabytes(self):
        self.refused(b"# " + b"x" * 100000000 + b"\n")

    def test_an_alias_bomb(self):
        bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            "%s: &%s [%s]\n" % (n, n, ",".join(["*" + p] * 9)) for p, n in zip("abcdefgh", "bcdefghi"))
        self.refused(bomb + self.good)

    def test_a_hundred_thousand_levels(self):
        self.refused("source: " + "[" * 100000 + "]" * 100000 + "\n")
        self.refused("source: " + "{a: " * 100000 + "1" + "}" * 100000 + "\n")

    def test_no_yaml(self):
        self.refused("source: [1, 2\nsink: }\n", ":2")

    def test_a_duplicate_key(self):
        done = self.refused(self.changed("serviceName: small", "serviceName: small\n  serviceName: b"),
                            "serviceName")
        self.assertIn("flow.yaml:4", done.err)

    def test_an_unknown_key_suggests_the_nearest(self):
        done = self.refused(self.changed("serviceName:", "servicName:"), "servicName", "serviceName")
        self.assertIn("flow.yaml:3", done.err)

    def test_an_unknown_key_of_a_connector_suggests_the_nearest(self):
        done = self.refused(self.changed("databaseMode:", "databaseMod:"), "databaseMod",
                            "databaseMode")
        self.assertIn("flow.yaml:7", done.err)

    def test_lenient_turns_unknown_keys_into_warnings(self):
        self.write("flow.yaml", self.good + "colour: blue\n")
        self.assert_exit(self.ingest(self.path("flow.yaml")), 2, "colour")
        self.assert_exit(self.ingest(self.path("flow.yaml"), "--lenient"), 0, "colour")

    def test_lenient_warnings_are_in_the_json_with_their_places(self):
        mistaken = self.changed("databaseMode:", "databaseMod: x\n      databaseMode:")
        self.write("flow.yaml", mistaken + "colour: blue\n")
        done = self.ingest(self.path("flow.yaml"), "--lenient", "--output", "json")
        self.assert_exit(done, 0)
        texts = [warning["message"] for warning in self.summary(done)["warnings"]]
        for line, key in ((None, "colour"), (7, "databaseMod")):
            found = [text for text in texts if key in text]
            self.assertEqual(len(found), 1, texts)
            self.assertIn("flow.yaml:%s" % (line or ""), found[0])

    def test_the_type_of_a_sink_may_have_any_case(self):
        self.write("flow.yaml", self.changed("  type: file", "  type: File"))
        self.assert_exit(self.ingest(self.path("flow.yaml")), 0)
        self.assertGreater(len(self.records()), 0)

    def test_out_for_another_sink_says_what_to_do(self):
        self.write("flow.yaml", self.changed("  type: file", "  type: metadata-rest"))
        done = self.ingest(self.path("flow.yaml"), "-o", self.path("out.jsonl"))
        self.assert_exit(done, 2, "metadata-rest", "--set sink.type=file")

    def test_json_with_two_escapes_for_one_character(self):
        flow = self.workflow(self.sqlite_source(self.sqlite(1, "other.db")), name="flow.json")
        with open(flow, encoding="utf-8") as file:
            whole = json.load(file)
        whole["source"]["serviceName"] = "small \U0001f41f"
        self.write("flow.json", json.dumps(whole))  # in ASCII
        self.assert_exit(self.ingest(flow), 0)
        self.assertIn("small \U0001f41f", {record["name"] for record in self.records()})

    def test_a_wrong_type(self):
        self.refused(self.changed("type: sqlite", "type: [sqlite]"), "type")
        self.refused(self.good + "distributedExecution: fast\n")
        self.refused("just a text\n")
        self.refused("- a\n- list\n")

    def test_an_unset_variable(self):
        done = self.refused(self.changed("serviceName: small", "serviceName: ${SHOAL_NOT_SET}"),
                            "SHOAL_NOT_SET")
        self.assertIn("flow.yaml:3", done.err)

    def test_a_variable_and_its_default(self):
        self.write("flow.yaml", self.changed("serviceName: small",
                                             "serviceName: ${SHOAL_NAME:-other}"))
        self.assert_exit(self.ingest(self.path("flow.yaml")), 0)
        self.assertIn("other", {r["name"] for r in self.records()})
        self.assert_exit(self.ingest(self.path("flow.yaml"), env={"SHOAL_NAME": "set"}), 0)
        self.assertIn("set", {r["name"] for r in self.records()})

    def test_an_unknown_source_or_sink_lists_the_known(self):
        done = self.refused(self.changed("type: sqlite", "type: sqlit"), "sqlit", "sqlite",
                            "postgres")
        self.assertIn("flow.yaml:2", done.err)
        self.refused(self.changed("  type: file", "  type: fil"), "fil", "file")

    def test_an_unknown_processor_lists_the_known(self):
        self.refused(self.good + "processor:\n  type: shuffle\n  config: {}\n", "shuffle", "filter")

    def test_an_invalid_regex(self):
        done = self.refused(self.changed("      type: DatabaseMetadata",
                                         "      type: DatabaseMetadata\n"
                                         "      tableFilterPattern: {includes: ['a(b']}"), "a(b")
        self.assertIn("flow.yaml:11", done.err)

    def test_a_regex_that_backtracks_for_ever_is_stopped(self):
        import sqlite3
        base = sqlite3.connect(self.path("small.db"))
        base.execute('CREATE TABLE "%sb" (x INTEGER)' % ("a" * 60))
        base.commit()
        base.close()
        self.write("flow.yaml", self.changed("      type: DatabaseMetadata",
                                             "      type: DatabaseMetadata\n      tableFilterPattern:"
                                             " {includes: ['(a+)+$', 'never']}"))
        done = self.ingest(self.path("flow.yaml"), seconds=20)
        self.assertIn(done.status, (1, 2, 3), done)
        self.assertIn("(a+)+$", done.err + done.out)

    def test_validate_refuses_them_too(self):
        self.write("flow.yaml", self.changed("serviceName:", "servicName:"))
        self.assert_exit(self.shoal("validate", "-c", self.path("flow.yaml")), 2, "servicName")


if __name__ == "__main__":
    unittest.main()
