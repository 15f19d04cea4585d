"""Which variant's rows a request gets: by its own word, or by weights that hold for each key for good."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import ConfigError, InvalidInput
from persia.handlers.variant_choice import VariantChoice, variant_of
from persia.torchserve.json_form import request_of_json
from persia.torchserve.settings import handler_settings

WEIGHTS = st.dictionaries(st.sampled_from(["none", "b", "c", "d"]), st.integers(0, 100), min_size=1).filter(
    lambda weights: any(weights.values())
)


def test_a_request_that_names_a_variant_gets_it_whatever_the_weights() -> None:
    choice = VariantChoice({"c": 1}, None)
    assert variant_of(choice.chosen({"variant": b"b"}, {})) == "b"
    assert variant_of(choice.chosen({"variant": b"none"}, {})) == ""
    assert variant_of(choice.chosen({}, {"X-Persia-Variant": "b"})) == "b"
    assert variant_of(choice.chosen({"variant": b"b"}, {"x-persia-variant": "c"})) == "b"
    assert variant_of(choice.chosen({}, {})) == "c"


def test_without_weights_a_request_is_left_as_it_is() -> None:
    request = {"batch": b""}
    assert VariantChoice({}, None).chosen(request, {}) is request
    assert variant_of(request) == ""


@pytest.mark.parametrize("name", [b"../b", b"", b"b" * 65, b"\xff", b"b\n"])
def test_what_is_no_name_is_refused(name: bytes) -> None:
    if name:
        with pytest.raises(InvalidInput):
            VariantChoice({}, None).chosen({"variant": name}, {})
    else:
        assert variant_of({"variant": name}) == ""


def test_shares_are_those_of_the_weights() -> None:
    for sticky_by, requests in (("user", [{"user": str(user).encode()} for user in range(20_000)]), (None, [{}] * 20_000)):
        choice = VariantChoice({"none": 70, "b": 20, "c": 10, "d": 0}, sticky_by)
        counts = Counter(variant_of(choice.chosen(dict(request), {})) for request in requests)
        assert counts.keys() == {"", "b", "c"}
        for name, share in (("", 0.7), ("b", 0.2), ("c", 0.1)):
            assert abs(counts[name] / 20_000 - share) < 0.02  # some six standard deviations


def test_a_key_is_taken_from_the_input_or_from_a_header() -> None:
    choice = VariantChoice({"none": 50, "b": 50}, "X-User")
    by_key = choice.by_key("7")
    for request, headers in (({"X-User": b"7"}, {}), ({"X-User": "7"}, {}), ({}, {"x-user": "7"})):
        chosen = choice.chosen(request, headers)
        assert chosen["variant"].decode() == by_key


@given(WEIGHTS, WEIGHTS, st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=50))
def test_changed_weights_move_only_keys_that_must(before: dict[str, int], after: dict[str, int], keys: list[str]) -> None:
    """A key goes to a variant only if this one's weight grew beside that of the one that it leaves."""
    old, new = VariantChoice(before, "user"), VariantChoice(after, "user")
    for key in keys:
        left, taken = old.by_key(key), new.by_key(key)
        assert old.by_key(key) == left
        if left != taken:
            assert after.get(taken, 0) * before[left] > after.get(left, 0) * before.get(taken, 0)


def test_settings_say_what_is_wrong_with_weights() -> None:
    settings = handler_settings(
        {"persia": {"variants": {"none": 90, "b": 10.5}, "variants_sticky_by": "x-user"}}, environment={}
    )
    assert settings["variants"] == {"none": 90, "b": 10.5} and settings["variants_sticky_by"] == "x-user"
    assert handler_settings({}, environment={})["variants"] == {}
    for wrong in ("b:10", {"../b": 1}, {"b": -1}, {"b": "1"}, {"b": True}, {"b": 0}, {"b": float("nan")}, {1: 1}):
        with pytest.raises(ConfigError, match=r"\$\.persia\.variants"):
            handler_settings({"persia": {"variants": wrong}}, environment={})


def test_the_json_form_has_a_variant() -> None:
    features = {"user": [["a"]]}
    assert request_of_json({"features": features, "variant": "b"})["variant"] == b"b"
    with pytest.raises(InvalidInput, match=r"\$\.variant: expected the name of a variant, got"):
        request_of_json({"features": features, "variant": 1})
