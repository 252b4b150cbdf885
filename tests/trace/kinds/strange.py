"""Classes whose methods, descriptors, bases and special methods change while a loop runs; subclasses of the built-in types."""

PRELUDE = """
FLIP = [0]
class Meta(type):
    made = 0
    def __call__(cls, *args):
        FLIP[0] += 1
        return super().__call__(*args)
class Desc:
    def __get__(self, o, cls): return FLIP[0]
class Data(Desc):
    def __set__(self, o, v): FLIP[0] = v if v.__class__ is int else 1
class C:
    k = 300
    def __init__(self, n): self.n = n; self.v = n
    def get(self): return self.n
    def put(self, n): self.n = n
    def both(self, n):
        self.n = n
        self.v = self.n
        return self.get()
    def late(self, k=3): return k
    @staticmethod
    def plain(n): return n + 1
    @classmethod
    def of(cls, n): return cls.k
    @property
    def more(self): return self.n.__class__ is int
class Sub(C):
    def get(self): return 7
    def put(self, n): self.v = n
class Other(C):
    __slots__ = ()
class Slots:
    __slots__ = ("n", "v", "__dict__")
    def __init__(self, n): self.n = n; self.v = n
    def get(self): return self.n
    def put(self, n): self.n = n
class Made(metaclass=Meta):
    def __init__(self, n=0): self.n = n
    def get(self): return self.n
class Eq:
    def __init__(self, n): self.n = n
    def __eq__(self, o): note("eq"); return FLIP[0] & 1 == 0
    def __hash__(self): note("hash"); return 1
    def __lt__(self, o): note("lt"); return FLIP[0] & 1 == 1
    def __bool__(self): return FLIP[0] & 2 == 0
    def __len__(self): return FLIP[0] & 3
    def __getitem__(self, k):
        if k > 3: raise IndexError(k)
        return k * 2
    def __setitem__(self, k, v): FLIP[0] += 1
    def __contains__(self, k): return FLIP[0] & 1 == 0
    def __index__(self): return FLIP[0] & 3
    def __add__(self, o): return FLIP[0]
    __radd__ = __add__
    def __neg__(self): return self
    def __call__(self, k): return k + FLIP[0]
    def __abs__(self): return 3
class Fall:
    def __getattr__(self, name): FLIP[0] += 1; return 5
    def __setattr__(self, name, v): FLIP[0] += 1
class It:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        self.n -= 1
        if self.n < 0: raise StopIteration
        return self.n
class I(int):
    def __add__(self, o): note("add"); return 7
    def __lt__(self, o): return True
    def __index__(self): return 2
class J(int): pass
class Fl(float):
    def __mul__(self, o): note("mul"); return 2.5
    def __eq__(self, o): return True
    __hash__ = float.__hash__
class Li(list):
    def __getitem__(self, k): return 99
    def __setitem__(self, k, v): note("set")
    def __len__(self): return 3
    def __iter__(self): return iter((5, 6))
    def append(self, v): note("append")
class Pl(list): pass
class Di(dict):
    def __missing__(self, k): return 55
    def get(self, k, d=None): return 44
class Dg(dict):
    def __getitem__(self, k): return 66
    def __contains__(self, k): return True
class Tu(tuple):
    def __getitem__(self, k): return 77
class Pt(tuple): pass
class St(str):
    def __eq__(self, o): return False
    __hash__ = str.__hash__
    def __len__(self): return 1
class Se(set):
    def __contains__(self, k): return True
class Loud:
    def __init__(self, k): self.k = k
    def __del__(self, note=note): note(-self.k)
SUBS = [I(3), J(4), Fl(2.5), Li([1, 2, 3, 4]), Pl([1, 2, 3, 4]), Di({1: 2}), Dg({1: 2}), Tu((1, 2, 3, 4))]
SUBS += [Pt((1, 2, 3, 4)), St("ab"), Se({1})]
def get(o): return o.get()
def put(o, v): o.put(v)
def add(p, q): return p + q
def item(l, k): return l[k]
def size(l): return len(l)
def walk(l):
    n = 0
    for v in l: n += 1
    return n
def hit(d, k): return k in d
"""
SETUP = """
o, p, s, e, f, w, z, k = C(1), Sub(2), Slots(3), Eq(1), Fall(), Made(5), None, 0
Q, V, T, U = [C(1), C(2), Sub(3), C(4)], [1, 2, 3, 4], (1, 2, 3, 4), {1: 2, 2: 3}
""".strip()
NAMES = "o p s w z Q V T U FLIP"
STATEMENTS = """
t += o.n if o.n.__class__ is int else 1
o.n = i
o.v = t
t += o.get()
o.put(i)
o.put(x)
a = o.both(i)
a = o.late()
a = o.late(i)
a = o.plain(i)
a = o.of(i)
a = C.k
C.k = i
u = o.more
a = o.k
o.k = i
t += p.get()
p.put(i)
a = p.n
p.v = i
t += s.get() if s.get().__class__ is int else 1
s.n = i
s.put(t)
a = s.v
s.v = s.n
t += get(o) & 7
t += get(p) & 7
t += get(s) & 7
t += get(w) & 7
put(o, i)
put(s, i)
t += Q[i & 3].get() & 7
Q[i & 3].n = i
Q[i & 3].put(t)
Q[0], Q[1] = Q[1], Q[0]
Q[i & 3] = o
o = Q[i & 3]
z = C(i)
z = Sub(i)
w = Made(i)
t += w.n & 7
a = w.get()
a = Made.made
a = f.anything
f.n = i
a = f.n + f.m
for z in It(4): t += z
for z in It(i & 3): t += 1
u = e == i
u = i == e
u = e < 5
u = e in [1, e]
u = 3 in e
u = e in {1: 2}
if e: t += 1
if not e: t += 1
t += len(e)
a = e[i & 3]
a = L[e]
L[e] = i
e[i & 3] = i
a = e + i
a = i + e
z = -e
a = e(i)
a = abs(e)
for z in e: t += z
a = max(e, e, key=id) is e
z = sorted([3, 1, 2])
a = add(i, 1)
a = add(i, SUBS[0])
a = add(SUBS[i % 3], 1)
x = SUBS[2] * 2.0
x = SUBS[2] + x
u = SUBS[2] == x
a = SUBS[1] + i
a = SUBS[0] + i
a = V[SUBS[0]]
a = V[SUBS[1] - 2]
V[SUBS[1] - 4] = i
a = item(V, i & 3)
a = item(SUBS[3], i & 3)
a = item(SUBS[4], i & 3)
a = item(T, i & 3)
a = item(SUBS[7 + (i & 1)], i & 3)
V = SUBS[3] if i % 9 == 8 else [1, 2, 3, 4]
V = SUBS[4] if i % 9 == 8 else [1, 2, 3, 4]
V[i & 3] = i
V.append(i); V.pop()
t += V[i & 3] & 7
t += len(V)
for z in V: t += 1
T = SUBS[7] if i % 9 == 8 else (1, 2, 3, 4)
T = SUBS[8] if i % 9 == 8 else (1, 2, 3, 4)
t += T[i & 3]
a, b, c, z = T
for z in T: t += z
t += size(V)
t += size(SUBS[3 + i % 8])
t += walk(SUBS[3 + i % 8])
t += walk(V)
U = SUBS[5 + (i & 1)] if i % 9 == 8 else {1: 2, 2: 3}
a = U[1]
a = U.get(1)
a = U.get(i & 3, 0)
u = 1 in U
U[1] = i
for z in U: t += z
u = hit(U, i & 3)
u = hit(SUBS[10], i)
u = SUBS[9] == 'ab'
u = SUBS[9] in E
a = E.get(SUBS[9], 0)
t += len(SUBS[9])
s2 = f'{SUBS[0]}{SUBS[2]}{SUBS[9]}'
s2 = str(SUBS[i % 3])
u = isinstance(SUBS[i % 11], int)
u = isinstance(o, Sub)
u = type(o) is C
u = o.__class__ is Sub
m = SUBS[i % 3]
m = m + 1
x = SUBS[2] if i % 7 == 5 else 1.5
x = x * 2.0
a = SUBS[0] if i % 7 == 5 else i
a = a + 1
a = SUBS[1] if i % 7 == 5 else i
t += a & 7
t = t + SUBS[1]
z = Loud(i)
z = [Loud(i), i]
z = None
Q[0].v = Loud(i)
Q[0].v = None
o.n = Loud(i)
o.n = 5
L[i & 3] = Loud(i)
for k in [Loud(1), Loud(2)]: t += 1
""".strip()
EVENTS = """
C.get = lambda self: 1000
C.get = p.get
del C.get
C.put = lambda self, n: note(n)
C.late.__defaults__ = (9,)
C.get.__code__ = (lambda self: 2000).__code__
C.both.__code__ = C.get.__code__
C.n = property(lambda self: 5, lambda self, v: None)
C.n = Desc()
C.n = Data()
C.v = Data()
C.n = 7
C.k = 2.5
C.k = None
del C.k
C.more = 5
C.plain = lambda self, n=0: 9
C.of = 5
C.__getattribute__ = lambda self, name: 3
C.__getattr__ = lambda self, name: 4
C.__setattr__ = lambda self, name, v: object.__setattr__(self, name, 1)
C.__slots__ = ()
Sub.get = C.get
del Sub.get
Sub.__bases__ = (Other,)
Sub.n = 5
o.__class__ = Sub
o.__class__ = Other
p.__class__ = C
Q[1].__class__ = Sub
o.get = lambda: 500
o.__dict__['get'] = lambda: 600
o.__dict__ = {'n': 1, 'v': 2, 'q': 3}
o.__dict__.clear()
o.__dict__['n'] = 70
d = o.__dict__
o.extra = 5
del o.n
del o.v
del o.n; o.n = 3
o.n = 2.5
o.n = None
Slots.n = 5
del Slots.n
Slots.get = lambda self: 8
del s.n
s.get = 5
s.extra = 1
s.n = 'x'
Made.get = lambda self: 3
Meta.made = 5
Meta.__call__ = lambda cls, *args: o
Made.__init__ = lambda self, n: None
C.__init__ = lambda self, n: setattr(self, 'q', n)
C.__new__ = lambda cls, *args: p
FLIP[0] += 1
FLIP[0] = -1
Eq.__eq__ = lambda self, o: 5
Eq.__lt__ = None
Eq.__len__ = lambda self: -1
Eq.__bool__ = lambda self: 5
del Eq.__bool__
Eq.__getitem__ = lambda self, k: [][0]
Eq.__index__ = lambda self: 2.5
del Eq.__add__
Eq.__call__ = get
It.__next__ = lambda self: [].pop()
It.__iter__ = lambda self: iter(L)
Fall.n = 9
del Fall.__getattr__
I.__add__ = lambda self, o: 8
J.__add__ = lambda self, o: 9
Fl.__mul__ = lambda self, o: 1.0
del Li.__getitem__
Pl.__getitem__ = lambda self, k: 3
Pl.__len__ = lambda self: 0
Di.__getitem__ = lambda self, k: 9
Pt.__iter__ = lambda self: iter((1, 2, 3, 5))
V = SUBS[3]
V = SUBS[4]
T = SUBS[8]
U = SUBS[5]
U = SUBS[6]
o = p
o = s
o = e
o = f
Q[2] = s
Q[0] = e
Q.append(None)
""".strip()
LOOPS = ["for i in It({n}):", "for i, o in enumerate(Q * 12):"]
CONDITIONS = ["o is p", "o.n is a", "type(o) is C", "isinstance(o, Sub)", "FLIP[0] & 1"]
