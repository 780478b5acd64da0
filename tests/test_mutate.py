"""The record of `make mutants` is kept file by file."""

from mutants import Mutant
from mutate import updated


def mutant(name, file):
    return Mutant(name, file, 0, 1, "")


def test_a_run_of_one_file_leaves_the_others_as_they_were():
    killed, alive = mutant("claims.py:1  a", "claims.py"), mutant("claims.py:2  b", "claims.py")
    before = {
        "known": {"mutants": 3, "killed": 3},
        "files": {"data.py": {"mutants": 9, "killed": 8}, "claims.py": {"mutants": 5, "killed": 4}},
        "survivors": [
            {"mutant": "data.py:7  x", "reason": "why"},
            {"mutant": "claims.py:9  gone", "reason": "why"},
        ],
    }
    after = updated(before, [], [killed, alive], {alive: "because"})
    assert after["known"] == before["known"]
    assert after["files"] == {
        "data.py": {"mutants": 9, "killed": 8},
        "claims.py": {"mutants": 2, "killed": 1},
    }
    assert after["survivors"] == [
        {"mutant": "data.py:7  x", "reason": "why"},
        {"mutant": "claims.py:2  b", "reason": "because"},
    ]


def test_a_run_of_the_known_mistakes_counts_them_and_no_file():
    mistakes = [mutant("a", "layers.py"), mutant("b", "layers.py")]
    after = updated({}, mistakes, [], {mistakes[0]: ""})
    assert after == {"known": {"mutants": 2, "killed": 1}, "files": {}, "survivors": []}
