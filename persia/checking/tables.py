"""Whether the rows of a checkpoint are those that the embedding config asks for: by group, dim and hash stack."""

from __future__ import annotations

from collections import defaultdict

from persia.checking.default_rows import check_default_rows
from persia.checking.report import Report
from persia.checking.scan import Count, Scan
from persia.config import EmbeddingConfig, Slot

__all__ = ["check_rows"]

_Slots = list[Slot]


def check_rows(report: Report, config: EmbeddingConfig, scan: Scan) -> None:
    """A line for each group, for rows that no feature asks for, missing default rows, and rows that are not numbers."""
    for problem in scan.problems:
        advice = "write or copy the file again: a server refuses a checkpoint with it, and sets a packet with it aside"
        report.fail("checkpoint", "files", problem, advice)
    groups: dict[int, _Slots] = defaultdict(list)
    for slot in config.slots.values():
        if not slot.ids_are_signs:
            groups[slot.group_number + 1].append(slot)
    for number, slots in sorted(groups.items()):
        _check_group(report, scan, number, slots)
    if signs := [slot for slot in config.slots.values() if slot.ids_are_signs]:
        _check_signs(report, scan, signs)
        groups[0] = signs
    else:
        _check_strays(report, config, scan)
    _check_packets(report, scan, groups)
    check_default_rows(report, config, scan)
    if bad := sum(count.non_finite for counts in (scan.counts, scan.packet_counts) for count in counts.values()):
        names = sorted({slot.name for group, _ in _not_finite(scan) for slot in groups.get(group, [])})
        advice = "find out what the trainer did, and write these rows again: scores that use them are NaN"
        where = f", of {_listed(names)}" if names else ""
        report.fail("rows", "NaN", f"{scan.about(bad)} rows have NaN or infinite numbers{where}", advice, rows=bad)
    if not scan.whole:
        read = scan.rows + sum(count.rows for count in scan.packet_counts.values())
        total = scan.total + scan.packet_total
        share = read / max(total, 1)
        text = f"the time was over after {read:,} of {total:,} rows ({share:.0%}); figures of rows are estimates"
        report.warn("rows", "time limit", text, "--full reads all, --time-limit gives more seconds", share=round(share, 4))


def _not_finite(scan: Scan) -> set[tuple[int, int]]:
    return {key for counts in (scan.counts, scan.packet_counts) for key, count in counts.items() if count.non_finite}


def _check_group(report: Report, scan: Scan, number: int, slots: _Slots) -> None:
    """The rows under one prefix, which several features may share."""
    subject = _listed([slot.name for slot in slots])
    by_dim = {dim: count for (group, dim), count in scan.counts.items() if group == number}
    wanted = sorted({slot.dim for slot in slots})
    rows = sum(count.rows for count in by_dim.values())
    figures = {"rows": rows, "exact": scan.exact, **{f"rows_of_dim_{dim}": count.rows for dim, count in sorted(by_dim.items())}}
    wrong = {dim: count.rows for dim, count in by_dim.items() if dim not in wanted}
    if wrong:
        got = " and ".join(f"{scan.about(count)} rows of dim {dim}" for dim, count in sorted(wrong.items()))
        text = f"expected rows of dim {_numbers(wanted)}, got {got}: lookups of these rows give zeros"
        advice = f"set the dim of {subject} to that of the rows, or load the checkpoint that was trained with this config"
        report.fail("rows", subject, text, advice, **figures)
    elif rows:
        text = f"{scan.about(rows)} rows of dim {_numbers(sorted(by_dim))}"
        if len(slots) > 1:
            text += f", which {len(slots)} features share"
        report.ok("rows", subject, text, **figures)
    elif any(group == number for group, _ in scan.packet_counts):
        report.ok("rows", subject, "all of its rows are in packets", **figures)
    elif scan.whole:
        advice = (
            "expected of a feature that was added since; otherwise its group was moved, renamed or is of another checkpoint"
        )
        report.warn("rows", subject, "the checkpoint has no rows: its embeddings are zeros", advice, **figures)
    else:
        report.ok("rows", subject, "no rows among those that were read", **figures)
    _check_stack(report, scan, slots, by_dim)


def _check_stack(report: Report, scan: Scan, slots: _Slots, by_dim: dict[int, Count]) -> None:
    """A hash stack makes ids below rounds * size, and each round has its own range."""
    rows = sum(count.rows for count in by_dim.values())
    largest = max((count.largest for count in by_dim.values()), default=0)
    if not rows or not all(slot.hash_stack_rounds for slot in slots):
        return
    end = max(slot.hash_stack_rounds * slot.hash_stack_size for slot in slots)
    last_round = min((slot.hash_stack_rounds - 1) * slot.hash_stack_size for slot in slots)
    subject = _listed([slot.name for slot in slots])
    if largest >= end:
        text = f"the hash stack leads to rows below {end:,}, and there are rows up to {largest:,}"
        advice = "set hash_stack_rounds and embedding_size as in training: ids lead to the rows of other ids"
        report.fail("rows", f"hash stack of {subject}", text, advice, largest=largest)
    elif scan.whole and largest < last_round:
        text = f"no row is of the last round, which begins at {last_round:,}: the largest one is {largest:,}"
        advice = "set hash_stack_rounds and embedding_size as in training: ids lead to the rows of other ids"
        report.fail("rows", f"hash stack of {subject}", text, advice, largest=largest)


