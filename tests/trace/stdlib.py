"""Runs a module of CPython's own test package, plain or with every loop traced at once, and prints each test's outcome.

python tests/trace/stdlib.py plain|traced test_list
"""

import io
import json
import re
import sys
import unittest

# In the names of subtests of some.
ADDRESS = re.compile(r"0x[0-9a-f]+")


class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def stopTest(self, test):
        self.seen.setdefault(ADDRESS.sub("~", test.id()), "ok")
        super().stopTest(test)

    def _note(self, test, what):
        self.seen[ADDRESS.sub("~", test.id())] = what

    def addError(self, test, err):
        self._note(test, f"error {err[0].__name__}")

    def addFailure(self, test, err):
        self._note(test, "failure")

    def addSkip(self, test, reason):
        self._note(test, "skipped")

    def addExpectedFailure(self, test, err):
        self._note(test, "expected failure")


def main(mode, name):
    out, sys.stdout = sys.stdout, io.StringIO()
    module = __import__(f"test.{name}", fromlist=["*"])
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    if mode == "traced":
        import larder
        import larder.optimiser

        assert larder.trace.enable(watch_all=True, hot=1), larder.trace.stats()
    result = Outcomes()
    suite.run(result)
    native = 0
    if mode == "traced":
        rows = larder.optimiser.loops()
        native = sum(row["native"] for row in rows)
        broken = [row["name"] for row in rows if row["why"] == "an internal error"]
        assert not broken, broken
    print(json.dumps({"outcomes": result.seen, "native": native}), file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
