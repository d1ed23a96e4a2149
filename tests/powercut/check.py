"""What must hold on the disk after a power cut: before any recovery, after the next start, and once every source was taken."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from workload import DATASETS


class Array:
    """A `.npy` file: opened by NumPy as any reader does, and its bytes, which may reach further than its count."""

    def __init__(self, path, row_shape, dtype):
        rows = np.load(path, mmap_mode="r")
        if rows.shape[1:] != row_shape or rows.dtype != np.dtype(dtype):
            raise ValueError(f"{path.name} is {rows.shape} {rows.dtype}")
        self.count = len(rows)
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            self.bytes = file.read()
        self.row_bytes = np.dtype(dtype).itemsize * int(np.prod(row_shape, dtype=int))
        self.shape, self.dtype = row_shape, dtype

    def raw(self, count):
        """The bytes of the first `count` rows, as far as the file has them."""
        return self.bytes[:count * self.row_bytes]

    def rows(self):
        return np.frombuffer(self.raw(self.count), self.dtype).reshape(-1, *self.shape)


class Dataset:
    """Everything of one dataset as it is on the disk. Nothing is changed: the ledger is read from a copy."""

    def __init__(self, root, name):
        self.name, self.root = name, root
        shape, dtype, columns = DATASETS[name]
        stem = root / "data" / name
        self.problems = []
        self.main = self.open(stem.with_suffix(".npy"), shape, dtype)
        self.columns = {key: self.open(Path(f"{stem}.{key}.npy"), (), of) for key, of in columns.items()}
        self.rows, self.entries, self.labels = self.ask_ledger(stem.with_suffix(".ledger.db"))
        names = stem.with_suffix(".labels.json")
        self.names = json.loads(names.read_bytes()) if names.exists() else []

    def open(self, path, shape, dtype):
        try:
            return Array(path, shape, dtype)
        except FileNotFoundError:
            return None
        except (ValueError, OSError, EOFError) as error:
            self.problems.append(f"cannot be opened: {path.name}: {error}")
            return None

    def ask_ledger(self, path):
        if not path.exists():
            return 0, [], []
        with tempfile.TemporaryDirectory() as folder:
            for suffix in ("", "-wal"):
                if Path(f"{path}{suffix}").exists():
                    shutil.copy(f"{path}{suffix}", f"{folder}/ledger.db{suffix}")
            with contextlib.closing(sqlite3.connect(f"{folder}/ledger.db")) as ledger:
                try:
                    if ledger.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                        self.problems.append("the ledger is damaged")
                    if not ledger.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                        return 0, [], []    # its making was cut short
                    rows = ledger.execute("SELECT rows FROM dataset").fetchone()[0]
                    entries = ledger.execute(
                        "SELECT path, status, id, first_row, rows FROM sources ORDER BY first_row, id").fetchall()
                    labels = [name for (name,) in ledger.execute("SELECT name FROM labels ORDER BY id")]
                    return rows, entries, labels
                except sqlite3.DatabaseError as error:
                    self.problems.append(f"the ledger cannot be read: {error}")
                    return 0, [], []

    def paths(self, status):
        return Counter(path for path, of, *_ in self.entries if of == status)

    def files(self):
        files = {"main": self.main, **self.columns}
        return {key: file for key, file in files.items() if file is not None}


class Report:
    """What was found on one disk. Notes are known and accepted; problems are not."""

    def __init__(self):
        self.problems, self.notes = [], Counter()

    def problem(self, stage, dataset, text):
        self.problems.append(f"{stage}: {dataset}: {text}")


def read_all(root):
    return {name: Dataset(root, name) for name in DATASETS}


def check_before_recovery(report, root, shown, final, sources, least):
    """`shown`: counts that readers have seen before the cut. `final`: the datasets as they were at the end of the run, of
    which this must be a beginning. `least`: rows that were committed when the run began. Returns the ledgers' counts."""
    committed = {}
    for name, found in read_all(root).items():
        problem = lambda text: report.problem("before recovery", name, text)    # noqa: B023, used in this round only
        for text in found.problems:
            problem(text)
        published = found.main.count if found.main else 0
        readers_saw = shown.get(name, 0)
        committed[name] = found.rows
        if found.rows < max(readers_saw, least.get(name, 0)):
            problem(f"readers were shown {readers_saw} rows, the ledger has {found.rows}")
        if published > found.rows:
            problem(f"{published} rows are published, {found.rows} committed")
        if found.main is None and found.rows:
            problem(f"no main file, and {found.rows} rows are committed")
        if published < readers_saw:
            report.notes["the main file's count is lower than readers saw"] += 1
        behind = [key for key, file in found.files().items() if file.count < published]
        if behind:
            problem(f"{behind} are behind the main file's {published} rows")
        if set(found.files()) != {"main", *found.columns} and found.rows:
            problem(f"of all files there are {sorted(found.files())}, and {found.rows} rows are committed")
        for key, file in found.files().items():
            expected = final[name].files()[key].raw(found.rows)
            if file.raw(found.rows) != expected:
                wrong = first_difference(file.raw(found.rows), expected) // file.row_bytes
                problem(f"{key}: committed row {wrong} of {found.rows} (published {published}) is missing or wrong")
        label = found.columns.get("label")
        ids = np.frombuffer(label.raw(published), "<i8") if label else np.array([])
        if len(ids) and (ids.max() >= len(found.names) or found.names != found.labels[:len(found.names)]):
            problem(f"labels.json has {found.names}, and class {ids.max()} is published")
        check_places(lambda text: problem(text), root, found, sources)
    return committed


