"""Runs one program again and again on whatever interpreter starts it; spoken to by lines of JSON.

    {"mode": "plain" | "larder" | "numba", "style": "function" | "cell", "source": ..., "n": ...}   then lines `run` or `stats`

Answers one line each: processor seconds, a digest of the result, and one of the result to nine digits (Numba may contract
floating-point operations differently).
"""

import hashlib
import json
import sys
import time


def rounded(x):
    if isinstance(x, float):
        return f"{x:.9g}"
    if isinstance(x, (list, tuple)):
        return [rounded(y) for y in x]
    return repr(x)


def digest(text):
    return hashlib.md5(text.encode()).hexdigest()


def main():
    out = sys.stdout
    sys.stdout = sys.stderr
    order = json.loads(sys.stdin.readline())
    source, n = order["source"], order["n"]
    if order["mode"] == "larder":
        import larder

        if not larder.trace.optimise(watch_all=True):
            print(json.dumps({"error": larder.trace.stats()["not_optimising"]}), file=out, flush=True)
            return
    space = {"__name__": "bench", "n": n}
    if order["style"] == "function":
        exec(compile(source, "bench", "exec"), space)
        run = space["run"]
        if order["mode"] == "numba":
            import warnings

            import numba

            warnings.simplefilter("ignore")
            run = numba.njit(run)
    else:

        def run(n):
            # As a notebook does: the text is compiled anew at each execution of the cell.
            exec(compile(source, "bench", "exec"), space)
            return space["result"]

    print(json.dumps({"ready": sys.version}), file=out, flush=True)
    for line in sys.stdin:
        if line.strip() == "stats":
            for _ in range(2):
                larder.trace.after_cell()
            keys = ("line", "state", "native", "interpreted", "traces", "guards", "exits", "compile ms", "why")
            ours = [r for r in larder.trace.traces() if r["traces"] and r["file"] == "bench"]
            sizes = ("code_bytes", "metadata_bytes", "growing_bytes")
            found = [{**{k: r[k] for k in keys}, **{k: r["detail"][k] for k in sizes}} for r in ours]
            print(json.dumps(found), file=out, flush=True)
            continue
        try:
            began = time.process_time()
            result = run(n)
            took = time.process_time() - began
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}), file=out, flush=True)
            return
        answer = {"seconds": took, "digest": digest(repr(result)), "rounded": digest(repr(rounded(result)))}
        print(json.dumps(answer), file=out, flush=True)


main()
