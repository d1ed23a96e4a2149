"""Measuring in pairs: every case of a line runs once in each round, so that what disturbs one disturbs all.

A ratio is a peer's time over ours in the same round: above 1, we are faster. Shown are the median of the rounds and their
spread. The first round warms up and does not count. The case that is first changes from round to round.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

OURS = "npy-ingest"


@dataclass
class Line:
    """One thing that is measured. A case does the whole work once, and gives the seconds that it took."""
    title: str
    cases: dict[str, Callable[[], float]]
    # What one call of a case works through, such as 2,000 "images".
    work: float
    unit: str
    # Peer, or "best" of the peers that a target is for -> the speed of ours over its, at least.
    targets: dict[str, float] = field(default_factory=dict)
    # Cases that are shown beside the others and are no peers: a floor, another setting of ours.
    apart: tuple[str, ...] = ()
    # Raises where the results are not what they should be. Runs after the last round.
    check: Callable[[], None] = lambda: None
    # Removes what the line has made.
    clean: Callable[[], None] = lambda: None
    # Peers that could not take part, with the reason.
    missing: dict[str, str] = field(default_factory=dict)


@dataclass
class Figure:
    """What a case of a line came to."""
    case: str
    seconds: float
    rate: float
    # Of the rounds: the peer's time over ours. None for ours.
    ratio: float | None
    least: float | None
    most: float | None


class Peer:
    """A peer in a process of its own, one of the `peers/`, which is told what to do and says how long it took."""

    def __init__(self, program, word):
        words = [sys.executable, Path(__file__).parent / "peers" / program, word]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", word

    def ask(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(line: Line, rounds: int) -> list[Figure]:
    names = list(line.cases)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds = line.cases[name]()
            if number:
                times[name].append(seconds)
    line.check()
    figures = []
    for name in names:
        seconds = statistics.median(times[name])
        ratios = sorted(theirs / ours for theirs, ours in zip(times[name], times[OURS])) if name != OURS else [None]
        middle = statistics.median(ratios) if name != OURS else None
        figures.append(Figure(name, seconds, line.work / seconds, middle, ratios[0], ratios[-1]))
    return figures


def verdicts(line: Line, figures: list[Figure]) -> list[tuple[str, float, float]]:
    """For each target: against whom, the ratio that is wanted, the one that was found."""
    found = {figure.case: figure.ratio for figure in figures if figure.ratio is not None}
    peers = {name: ratio for name, ratio in found.items() if name not in line.apart}
    told = []
    for name, wanted in line.targets.items():
        if name == "best" and peers:
            best = min(peers, key=peers.get)
            told.append((f"best ({best})", wanted, peers[best]))
        elif name in found:
            told.append((name, wanted, found[name]))
    return told
