"""Records answers while packets come and faults happen, and says whether each is of one epoch, and of its variant.

`make history ANSWERS=10000000` runs it, SEED=... with the same choices again; the moments of the processes are their own. If
an answer is wrong, or a lookup fails that should not, the directory stays. WITHOUT_EPOCHS=1 shows what the checker finds then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from persia.routing.forwarded import MiddlewareClient
from persia.variant import variant_key
from persia.writers import VariantCommitter
from tests.support.epoch_deployments import PATIENT, EpochDeployment, routers_of
from tests.support.epoch_followers import EpochFollower
from tests.support.epoch_rows import ALL, DIM, MOST_FILES, SIGNS
from tests.support.histories import Judge, Recorder
from tests.support.history_faults import VARIANT, Act, Faults, is_excused
from tests.support.middlewares import Middleware

TICK = 0.2  # seconds; in each one packet comes
PACKETS = MOST_FILES // 4  # in one directory at most; then all begins anew
REPLAYED = 0.01  # of all epochs, that are read again from the files


class Round:
    """One deployment, from its first packet to the last."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self._directory, self._rng = directory, rng
        self.happened: Counter[str] = Counter()
        self.failures = 0
        self.unexcused: list[str] = []
        self.replayed = 0

    def run(self, answers: int) -> Judge:
        """Until there are so many answers, or PACKETS packets."""
        with ExitStack() as stack:
            settings = {"retained_epochs": self._rng.choice([1, 8])}
            deployment = EpochDeployment(self._directory, stack, settings=settings)
            middleware = stack.enter_context(
                Middleware(
                    self._directory / "middleware",
                    deployment.config,
                    deployment.addresses,
                    settings={"wait_for_shard_ms": round(PATIENT.wait_for_shard * 1000)},
                ).wait_ready()
            )
            client = MiddlewareClient([middleware.address], PATIENT)
            stack.callback(client.close)
            first = deployment.trainer.of_variant(VARIANT).leave(ALL[::3])
            deployment.wait_for_epoch(VariantCommitter(deployment.packets, VARIANT).commit([first]))
            recorder = Recorder([*stack.enter_context(routers_of(deployment, 2)), client])
            recorder.ask_for("", "", VARIANT)
            faults, judge = Faults(deployment, self._rng, recorder.answered_since), Judge(deployment.oracle())
            try:
                self._ticks(faults, recorder, judge, answers)
                recorder.wait_for_epoch(deployment.newest())  # whatever it was, it is over
            finally:
                recorder.stop()
        judge.take(recorder.take())
        self.failures = len(recorder.failures)
        self.unexcused = [
            f"{failure.error!r}" for failure in recorder.failures if not is_excused(failure.asked, failure.came, faults.away)
        ]
        self.unexcused += [f"{name} was committed again" for name in deployment.oracle().brought_back()]
        self._replay(deployment, judge.verdict.epochs)
        return judge

    def _ticks(self, faults: Faults, recorder: Recorder, judge: Judge, answers: int) -> None:
        acts: dict[str, Act] = {}  # that go on, by what they act on
        kinds = {"servers": (faults.on_servers, 0.1), "log": (faults.on_the_log, 0.05), "packets": (faults.on_packets, 0.2)}
        packets, is_over = 0, False
        while acts or not is_over:
            began = time.monotonic()
            faults.leave()
            packets += 1
            judge.take(recorder.take())
            is_over = judge.verdict.answers >= answers or packets >= PACKETS
            for kind, (choices, chance) in kinds.items():
                if kind not in acts and not is_over and packets > 5 and self._rng.random() < chance:
                    act = self._rng.choice(choices())
                    self.happened[act.__name__] += 1
                    acts[kind] = act()
                if kind in acts and next(acts[kind], True):
                    del acts[kind]
            time.sleep(max(0.0, began + TICK - time.monotonic()))

    def _replay(self, deployment: EpochDeployment, epochs: set[int]) -> None:
        """Reads some epochs again from checkpoint, packets and records alone."""
        oracle = deployment.oracle()
        history_of = EpochFollower(deployment.packets, name="reader.jsonl").log
        history_of.read()
        for epoch in self._rng.sample(sorted(epochs), max(1, round(REPLAYED * len(epochs)))):
            server = EpochFollower(deployment.packets, name="replay.jsonl", checkpoint=deployment.checkpoint)
            history = history_of.history
            variants = history.variants.packets_at(epoch)
            server.updater._builder.build(1, history.packets_at(epoch), variants, history.base_at(epoch))
            for name in ("", *variants):
                rows = server.table.pin().rows(SIGNS[ALL], DIM, variant_key(name))[0]
                if rows.astype(np.float16).tobytes() != oracle.answer(epoch, name):
                    self.unexcused.append(
                        f"epoch {epoch}, variant {name!r} is another one when it is read again from the files"
                    )
            self.replayed += 1


def run(directory: Path, answers: int, seed: int) -> str:
    """Returns what was found. Raises AssertionError if anything is wrong; the directory is left as it is then."""
    rng, done, number = random.Random(seed), 0, 0
    epochs = failures = replayed = 0
    happened: Counter[str] = Counter()
    while done < answers:
        number += 1
        one = Round(directory / str(number), rng)
        verdict = one.run(answers - done).verdict
        print(f"round {number}: {verdict}; {one.failures} lookups failed while a shard had no server", flush=True)
        assert not verdict.wrong and not one.unexcused, "\n".join([str(verdict), *verdict.examples, *one.unexcused[:20]])
        done += verdict.answers
        epochs += len(verdict.epochs)
        failures, replayed, happened = failures + one.failures, replayed + one.replayed, happened + one.happened
        shutil.rmtree(directory / str(number))
    acts = ", ".join(f"{count} {what}" for what, count in sorted(happened.items()))
    return (
        f"{done} answers of {epochs} epochs, none is wrong; {failures} lookups failed, all while a shard had no server; "
        f"{replayed} epochs are the same from the files; {acts}"
    )


def mixed_without_epochs(directory: Path, answers: int) -> float:
    """The share of answers that have rows of two packets, when servers follow no epochs and nothing else goes wrong.

    Of so many answers, or more, until one is mixed or the trainer has left all that it can.
    """
    with ExitStack() as stack:
        deployment = EpochDeployment(directory, stack, settings={"enable_epochs": False})
        recorder = Recorder(stack.enter_context(routers_of(deployment, 2)))
        count = mixed = 0
        try:
            while (count < answers or not mixed) and len(deployment.trainer.files) < MOST_FILES:
                deployment.trainer.leave()
                time.sleep(TICK)
                for answer in recorder.take():
                    count += 1
                    mixed += answer.numbers != answer.numbers[:2] * (len(answer.numbers) // 2)
        finally:
            recorder.stop()
    return mixed / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--without-epochs", action="store_true")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="persia-history-"))
    print(f"seed {options.seed}, directory {directory}", flush=True)
    try:
        if options.without_epochs:
            print(f"{100 * mixed_without_epochs(directory / 'off', options.answers):.2f} % of the answers are mixed")
        else:
            print(run(directory, options.answers, options.seed))
    except AssertionError as error:
        sys.exit(f"{error}\nseed {options.seed}; kept: {directory}")
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
