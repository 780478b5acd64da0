"""The checkup on cases that its checks had not seen, each of which happened to somebody.

They were written from public issue threads before any threshold, and set aside while the checks
were built. When these were done, all cases were run once, blind: of 27 faults 23 were found under
their name, and one of 40 networks that are well (27 repaired twins, 13 others) got a fault.

- ``source_and_target_called_apart``: the checkup itself raised, of two labels for each sample, and
  of the repaired twin likewise, which was counted as silence.
- ``padded_to_the_longest_sequence``: not found, because no sample filled all positions.
- ``a_batch_norm_of_the_fields_of_a_table``: only a note, because shapes do not tell whether fields
  or features are to be normalized.
- ``recalibrated_over_channels_too``: only a note, because the loss falls from 0.215 to 0.012, which
  is mostly below a tenth of what a constant guess loses.
- ``sharpness_aware_step``, repaired: falsely updated twice, although the step puts back what the
  second pass has moved.

The first two and the last have been mended since, and with the first also the output of two passes
one below the other, which was then taken for a leak. So what is asserted here is no longer blind:
it is no estimate of how many faults are found, but keeps what was found. The other two remain
misses, because no threshold was moved for them.
"""

import pytest
import torch

from checkup_threads import FAULTS, HEALTHY
from normtutorial import checkup

MISSED = {"a_batch_norm_of_the_fields_of_a_table", "recalibrated_over_channels_too"}


def look(make, *arguments):
    torch.manual_seed(0)
    report = checkup(**make(*arguments))
    assert not report.errors, report.errors
    return report


def test_there_are_as_many_as_were_run_blind():
    assert (len(FAULTS), len(HEALTHY)) == (27, 13) and set(FAULTS) > MISSED


@pytest.mark.parametrize("name", FAULTS)
def test_what_happened_to_somebody_is_found_and_nothing_else(name):
    case = FAULTS[name]
    report = look(case.make, False)
    faults = {fault.name for fault in report.faults}
    if name in MISSED:
        assert faults <= {case.finding} and case.finding in report, str(report)
    else:
        assert faults == {case.finding}, str(report)


@pytest.mark.parametrize("name", FAULTS)
def test_repaired_it_is_well(name):
    report = look(FAULTS[name].make, True)
    assert not report.faults, str(report)


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_odd_but_right_is_no_fault(name):
    report = look(HEALTHY[name])
    assert not report.faults, str(report)