def aside(root, source):
    path = root / source.path
    return path.with_name(f".{path.name}.npy-ingest-aside")


def check_places(problem, root, found, sources):
    """Every source is where it was, or where a commit allows it to be; never in two places, never changed."""
    accepted, rejected = found.paths("committed"), found.paths("rejected")
    for source in sources.values():
        if source.dataset != found.name:
            continue
        places = {
            "staging": root / "staging" / source.below,
            "drop": root / source.path,
            # On its way: the next start gives it its name.
            "aside": aside(root, source),
            "done": root / "done" / source.below,
            "failed": root / "failed" / source.below,
        }
        places = {key: path for key, path in places.items() if path.exists()}
        if len(places) > 1:
            problem(f"{source.below} is in {sorted(places)}")
        for key, path in places.items():
            if path.read_bytes() != source.content:
                problem(f"{path.relative_to(root)} has other bytes than before")
            if key == "done" and source.path not in accepted:
                problem(f"{source.below} was moved without a commit")
            if key == "failed":
                reason = Path(f"{path}.reason.txt")
                if source.path not in rejected:
                    problem(f"{source.below} was moved as rejected without an entry")
                if not reason.exists() or not reason.read_text().strip():
                    problem(f"{source.below} was moved as rejected without a reason")
        if not places and source.path not in accepted:
            problem(f"{source.below} is gone and not committed: lost")
        if not places and found.name != "deleted":
            problem(f"{source.below} is gone: lost")


def first_difference(left, right):
    shorter = min(len(left), len(right))
    a, b = np.frombuffer(left[:shorter], "u1"), np.frombuffer(right[:shorter], "u1")
    different = np.flatnonzero(a != b)
    return int(different[0]) if len(different) else shorter


def check_start(report, start, stage):
    """The next start of the real program, then its own check of everything."""
    if start.code not in (0, 3) or "panicked" in start.errors:
        report.problem(stage, "all", f"--once ended with {start.code}: {start.errors.strip()[-600:]}")
        return False
    try:
        is_sound = json.loads(start.verdict)["ok"]
    except ValueError:
        is_sound = False
    if not is_sound:
        report.problem(stage, "all", f"verify --deep: {start.verdict.strip()[-600:]}")
    return is_sound


def check_after_recovery(report, root, stage, committed, final, sources, taken):
    """Every source in `taken` is there exactly once with its rows; committed rows are those that they were."""
    for name, found in read_all(root).items():
        problem = lambda text: report.problem(stage, name, text)    # noqa: B023, used in this round only
        for text in found.problems:
            problem(text)
        files = found.files()
        if set(files) != {"main", *found.columns}:
            problem(f"of all files there are {sorted(files)}")
            continue
        for key, file in files.items():
            if file.count != found.rows or len(file.bytes) != found.rows * file.row_bytes:
                problem(f"{key}: {file.count} rows published, {len(file.bytes)} bytes, {found.rows} committed")
            if file.raw(committed[name]) != final[name].files()[key].raw(committed[name]):
                problem(f"{key}: committed rows have changed")
        if found.names != found.labels and "label" in found.columns:
            problem(f"labels.json has {found.names}, the ledger {found.labels}")
        check_entries(problem, found, sources)
        mine = [source for source in taken if source.dataset == name]
        for kind, entries, wanted in (
            ("committed", found.paths("committed"), {source.path for source in mine if source.rows is not None}),
            ("rejected", found.paths("rejected"), {source.path for source in mine if source.rows is None}),
        ):
            doubled = sorted(path for path, times in entries.items() if times > 1)
            missing, foreign = sorted(wanted - set(entries)), sorted(set(entries) - wanted)
            if doubled or missing or foreign:
                problem(f"{kind}: lost {missing[:3]}, doubled {doubled[:3]}, unexpected {foreign[:3]}")
        check_places(lambda text: problem(text), root, found, sources)
        for source in mine:
            stays = name == "frames" or name == "deleted" and source.rows is None
            if aside(root, source).exists():
                problem(f"{source.path} is still set aside")
            if (root / source.path).exists() != stays:
                problem(f"{source.path} {'is gone' if stays else 'was not disposed of'}")


def check_entries(problem, found, sources):
    """The rows of each entry are those of its source, in every file, one entry behind the other."""
    main, end = found.main.rows(), 0
    columns = {key: column.rows() for key, column in found.columns.items()}
    for path, status, id, first, count in found.entries:
        if status != "committed":
            continue
        if first != end:
            problem(f"{path} begins at row {first}, and the one before it ends at {end}")
        end = first + count
        expected, part = sources[path].rows, slice(first, end)
        if expected is None or not np.array_equal(main[part], expected):
            problem(f"{path}: its rows are not its own")
        if not (columns["source"][part] == id).all() or not np.array_equal(columns["index"][part], np.arange(count)):
            problem(f"{path}: source or index is wrong")
        if "label" in columns and {found.labels[label] for label in columns["label"][part]} != {sources[path].label}:
            problem(f"{path}: its label is wrong")
        if "split" in columns and (len(set(columns["split"][part])) != 1 or columns["split"][part][0] > 1):
            problem(f"{path}: its split is wrong")
    if end != found.rows:
        problem(f"the entries have {end} rows, the dataset {found.rows}")


def dropped(root, sources):
    """The sources that are no longer in staging."""
    return [source for source in sources.values() if not (root / "staging" / source.below).exists()]
