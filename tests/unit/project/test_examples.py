"""Every property gets its share of examples, by the profile of Hypothesis that is loaded."""

from __future__ import annotations

import re

from hypothesis import settings

from tests.support.examples import examples
from tests.support.places import TESTS

PROFILE = settings.get_current_profile_name()


def test_a_share_is_that_of_the_profile() -> None:
    try:
        settings.load_profile("commit")
        assert [examples(whole) for whole in (1, 100, 300)] == [1, 25, 75]
        settings.load_profile("ci")
        assert [examples(whole) for whole in (1, 100, 300)] == [1, 100, 300]
    finally:
        settings.load_profile(PROFILE)


def test_no_property_names_a_number_that_profiles_do_not_change() -> None:
    fixed = re.compile(r"max_examples=\d")
    naming = {path.name for path in TESTS.rglob("test_*.py") if fixed.search(path.read_text())}
    assert naming == set(), "max_examples=examples(...) has them follow the profile"
