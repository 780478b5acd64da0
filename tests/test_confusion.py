"""How often the checkup is right: how that is counted, and that the record is of this checkup."""

import pytest

import confusion
import records
from checkup_cases import FAULTS, HEALTHY
from checkup_threads import FAULTS as OF_THREADS
from checkup_threads import HEALTHY as WELL_IN_THREADS
from normtutorial.diagnosis import Finding, Report


def fault(name):
    return Finding(name, "fault", "", "", {}, "")


@pytest.fixture
def checkup(monkeypatch):
    """One that says what it is told to say."""

    def says(findings, errors):
        return Report([*findings, Finding("eps-rules", "note", "", "", {}, "")], errors, {})

    monkeypatch.setattr(confusion, "checkup", says)


def case(name, finds, *findings, errors=()):
    return confusion.Case(name, finds, lambda: {"findings": findings, "errors": errors})


def test_a_fault_counts_as_found_alone_and_under_its_name(checkup):
    cases = [
        case("found", "batch-leak", fault("batch-leak")),
        case("missed", "batch-leak"),
        case("and more", "batch-leak", fault("batch-leak"), fault("wrong-axis")),
        case("well", None),
        case("ill", None, fault("wrong-axis")),
        case("raising", None, errors=["so it goes"]),
    ]
    assert confusion.matrix(cases) == {
        "faults": 3,
        "found": 1,
        "others": {"missed": [], "and more": ["batch-leak", "wrong-axis"]},
        "well": 3,
        "well_with_a_fault": 2,
        "alarms": {"ill": ["wrong-axis"], "raising": ["error"]},
    }


def test_random_networks_are_counted_by_their_seeds(checkup, monkeypatch):
    def network(seed):
        return {"findings": [fault("batch-leak")] * (seed == 6), "errors": []}

    monkeypatch.setattr("checkup_random.random_network", network)
    assert confusion.drawn(range(5, 8)) == {
        "seeds": [5, 7],
        "networks": 3,
        "with_a_fault": 1,
        "alarms": {"6": ["batch-leak"]},
        "with_a_note": {"eps-rules": 3},
    }


def test_the_digest_is_of_code_and_not_of_comments(tmp_path, monkeypatch):
    monkeypatch.setattr(confusion.chapters, "ROOT", tmp_path)
    monkeypatch.setattr(confusion, "TESTS", tmp_path / "tests")
    files = [tmp_path / one for one in ("normtutorial/diagnosis/a.py", "tests/checkup_b.py")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("x = 1\n")
    first = confusion.digest()
    files[0].write_text("x = 1  # one\n")
    assert confusion.digest() == first
    for file in files:
        file.write_text("x = 2\n")
        assert confusion.digest() not in (first, None)
        file.write_text("x = 1\n")


def test_the_record_is_of_this_checkup_and_of_all_cases():
    record = records.read(confusion.RECORD)
    assert record["code"] == confusion.digest(), f"run {record['command']}"
    assert record["blind"] == confusion.BLIND
    for name, faults, well in (
        ("own", FAULTS, HEALTHY),
        ("threads", OF_THREADS, WELL_IN_THREADS),
    ):
        counted = record[name]["faults"], record[name]["well"]
        assert counted == (len(faults), len(faults) + len(well))
    seeds = confusion.UNSEEN
    assert record["random"]["seeds"] == [seeds[0], seeds[-1]]
    assert record["random"]["networks"] == len(seeds)


def test_it_is_right_as_often_as_it_promises():
    record = records.read(confusion.RECORD)
    assert record["own"]["found"] > 0.95 * record["own"]["faults"]
    assert record["own"]["well_with_a_fault"] == record["threads"]["well_with_a_fault"] == 0
    assert record["random"]["with_a_fault"] <= 1
