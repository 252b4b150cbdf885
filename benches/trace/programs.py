"""The ten loop programs: each is the body of ``run(n)``, so that it can also be run as a notebook cell.

``SIZES`` are chosen so that plain CPython needs a few tenths of a second.
"""

from __future__ import annotations

import textwrap

SIZES = {
    "mandelbrot": 120,
    "sieve": 600_000,
    "collatz": 30_000,
    "matmul over lists": 120,
    "nbody over lists": 5_000,
    "lcg histogram": 1_000_000,
    "fib iteration": 20_000,
    "bubble sort": 900,
    "float list sum": 50_000,
    "Monte Carlo pi": 800_000,
}

_BODIES = {
    "mandelbrot": """
total = 0
for py in range(n):
    y0 = py * 2.0 / n - 1.0
    for px in range(n):
        x0 = px * 3.0 / n - 2.0
        x = 0.0
        y = 0.0
        k = 0
        while x * x + y * y <= 4.0 and k < 100:
            x, y = x * x - y * y + x0, 2.0 * x * y + y0
            k += 1
        total += k
return total
""",
    "sieve": """
flags = [True] * (n + 1)
count = 0
for i in range(2, n + 1):
    if flags[i]:
        count += 1
        for j in range(i * i, n + 1, i):
            flags[j] = False
return count
""",
    "collatz": """
best = 0
arg = 0
for i in range(1, n):
    c = 0
    x = i
    while x != 1:
        if x % 2 == 0:
            x = x // 2
        else:
            x = 3 * x + 1
        c += 1
    if c > best:
        best = c
        arg = i
return best, arg
""",
    "matmul over lists": """
A = [[float(i * j % 7) for j in range(n)] for i in range(n)]
B = [[float((i + j) % 5) for j in range(n)] for i in range(n)]
C = [[0.0] * n for i in range(n)]
for i in range(n):
    Ai = A[i]
    Ci = C[i]
    for j in range(n):
        s = 0.0
        for k in range(n):
            s += Ai[k] * B[k][j]
        Ci[j] = s
t = 0.0
for row in C:
    for v in row:
        t += v
return t
""",
    "nbody over lists": """
bodies = 5
x = [0.0, 4.84143144246472090, 8.34336671824457987, 12.8943695621391310, 15.3796971148509165]
y = [0.0, -1.16032004402742839, 4.12479856412430479, -15.1111514016986312, -25.9193146099879641]
z = [0.0, -0.103622044471123109, -0.403523417114321381, -0.223307578892655734, 0.179258772950371181]
vx = [0.0, 0.606326392995832, -1.01077434617879, 1.08279100644153, 0.979090732243898]
vy = [0.0, 2.81198684491626, 1.82566237123041, 0.868713018169608, 0.594698998647676]
vz = [0.0, -0.0252183616598876, 0.00841576125245, -0.0108326374013636, -0.0347559555078104]
m = [39.47841760435743, 0.0376936749096, 0.0112863261319687, 0.00172372405705971, 0.00203368686992463]
dt = 0.01
for step in range(n):
    for i in range(bodies):
        xi = x[i]
        yi = y[i]
        zi = z[i]
        mi = m[i]
        for j in range(i + 1, bodies):
            dx = xi - x[j]
            dy = yi - y[j]
            dz = zi - z[j]
            d2 = dx * dx + dy * dy + dz * dz
            mag = dt / (d2 * sqrt(d2))
            mj = m[j] * mag
            vx[i] -= dx * mj
            vy[i] -= dy * mj
            vz[i] -= dz * mj
            mj = mi * mag
            vx[j] += dx * mj
            vy[j] += dy * mj
            vz[j] += dz * mj
    for i in range(bodies):
        x[i] += dt * vx[i]
        y[i] += dt * vy[i]
        z[i] += dt * vz[i]
return x, y, z, vx, vy, vz
""",
    "lcg histogram": """
h = [0] * 64
s = 12345
for i in range(n):
    s = (s * 1103515245 + 12345) & 0x7FFFFFFF
    h[(s >> 16) % 64] += 1
return h
""",
    "fib iteration": """
t = 0
for r in range(n):
    a, b = 0, 1
    for i in range(60):
        a, b = b, a + b
    t ^= a
return t
""",
    "bubble sort": """
a = [(i * 7919) % n for i in range(n)]
for i in range(n):
    for j in range(n - 1 - i):
        if a[j] > a[j + 1]:
            a[j], a[j + 1] = a[j + 1], a[j]
return a[0], a[-1], a[n // 2]
""",
    "float list sum": """
xs = [i * 0.5 for i in range(n)]
s = 0.0
c = 0
for r in range(20):
    for x in xs:
        s += x * x
        if x > 10.0:
            c += 1
return s, c
""",
    "Monte Carlo pi": """
s = 42
c = 0
for i in range(n):
    s = (s * 1664525 + 1013904223) % 4294967296
    u = s / 4294967296.0
    s = (s * 1664525 + 1013904223) % 4294967296
    v = s / 4294967296.0
    if u * u + v * v < 1.0:
        c += 1
return 4.0 * c / n
""",
}


def function(name: str) -> str:
    """Source that defines ``run(n)``."""
    return "from math import sqrt\ndef run(n):\n" + textwrap.indent(_BODIES[name].strip(), "    ") + "\n"


def cell(name: str) -> str:
    """Source that reads ``n`` and leaves ``result``, with every variable a global, as in a notebook."""
    return "from math import sqrt\n" + _BODIES[name].strip().replace("\nreturn ", "\nresult = ") + "\n"
