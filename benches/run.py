"""See `run`. Prints a table for each topic and writes everything to table.md, table.json and ratios.svg."""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from pairs import OURS, measure, verdicts
from place import Place

TOPICS = ["appends", "images", "videos", "sound", "logs", "latency", "readers"]


def arguments():
    words = argparse.ArgumentParser(prog="benches/run")
    words.add_argument("topics", nargs="*", help=f"of {', '.join(TOPICS)}; all unless named")
    words.add_argument("--program", type=Path, required=True, help=argparse.SUPPRESS)
    words.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk that is measured")
    words.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a folder on a tmpfs")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--scale", type=float, default=1.0, help="of the amount of work")
    words.add_argument("--only", default="", help="lines whose title holds this")
    words.add_argument("--without", default="", help="peers to leave out, with commas between them")
    words.add_argument("--out", type=Path, default=Path("target/bench"), help="where the tables go")
    return words.parse_args()


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the start"


def shown(line, figures):
    yield f"\n### {line.title}\n"
    yield f"| | seconds | {line.unit} a second | ours is faster by | spread |"
    yield "|---|---|---|---|---|"
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        spread = "" if figure.ratio is None else f"{figure.least:.2f} to {figure.most:.2f}"
        note = " (no peer)" if figure.case in line.apart else ""
        yield f"| {figure.case}{note} | {figure.seconds:.3g} | {figure.rate:,.4g} | {ratio} | {spread} |"
    for peer, reason in line.missing.items():
        yield f"| {peer} | | | | {reason} |"
    for peer, wanted, found in verdicts(line, figures):
        yield f"\nTarget: {wanted:g} x {peer}. Found: {found:.2f}{'' if found >= wanted else ', short of it'}."


def plot(path, told):
    """Each peer's ratio as a point, one line of the plot for each line of the tables."""
    try:
        import matplotlib
    except ImportError:
        return f"{path} not drawn: matplotlib is not installed"
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.42 * len(told)))
    for height, entry in enumerate(reversed(told)):
        peers = [found for found in entry["figures"] if found["ratio"] is not None and found["case"] not in entry["apart"]]
        for found in peers:
            axes.plot([found["least"], found["most"]], [height, height], color="#b9c4cf", linewidth=4, zorder=1)
            axes.plot(found["ratio"], height, "o", color="#1f5f99", zorder=2)
            axes.annotate(found["case"], (found["ratio"], height), (0, 5), textcoords="offset points", fontsize=7, ha="center")
    axes.axvline(1, color="#c0392b", linewidth=1)
    axes.set_yticks(range(len(told)), [entry["title"] for entry in reversed(told)], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("speed of npy-ingest over the peer's: median and spread of the rounds")
    figure.tight_layout()
    figure.savefig(path)
    return f"{path} drawn"


def main():
    options = arguments()
    unknown = set(options.topics) - set(TOPICS)
    if unknown:
        sys.exit(f"benches/run: there is no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    told, text = [], [f"Measured on {machine()}; {options.rounds} rounds, scale {options.scale:g}."]
    print(text[0], flush=True)
    with tempfile.TemporaryDirectory(dir=options.disk, prefix="npy-ingest-bench-") as disk, \
            tempfile.TemporaryDirectory(dir=options.memory, prefix="npy-ingest-bench-") as memory:
        place = Place(Path(disk), Path(memory), options.program.resolve(), options.scale, set(options.without.split(",")) - {""})
        for topic in options.topics or TOPICS:
            module = importlib.import_module(f"topics.{topic}")
            text.append(f"\n## {topic}: {module.__doc__.strip().splitlines()[0]}")
            print(text[-1], flush=True)
            for title, make in module.LINES.items():
                if options.only not in title:
                    continue
                line = make(place, title)
                figures = measure(line, options.rounds)
                line.clean()
                assert OURS in line.cases
                told.append({"topic": topic, "title": line.title, "unit": line.unit, "work": line.work, "apart": line.apart,
                             "missing": line.missing, "figures": [asdict(figure) for figure in figures],
                             "targets": [{"against": against, "wanted": wanted, "found": found}
                                         for against, wanted, found in verdicts(line, figures)]})
                lines = list(shown(line, figures))
                text.extend(lines)
                print("\n".join(lines), flush=True)
    (options.out / "table.md").write_text("\n".join(text) + "\n")
    (options.out / "table.json").write_text(json.dumps({"machine": machine(), "rounds": options.rounds, "scale": options.scale, "lines": told}, indent=1))
    print(f"\n{options.out}/table.md and table.json written; {plot(options.out / 'ratios.svg', told)}")


if __name__ == "__main__":
    main()
