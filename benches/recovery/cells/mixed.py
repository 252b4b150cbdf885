# %%
import collections

import numpy as np
import pandas as pd

# %%
rng = np.random.default_rng(0)
# %%
a = rng.random(1_000_000)
b = a[::2]
# %%
df = pd.DataFrame({"x": rng.random(200_000), "y": rng.integers(0, 9, 200_000), "s": ["name"] * 200_000})
# %%
big = rng.random(32_000_000)
# %%
words = [f"w{i}" for i in range(100_000)]
# %%
index = {w: i for i, w in enumerate(words)}


# %%
class Model:
    def __init__(self):
        self.w = rng.random((500, 500))
        self.log = []

    def step(self):
        self.w = self.w * 0.9
        self.log.append(self.w.sum())


# %%
m = Model()
# %%
for _ in range(5):
    m.step()
# %%
g = df.groupby("y").x.mean()
# %%
df["z"] = df.x * 2
# %%
top = df[df.x > 0.9]


# %%
def make():
    n = 0

    def up():
        nonlocal n
        n += 1
        return n

    return up


up = make()
# %%
up(), up()
# %% element
big[5] = 1.0
# %%
s = a.sum() + big.sum()
# %%
words.append("last")
# %%
e = np.linalg.svd(m.w)[1]
# %%
counts = collections.Counter(len(w) for w in words)
# %%
t = df.describe()
# %%
result = (s, e.sum(), len(counts))
