# SPDX-License-Identifier: Apache-2.0
"""The habits of the house that a machine can check: who includes whom, how files begin, which
documents must name what. Reads files only; runs nothing."""

import os
import re
import subprocess
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

# Who may include whom, besides itself; a room that is not listed here has no business in the code.
ROOMS = {
    "proto": {"proto"},
    "client": {"client", "proto"},
    "head": {"head", "proto"},
    "connectors": {"connectors", "proto"},
    "worker": {"worker", "connectors", "proto"},
}
LIBRARY_ROOMS = ("proto",)  # these never log (docs/operations.md lists what the others log)

README_LINES = 60
ROOT_README_LINES = 150


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
    else:  # a source archive: everything but the builds
        names = [os.path.relpath(os.path.join(folder, name), ROOT)
                 for folder, _, files in os.walk(ROOT) for name in files]
        names = [name for name in names if not name.startswith(("build/", ".git/"))]
    return sorted(name for name in names if name and os.path.isfile(os.path.join(ROOT, name)))


FILES = tracked()
# The yardsticks of the benchmarks are kept as they were measured; their README says so.
YARDSTICKS = "tests/bench/floor/"
SOURCES = [name for name in FILES
           if name.endswith((".c", ".h")) and not name.startswith(YARDSTICKS)]
SHIPPED = [name for name in SOURCES if name.split("/")[0] in ROOMS]


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def without_comments(text):
    """C without its comments; strings stay."""
    pattern = r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*|/\*.*?\*/'
    return re.sub(pattern, lambda m: m.group(1) or " ", text, flags=re.S)


class House(unittest.TestCase):
    def none(self, found, what):
        self.assertFalse(found, "%s:\n  %s" % (what, "\n  ".join(map(str, found))))

    def test_includes_point_one_way(self):
        strays = []
        for name in SHIPPED:
            room = name.split("/")[0]
            for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', read(name), re.M):
                other = included.split("/")[0]
                if other not in ROOMS[room]:
                    strays.append("%s includes %s" % (name, included))
                elif not os.path.isfile(os.path.join(ROOT, included)):
                    strays.append("%s includes %s, which is no path from the root" %
                                  (name, included))
        self.none(strays, "includes that break the order of the rooms")

    def test_connectors_do_not_include_each_other(self):
        strays = []
        for name in SHIPPED:
            parts = name.split("/")
            if parts[0] != "connectors" or len(parts) < 3:
                continue
            for included in re.findall(r'#\s*include\s+"connectors/([^"]+)"', read(name)):
                if "/" in included and included.split("/")[0] != parts[1]:
                    strays.append("%s includes connectors/%s" % (name, included))
        self.none(strays, "connectors that know another one")

    def test_each_source_names_its_licence_and_itself(self):
        wrong = []
        for name in SOURCES:
            lines = read(name).split("\n")
            if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
                wrong.append("%s: no SPDX line" % name)
            elif lines[1] != "//" or not lines[2].startswith("// %s - " % os.path.basename(name)):
                wrong.append("%s: line 3 is not \"// %s - ...\"" % (name, os.path.basename(name)))
        self.none(wrong, "files without their beginning")

    def test_each_script_and_build_file_names_its_licence(self):
        wrong = []
        for name in FILES:
            text = read(name) if os.path.getsize(os.path.join(ROOT, name)) < 1 << 20 else ""
            is_script = text.startswith("#!") or name.endswith((".py", ".def", ".sh", ".sql"))
            if is_script or os.path.basename(name) in ("CMakeLists.txt", "Makefile"):
                if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.split("\n")[:3]):
                    wrong.append(name)
        self.none(wrong, "files without an SPDX line in the first three")

    def test_each_header_has_a_guard_that_is_its_path(self):
        wrong = []
        for name in SOURCES:
            if name.endswith(".h"):
                guard = "SHOAL_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
                if "#ifndef %s\n#define %s\n" % (guard, guard) not in read(name):
                    wrong.append("%s: %s" % (name, guard))
        self.none(wrong, "headers without their guard")

    def test_each_folder_has_a_readme_that_names_its_files(self):
        wrong = []
        for folder in sorted(set(ROOMS) | {"tests", "deploy"}):
            if folder + "/README.md" not in FILES:
                wrong.append("%s/README.md is missing" % folder)
        for name in FILES:
            if name.endswith("/README.md") and read(name).count("\n") > README_LINES:
                wrong.append("%s has more than %d lines" % (name, README_LINES))
        for name in SHIPPED:
            guide = os.path.dirname(name) + "/README.md"
            if guide not in FILES:
                guide = name.split("/")[0] + "/README.md"  # the room's own guides through it
            noun = os.path.splitext(os.path.basename(name))[0]
            if guide in FILES and not re.search(r"(?<!\w)%s(?!\w)" % re.escape(noun), read(guide)):
                wrong.append("%s does not name %s" % (guide, name))
        self.none(wrong, "folders that nobody is guided through")

    def test_the_root_readme_is_short(self):
        self.assertLessEqual(read("README.md").count("\n"), ROOT_README_LINES)

    def test_links_of_documents_lead_somewhere(self):
        dead = []
        for name in FILES:
            if not name.endswith(".md"):
                continue
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(name)):
                if "://" in target or target.startswith("mailto:"):
                    continue
                path = os.path.normpath(os.path.join(ROOT, os.path.dirname(name), target))
                if not os.path.exists(path):
                    dead.append("%s: %s" % (name, target))
        self.none(dead, "links to nowhere")

    def test_nothing_is_left_for_later_and_no_machine_is_named(self):
        found = []
        later = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
        machine = re.compile(r"(?<![\w.])/(work|root|home|Users)/\w")
        for name in FILES:
            if name in ("LICENSE",) or os.path.getsize(os.path.join(ROOT, name)) > 1 << 20:
                continue
            if "/corpus/" in name or name.endswith((".bin", ".db")):
                continue
            for number, line in enumerate(read(name).split("\n"), 1):
                if later.search(line) or (machine.search(line) and name != "tests/docs/test_house.py"):
                    found.append("%s:%d: %s" % (name, number, line.strip()))
        self.none(found, "lines that should not be in the tree")

    def test_every_unit_test_and_fuzzer_is_in_the_build(self):
        lists = "\n".join(read(name) for name in FILES if name.endswith("CMakeLists.txt"))
        missing = []
        for name in SOURCES:
            match = re.match(r"tests/(\w+)/(test|fuzz|bench)_(\w+)\.c$", name)
            if match and not re.search(r"\b%s\b" % match.group(3), lists):
                missing.append(name)
        self.none(missing, "tests that no CMakeLists.txt knows")

    def test_functions_are_prefixed_or_static(self):
        wrong = []
        for name in SHIPPED:
            if not name.endswith(".h"):
                continue
            text = without_comments(read(name))
            for function in re.findall(r"^\w[\w\s\*]*?\b(\w+)\([^;{]*\)[^;{]*;", text, re.M):
                if not function.startswith("shoal_") and function.islower():
                    wrong.append("%s: %s" % (name, function))
        self.none(wrong, "functions in headers without the prefix")

    def test_base_and_proto_do_not_log(self):
        wrong = [name for name in SHIPPED if name.startswith(LIBRARY_ROOMS) and
                 not name.startswith("proto/base/log.") and
                 re.search(r"\bshoal_log\(", without_comments(read(name)))]
        self.none(wrong, "library code that logs")


