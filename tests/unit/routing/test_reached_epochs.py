"""Epochs that a context has reached: what goes back behind one, and what begins anew."""

from __future__ import annotations

from persia.routing.reached_epochs import ReachedEpochs, fell


def test_an_answer_falls_behind_what_its_variant_reached_before() -> None:
    epochs = ReachedEpochs()
    assert not fell(3, epochs.of(""))
    epochs.note("", 5)
    epochs.note("", 4)  # of a lookup that began before, and ended after
    epochs.note("b", 2)
    assert (epochs.of(""), epochs.of("b"), epochs.of("c")) == (5, 2, 0)
    assert fell(4, epochs.of("")) and not fell(5, epochs.of("")) and not fell(6, epochs.of(""))
    assert not fell(3, epochs.of("b"))


def test_servers_that_follow_epochs_no_more_begin_anew() -> None:
    epochs = ReachedEpochs()
    epochs.note("", 5)
    assert not fell(0, epochs.of(""))
    epochs.note("", 0)
    assert not fell(1, epochs.of(""))
