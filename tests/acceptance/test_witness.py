"""The check is checked: a witness of the kill tests notices each thing that must never be seen."""

import numpy as np
import pytest

from harness import ALARMS, ROOT, alarms
from stream import Stream, Violation, colours, payload
from witness import Witness


def rows_of(number, frames):
    values = [np.frombuffer(payload(0, number, frame, frames, 255), np.uint8).reshape(8, 8) for frame in range(frames)]
    return colours(np.stack(values))


@pytest.fixture
def seen(tmp_path):
    """A dataset of two sources, of one and of three rows, that a witness has looked at. And how to write another one."""
    (tmp_path / "data").mkdir()

    def write(rows, index):
        np.save(tmp_path / "data" / "a.npy", rows)
        np.save(tmp_path / "data" / "a.index.npy", np.array(index, "<u8"))

    witness = Witness(tmp_path, Stream("a", 0, True, "keep", ["index"], False, False))
    rows, index = np.concatenate([rows_of(1, 1), rows_of(2, 3)]), [0, 0, 1, 2]
    write(rows, index)
    witness.look()
    assert witness.count == 4
    return witness, write, rows, index


def test_what_is_right_is_not_complained_about(seen):
    witness, write, rows, index = seen
    write(np.concatenate([rows, rows_of(3, 2)]), [*index, 0, 1, 0])
    witness.look()
    assert witness.count == 6 and witness.sources == {1, 2, 3}


def grown(rows, more):
    return np.concatenate([rows, more])


@pytest.mark.parametrize("words, change", [
    ("the count fell from 4 to 1", lambda rows, index: (rows[:1], index)),
    ("rows that were seen before changed: \\[3\\]", lambda rows, index: (grown(rows[:3], rows[:1]), index)),
    ("values of column index that were seen before changed", lambda rows, index: (rows, [0, 0, 1, 1])),
    ("column index has 4 rows, the main file 5", lambda rows, index: (grown(rows, rows_of(3, 1)), index)),
    ("the count shows half of source 3", lambda rows, index: (grown(rows, rows_of(3, 4)[:3]), [*index, 0, 1, 2])),
    ("half a source", lambda rows, index: (grown(rows, rows_of(3, 4)[1:]), [*index, 1, 2, 3])),
    ("source 1 is there twice", lambda rows, index: (grown(rows, rows_of(1, 1)), [*index, 0])),
    ("not the pixels of any source", lambda rows, index: (grown(rows, np.zeros_like(rows[:1])), [*index, 0])),
    ("is not a row of any source", lambda rows, index: (grown(rows, colours(np.ones((1, 8, 8), np.uint8))), [*index, 0])),
    ("the index column", lambda rows, index: (grown(rows, rows_of(3, 2)), [*index, 0, 0])),
])
def test_what_is_wrong_is_seen(seen, words, change):
    witness, write, rows, index = seen
    write(*change(rows, index))
    with pytest.raises(Violation, match=words):
        witness.look()


def test_a_file_that_is_gone_or_cut_short_is_seen(seen):
    witness, *_ = seen
    content = witness.main.read_bytes()
    witness.main.write_bytes(content[:-1])
    with pytest.raises(ValueError):
        witness.look()
    witness.main.unlink()
    with pytest.raises(Violation, match="the main file is gone after 4 rows"):
        witness.look()


def test_what_raises_an_alarm_are_words_of_the_program():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    for word in ALARMS:
        assert word in source, f"the program does not say this any more: {word}"
        assert alarms(f"fine\nit says: {word} (1)\n") == [f"it says: {word} (1)"]