def _check_signs(report: Report, scan: Scan, slots: _Slots) -> None:
    """Slots whose ids are signs share all rows without the prefix of a group."""
    subject = _listed([slot.name for slot in slots])
    rows: dict[int, int] = defaultdict(int)
    for (group, dim), count in scan.counts.items():
        if group == 0 or group > scan.groups:
            rows[dim] += count.rows
    wanted = sorted({slot.dim for slot in slots})
    figures = {"rows": sum(rows.values()), "exact": scan.exact, **{f"rows_of_dim_{dim}": rows[dim] for dim in sorted(rows)}}
    if wrong := sorted(dim for dim in rows if dim not in wanted):
        got = f"rows of dim {_numbers(wrong)} whose signs are of no group: lookups of these rows give zeros"
        advice = f"set the dim of {subject} to that of the rows, or load the checkpoint that was made for this config"
        report.fail("rows", subject, f"expected rows of dim {_numbers(wanted)}, got {got}", advice, **figures)
    elif rows or not scan.whole:
        report.ok("rows", subject, f"about {sum(rows.values()):,} rows, whose signs are ids", **figures)
    else:
        advice = "look whether the rows were written with ids as signs, as `ids_are_signs: true` says"
        report.warn("rows", subject, "the checkpoint has no rows: its embeddings are zeros", advice, **figures)


def _check_strays(report: Report, config: EmbeddingConfig, scan: Scan) -> None:
    """Rows whose signs are in no group: no lookup asks for them."""
    bare = sum(count.rows for (group, _), count in scan.counts.items() if group == 0)
    beyond = sum(count.rows for (group, _), count in scan.counts.items() if group > scan.groups)
    if bare:
        say = report.fail if bare * 2 > scan.rows else report.warn
        text = f"{scan.about(bare)} rows have signs without any group's prefix: they were written with ids as signs"
        advice = "write them with the feature's name and the embedding config, or with persia.signs.signs_of(ids, slot)"
        say("rows", "without a feature", text, advice, rows=bare)
    if beyond:
        say = report.fail if beyond * 2 > scan.rows else report.warn
        text = f"{scan.about(beyond)} rows have the prefix of a group that the embedding config does not have"
        advice = _other_bits(config, scan) or (
            f"the config has {scan.groups} groups: slots or groups are missing from it, or it is another model's"
        )
        say("rows", "without a feature", text, advice, rows=beyond)


def _other_bits(config: EmbeddingConfig, scan: Scan) -> str:
    """What to do if all rows without a feature would have one with another number of prefix bits."""
    signs = [sign for sign in scan.strays if sign >> (64 - config.feature_index_prefix_bit)]
    for bits in range(1, 33):
        numbers = {sign >> (64 - bits) for sign in signs}
        if bits != config.feature_index_prefix_bit and numbers and numbers <= set(range(1, scan.groups + 1)):
            return f"set feature_index_prefix_bit to {bits}: with it these signs are those of groups that there are"
    return ""


def _check_packets(report: Report, scan: Scan, groups: dict[int, _Slots]) -> None:
    """Rows of packets must be such as the config asks for, too."""
    if not scan.packets:
        return
    rows = sum(count.rows for count in scan.packet_counts.values())
    wrong = []
    for (number, dim), count in sorted(scan.packet_counts.items()):
        slots = groups.get(number if number <= scan.groups else 0, [])
        if not slots:
            wrong.append(f"{count.rows:,} rows of no feature")
        elif all(slot.dim != dim for slot in slots):
            names = _listed([slot.name for slot in slots])
            wrong.append(f"{count.rows:,} rows of dim {dim} for {names} (expected {_numbers(sorted({s.dim for s in slots}))})")
    if wrong:
        advice = "take the packets of another model out of incremental_dir, and find out which trainer writes there"
        report.fail("packets", "rows", f"packets have {'; '.join(wrong)}", advice, rows=rows)
    else:
        text = f"{rows:,} rows in {scan.packets} packets, all of features and dims of the config"
        if scan.gone:
            text += f"; {scan.gone:,} signs lose their rows, so that numbers of rows are estimates"
        report.ok("packets", "rows", text, rows=rows, gone=scan.gone)


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _numbers(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
