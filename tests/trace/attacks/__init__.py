"""Programs meant to catch the optimiser out: aliases, types and namespaces that change, finalizers, threads, odd numbers.

Each defines ``run()``, whose result must be the same plain and optimised.
"""

from . import names, values
from .table import CASES

__all__ = ["CASES", "names", "values"]
