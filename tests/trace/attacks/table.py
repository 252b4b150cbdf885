"""Where every program is entered under its name."""

CASES: dict[str, str] = {}


def case(name: str, source: str) -> None:
    assert name not in CASES, name
    CASES[name] = source
