"""Calls at every depth of the interpreter's stack, in cells."""

import sys

import pytest

# At each depth 500 calls that return at once; how often memory had to be mapped for them, at the depth with the most. What
# is called has a larger frame than what calls itself, so that at one depth it is the first that does not fit.
CALLS = """
import resource
def leaf(a, b=0, c=0, d=0, e=0, f=0, g=0, h=0, i=0, j=0, l=0, m=0, n=0, o=0, p=0, q=0, r=0, s=0, t=0, u=0, v=0): return a
def at(depth):
    if depth:
        return at(depth - 1)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for k in range(500): leaf(k)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
faults = [at(depth) for depth in range(250)]
print(sorted(faults)[-3:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_no_call_maps_memory_anew_each_time_wherever_the_stack_stands(k):
    # A piece of the stack holds some hundred frames, so some of these depths are at its end.
    assert max(eval(k.text(CALLS))) < 250


THREADS = """
import threading
def leaf(a, b=0, c=0, d=0, e=0, f=0, g=0, h=0, i=0, j=0, l=0, m=0, n=0, o=0, p=0, q=0, r=0, s=0, t=0, u=0, v=0): return a
def at(depth):
    if depth:
        return at(depth - 1)
    return sum(leaf(k) for k in range(300))
def work():
    out.extend({at(depth) for depth in range(0, 200, 3)})
out = []
for _ in range(5):
    threads = [threading.Thread(target=work) for _ in range(40)]
    for one in threads: one.start()
    for one in threads: one.join()
print(len(out), set(out))
import os
pid = os.fork()
if pid == 0:
    os._exit(at(150) == 44850)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_pieces_of_the_stack_change_hands_between_threads_and_live_on_in_a_fork(k):
    assert k.text(THREADS).split("\n")[:2] == ["200 {44850}", "1"]
