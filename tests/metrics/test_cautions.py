from __future__ import annotations

import numpy as np
import pytest

from speechprobe.metrics.cautions import class_cautions, group_cautions

GOOD = ["F"] * 40 + ["M"] * 40
SPEAKERS = np.tile(np.arange(10), 8)


def test_nothing_is_said_where_there_is_nothing_to_say():
    assert class_cautions(GOOD, GOOD[::-1], groups=SPEAKERS, trained_on=["M", "F"]) == ()
    assert group_cautions(SPEAKERS) == ()
    assert group_cautions(np.arange(10)) == ()  # independent items


@pytest.mark.parametrize(
    ("truth", "settings", "expected"),
    [
        (
            ["F"] * 80 + ["M"] * 20,
            {},
            "classes differ in size: 'F' has 80 of 100 items (80 %), 'M' has 20",
        ),
        (["F"] * 9 + ["M"] * 12, {}, "classes of fewer than 10 items: 'F' (9)"),
        (GOOD, {"prediction": ["F"] * 80}, "classes never predicted: 'M'"),
        (GOOD, {"prediction": ["X", *GOOD[1:]]}, "classes predicted though no item has them: 'X'"),
        (GOOD, {"trained_on": ["F"]}, "classes never trained on, so always wrong: 'M'"),
        (
            GOOD,
            {"groups": [*range(40), *[1, 2, 3, 4] * 10]},
            "classes from fewer than 5 groups, which resamples may lack: 'M' (4)",
        ),
    ],
)
def test_what_limits_a_score_of_classes_is_named(truth, settings, expected):
    assert class_cautions(truth, **settings) == (expected,)


@pytest.mark.parametrize(("sizes", "named"), [((79, 20), False), ((80, 20), True)])
def test_classes_differ_in_size_from_four_times_on(sizes, named):
    found = class_cautions(np.repeat([0, 1], sizes))
    assert any("differ in size: 0 has" in sentence for sentence in found) == named


def test_of_many_classes_the_first_are_named_and_the_rest_counted():
    (found,) = class_cautions(np.arange(8))
    assert found == "classes of fewer than 10 items: 0 (1), 1 (1), 2 (1), 3 (1), 4 (1) and 3 more"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([5] * 9, "9 groups are few; an interval from fewer than 10 is too narrow"),
        ([5] * 10 + [51], "one group has 51 of 101 items"),
        ([5] * 10 + [1, 1], "2 of 12 groups have a single item"),
    ],
)
def test_what_limits_an_interval_is_named(sizes, expected):
    assert group_cautions(np.repeat(np.arange(len(sizes)), sizes)) == (expected,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_cautions([0.5, 1.2]), "fractional"),
        (lambda: class_cautions(["a"], ["a", "b"]), "n_items"),
        (lambda: class_cautions(["a", "b"], groups=["x"]), "groups"),
        (lambda: group_cautions(["a", None]), "have no group"),
    ],
)
def test_input_that_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