class Limits(unittest.TestCase):
    """docs/operations.md lists every limit of the headers, with its value, and no other."""

    NAME = re.compile(r"^#define\s+SHOAL_(\w+_(?:MAX|BYTES|HWM|BUDGET|BACKLOG|SPARE|GROWTH))[ \t]+"
                      r"(\S.*?)[ \t]*(?://.*)?$", re.M)
    # Sizes of the code's own making that nothing from outside comes to, and times.
    INNER = {"KEY_BYTES", "WRITE_HEAD_MAX", "OUTBOX_FRAME_BYTES", "SPOOL_HEADER_BYTES",
             "PG_PARAMETERS_MAX", "PG_ATTRIBUTES_MAX", "STATE_PATH_MAX"}
    UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

    def in_code(self):
        found = {}
        for name in SHIPPED:
            for limit, value in self.NAME.findall(read(name)) if name.endswith(".h") else ():
                if limit not in self.INNER and not limit.endswith(("_MS_MAX", "_S_MAX")):
                    plain = re.sub(r"U?INT(?:32|64)_C|(?<=\d)U?L{0,2}\b", "", value)
                    number = eval(plain, {"__builtins__": {}})  # a number, perhaps shifted
                    found[(name.split("/")[0], limit)] = number
        return found

    def in_document(self):
        found = {}
        for room, limit, value in re.findall(r"^\| (\w+) \| `([A-Z0-9_]+)` \| ([^|]+) \|",
                                             read("docs/operations.md"), re.M):
            number, _, unit = value.strip().partition(" ")
            found[(room, limit)] = int(number.replace(",", "")) * self.UNITS.get(unit, 1)
        return found

    def test_code_and_document_agree(self):
        code, document = self.in_code(), self.in_document()
        self.assertGreater(len(code), 100)
        self.assertEqual(sorted(set(code) - set(document)), [], "limits without a row")
        self.assertEqual(sorted(set(document) - set(code)), [], "rows without a limit")
        wrong = {name: (code[name], document[name]) for name in code
                 if code[name] != document[name]}
        self.assertEqual(wrong, {}, "(code, document)")


class Events(unittest.TestCase):
    """docs/operations.md lists every event id of the code, and no other."""

    ID = r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+"

    def test_code_and_document_agree(self):
        logged = {}
        for name in SHIPPED:
            if name.endswith(".c") and not name.startswith("tests/"):
                for event in re.findall(r'"(%s)"' % self.ID, without_comments(read(name))):
                    logged.setdefault(event, name)
        listed = set(re.findall(r"^\| `(%s)`" % self.ID, read("docs/operations.md"), re.M))
        missing = ["%s (%s)" % (event, logged[event]) for event in sorted(set(logged) - listed)]
        self.assertFalse(missing, "not in docs/operations.md: %s" % missing)
        gone = sorted(listed - set(logged))
        self.assertFalse(gone, "in docs/operations.md, but logged nowhere: %s" % gone)


if __name__ == "__main__":
    unittest.main()
