"""`command`: programs of the user's, well behaved and otherwise."""

import json
import os
import re
import shutil
import sys
import time

import blake3
import numpy as np
from PIL import Image

from harness import ROOT, make_pngs, wait_for

PYTHON = sys.executable


def program(project, text, name="prep.py"):
    (project.folder / name).write_text(text)


def decoder(*argv, more=""):
    return f"[dataset.command]\nargv = {json.dumps([PYTHON, *argv])}\n{more}"


def examples():
    """The programs of the documentation, as printed there."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "command.md").read_text(), re.S)
    return {re.match(r"# (\w+\.py)", block)[1]: block for block in blocks}


def expected(paths, size):
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize(size)) for path in paths])


def test_the_example_of_the_documentation(project):
    project = project(shape=(224, 224, 3), watch='include = ["**/*.png"]\norder = "name"', decoder=decoder("prep.py", "{source}"))
    program(project, examples()["prep.py"])
    names = make_pngs(project.drop, 4)
    (project.drop / "bad.png").write_text("no picture")
    project.once(check=3)
    assert np.array_equal(project.rows(), expected([project.drop / name for name in names], (224, 224)))
    reason = project.rejected()["bad.png"]
    assert reason.startswith("the program ended with exit code 1; its standard error ends: ")
    assert "UnidentifiedImageError" in reason


def test_the_worker_of_the_documentation(project):
    project = project(shape=(24, 32, 3), watch='include = ["**/*.png"]\norder = "name"',
                      service="[service]\nworkers = 2", decoder=decoder("worker.py", more="worker = true"))
    example = examples()["worker.py"]
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    # The same, and each process notes that it has started and ended.
    program(project, f"import os; open({str(project.folder)!r} + f'/started-{{os.getpid()}}', 'w').close()\n" + example
            + f"\nopen({str(project.folder)!r} + f'/ended-{{os.getpid()}}', 'w').close()\n", "worker.py")
    names = make_pngs(project.drop, 60)
    (project.drop / "000030x.png").write_text("no picture")
    project.once(check=3)
    assert np.array_equal(project.rows(), expected([project.drop / name for name in names], (32, 24)))
    assert project.rejected()["000030x.png"].startswith("the worker says: cannot identify image file")
    started = sorted(path.name[8:] for path in project.folder.glob("started-*"))
    assert 1 <= len(started) <= 2
    assert sorted(path.name[6:] for path in project.folder.glob("ended-*")) == started  # in order, not killed


def test_raw_rows_placeholders_and_standard_input(project):
    project = project(shape=(2, 3), dtype="<u2", watch='order = "name"', decoder=decoder(
        "prep.py", "{dataset}|{shape}|{dtype}|{source}", '{"json": 1}', more='output = "raw"'))
    program(project, """import sys, os
dataset, shape, dtype, source = sys.argv[1].split("|")
assert (dataset, shape, dtype, sys.argv[2]) == ("frames", "2,3", "<u2", '{"json": 1}'), sys.argv
data = sys.stdin.buffer.read()
assert data == open(source, "rb").read()
sys.stdout.buffer.write(data)
""")
    random = np.random.default_rng(0)
    data = [random.integers(0, 65536, (count, 2, 3), dtype="<u2") for count in (1, 5, 1_500_000)]
    for number, rows in enumerate(data):
        (project.drop / f"a {number} $(x).bin").write_bytes(rows.tobytes())
    os.rename(project.drop / "a 0 $(x).bin", os.fsencode(project.drop) + b"/a 0 \xff.bin")
    project.once()
    assert np.array_equal(project.rows(), np.concatenate(data))


BAD = {
    "crash": ("os.kill(os.getpid(), 11)", r"the program was killed by signal 11; it wrote nothing to standard error"),
    "code": ("print('line 1\\nwhy', file=sys.stderr); sys.exit(7)",
             r"the program ended with exit code 7; its standard error ends: line 1 \| why"),
    "hang": ("time.sleep(60)", r"the program was killed: it kept us waiting for more than 2s \(`timeout`\); .*"),
    "children": ("os.system('sleep 61 & sleep 61')", r"the program was killed: it kept us waiting for more than 2s .*"),
    "silent": ("sys.stdout.close(); os.close(1); time.sleep(60)", r"the program was killed: it kept us waiting .*"),
    "half": ("out(bytes(8 + 3))", r"the program's output: it ends within a row: 2 rows of 4 bytes and 3 bytes more; .*"),
    "half and crash": ("out(bytes(8 + 3)); sys.exit(3)", r"the program ended with exit code 3; .*"),
    "much": ("while True: out(bytes(65536))", r"the program was killed: it wrote more than 1048576 bytes \(`max_output`\); .*"),
    "nothing": ("pass", r"it gives no rows"),
    "memory": ("bytearray(2 << 30)", r"the program ended with exit code 1; its standard error ends: .*MemoryError"),
    "noise": ("sys.stderr.write('x' * 3_000_000); sys.exit(1)", r"the program ended with exit code 1; its standard error ends: x{2000}"),
}


def test_every_way_to_go_wrong_has_its_reason(project):
    project = project(shape=(4,), decoder=decoder(
        "prep.py", "{source}", more='output = "raw"\ntimeout = "2s"\nmax_output = "1MiB"\nmemory = "1GiB"'))
    program(project, """import os, sys, time
def out(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
exec(open(sys.argv[1]).read())
""")
    for name, (code, _) in BAD.items():
        (project.drop / name).write_text(code)
    (project.drop / "good").write_text("out(b'good')")
    started = time.monotonic()
    project.once(check=3)
    assert time.monotonic() - started < 40
    assert project.rows().tobytes() == b"good"
    reasons = project.rejected()
    assert sorted(reasons) == sorted(BAD)
    for name, (_, pattern) in BAD.items():
        assert re.fullmatch(pattern, reasons[name]), (name, reasons[name][:300])
    assert "sleep 61" not in os.popen("ps -eo args").read()


WORKER = """import json, os, sys, time
out = sys.stdout.buffer
for line in sys.stdin:
    source = json.loads(line)["source"]
    exec(open(source).read())
    out.flush()
"""
BAD_WORKER = {
    "crash": ("os.kill(os.getpid(), 11)", r"the worker did not answer to the end: the program was killed by signal 11; .*"),
    "crash within": ("out.write(b'rows 2\\nabcd'); out.flush(); sys.exit(5)",
                     r"the worker did not answer to the end: the program ended with exit code 5; .*"),
    "half": ("out.write(b'rows 1\\nab'); out.flush(); os.close(1); sys.exit(0)",
             r"the worker's answer: it ends after 0 of 1 rows and 2 bytes of the next; .*"),
    "hang": ("out.write(b'rows 1\\nab'); out.flush(); time.sleep(60)", r"the program was killed: it kept us waiting for more than 2s .*"),
    "much": ("out.write(b'rows 999999999\\n')\nwhile True: out.write(bytes(65536))", r"the program was killed: it wrote more than 1048576 .*"),
    "print": ("print('hello'); sys.stdout.flush()", r"the worker answered \"hello\", expected a line that begins with rows, npy, times, note, working, done or error; .*"),
    "number": ("out.write(b'rows x\\n')", r"the worker answered \"rows x\", expected a number of rows; .*"),
    "long": ("out.write(bytes(9999))", r"the worker's answer has a line of more than 4096 bytes, .*"),
    "error": ("out.write(b'rows 1\\nabcderror not today\\n')", r"the worker says: not today"),
    "long error": ("out.write(b'error because ' + b'x' * 99_999 + b'\\n')", r"the worker says: because x{3900,}…"),
    "times left": ("out.write(b'times 2\\n' + bytes(16) + b'rows 1\\nabcddone\\n')",
                   r"the worker answered `done` behind 1 times that no `rows` came for; .*"),
    "times of an array": ("out.write(b'times 1\\n' + bytes(8) + b'npy 130\\n')",
                          r"the worker answered `npy` behind 1 times that no `rows` came for; .*"),
    "time that is none": ("out.write(b'times 1\\n' + bytes(6) + b'\\xf8\\x7f' + b'rows 1\\nabcddone\\n')",
                          r"the worker's answer: time 0 of 1 is NaN, expected seconds from the source's start; .*"),
    "some times": ("out.write(b'rows 0\\ntimes 1\\n' + bytes(8) + b'rows 1\\nabcdrows 1\\nabcddone\\n')",
                   r"the worker gave times for some of the rows and none for others, expected one for each, or none; .*"),
    "none": ("out.write(b'done\\n')", r"it gives no rows"),
}


def test_a_worker_that_goes_wrong_is_replaced(project):
    project = project(shape=(4,), watch='order = "name"', service="[service]\nworkers = 1",
                      decoder=decoder("worker.py", more='worker = true\ntimeout = "2s"\nmax_output = "1MiB"'))
    program(project, WORKER, "worker.py")
    good = "out.write(b'note a word\\nrows 1\\ngoodrows 2\\nevenmoredone\\n')"
    for number, (name, (code, _)) in enumerate(BAD_WORKER.items()):
        (project.drop / f"{number:02} {name}").write_text(code)
        (project.drop / f"{number:02} {name} good").write_text(good)
    # Between two sources it may end.
    (project.drop / "98").write_text("out.write(b'rows 1\\nlastdone\\n'); out.flush(); sys.exit(0)")
    (project.drop / "99").write_text("import io, numpy; b = io.BytesIO(); numpy.save(b, numpy.full((2, 4), 65, 'u1'))\n"
                                     "out.write(b'npy %d\\n' % len(b.getvalue()) + b.getvalue() + b'done\\n')")
    project.once(check=3)
    assert project.rows().tobytes() == b"goodevenmore" * len(BAD_WORKER) + b"last" + b"A" * 8
    reasons = {name[3:]: reason for name, reason in project.rejected().items()}
    assert sorted(reasons) == sorted(BAD_WORKER)
    for name, (_, pattern) in BAD_WORKER.items():
        assert re.fullmatch(pattern, reasons[name]), (name, reasons[name][:300])
    assert project.ledger("SELECT count(*) FROM sources WHERE reason = 'a word'") == [(len(BAD_WORKER),)]


def test_a_worker_tells_times_and_that_it_gets_on(project):
    project = project(shape=(4,), watch='order = "name"', columns="time = true", service="[service]\nworkers = 1",
                      decoder=decoder("worker.py", more='worker = true\ntimeout = "1s"'))
    program(project, "import struct\n" + WORKER, "worker.py")
    times = "out.write(b'times 3\\n' + struct.pack('<3d', 0.5, 0.1, 7) + b'rows 2\\nabcdefghrows 1\\nlastdone\\n')"
    (project.drop / "a").write_text("for _ in range(4):\n    time.sleep(0.5); out.write(b'working\\n'); out.flush()\n" + times)
    (project.drop / "b").write_text("out.write(b'rows 1\\nnonedone\\n')")
    (project.drop / "c").write_text("out.write(b'times 1\\n' + bytes(8) + b'rows 2\\nabcdefghdone\\n')")
    (project.drop / "d").write_text("time.sleep(0.7); out.write(b'rows 1\\nabcd'); out.flush(); time.sleep(0.7)")
    project.once(check=3)
    assert project.rows().tobytes() == b"abcdefghlastnone"
    assert project.column("time").tolist() == [0.5, 0.1, 7.0, 0.0]
    reasons = project.rejected()
    assert reasons["c"].startswith("the worker's answer: it gave 1 times and 2 rows, expected a time for each")
    assert reasons["d"].startswith("the program was killed: it kept us waiting for more than 1s (`timeout`)")


def test_a_stop_ends_programs_and_takes_their_sources_again(project):
    project = project(shape=(4,), decoder=decoder("prep.py", "{source}", more='output = "raw"'))
    program(project, """import os, sys, time
open(sys.argv[0] + f".{os.getpid()}", "w").close()
if os.path.exists(sys.argv[0] + ".go"):
    sys.stdout.buffer.write(b"rows")
else:
    os.system("sleep 62")
""")
    with project.service():
        (project.drop / "a").write_text("x")
        end = time.monotonic() + 20
        while not list(project.folder.glob("prep.py.*")):
            assert time.monotonic() < end
            time.sleep(0.02)
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 10
    assert "sleep 62" not in os.popen("ps -eo args").read()
    assert project.count() == 0 and project.rejected() == {}
    (project.folder / "prep.py.go").touch()
    project.once()
    assert project.rows().tobytes() == b"rows"


def test_a_source_that_is_exchanged_meanwhile_is_taken_again(project):
    project = project(shape=(4,), decoder=decoder("prep.py", "{source}", more='output = "raw"'))
    program(project, """import os, sys
source = sys.argv[1]
if open(source).read() == "old!":
    with open(source + ".tmp", "w") as file:
        file.write("new!")
    os.rename(source + ".tmp", source)
sys.stdout.write(open(source).read())
""")
    (project.drop / "a").write_text("old!")
    with project.service():
        project.wait_for_rows(1)
    assert project.rows().tobytes() == b"new!"
    assert project.ledger("SELECT hash FROM sources") == [(blake3.blake3(b"new!").hexdigest(),)]


def test_sources_wait_for_a_program_that_is_not_there(project):
    project = project(shape=(4,), watch='order = "name"', decoder='[dataset.command]\nargv = ["./prep", "{source}"]\noutput = "raw"')
    for name in "abc":
        (project.drop / name).write_text(name * 4)
    for made, error in [(False, "No such file"), (True, "Permission denied")]:
        if made:
            program(project, "#!/bin/sh\ncat $1\n", "prep")
        assert "problem   the program" in project.command("check", check=1).stdout
        told = project.once(check=1).stderr
        assert error in told and told.rstrip().endswith("; 3 sources are left for the next run"), told
        assert project.ledger("SELECT count(*) FROM sources") == [(0,)]
    with project.service():
        wait_for(lambda: "paused for 1s: the program" in project.log(), project=project)
        os.chmod(project.folder / "prep", 0o755)
        project.wait_for_rows(3)
    assert project.rows().tobytes() == b"aaaabbbbcccc" and project.rejected() == {}
    assert f"program   {project.folder}/./prep\n" in project.command("check", check=0).stdout


def test_sources_wait_for_a_program_that_cannot_be_started_now(project):
    """The bug: while the program was copied anew, all sources were rejected for good."""
    project = project(shape=(4,), decoder='[dataset.command]\nargv = ["./prep", "{source}"]\noutput = "raw"')
    shutil.copy("/bin/cat", project.folder / "prep")
    (project.drop / "a").write_text("aaaa")
    with open(project.folder / "prep", "ab"):
        assert "Text file busy" in project.once(check=1).stderr
        assert project.rejected() == {}
    project.once()
    assert project.rows().tobytes() == b"aaaa"


def test_a_program_is_told_to_write_the_other_byte_order(project):
    """The bug: the reason advised a key that `command` does not have."""
    project = project(shape=(4,), dtype="<u2", decoder=decoder("prep.py"))
    program(project, "import numpy, sys; numpy.save(sys.stdout.buffer, numpy.zeros((1, 4), '>u2'))")
    (project.drop / "a").write_text("x")
    project.once(check=3)
    assert "has dtype >u2, expected <u2; the program has to write the other byte order" in project.rejected()["a"]


def test_several_notes_of_a_worker_are_kept(project):
    project = project(shape=(4,), dtype="u1", decoder=decoder("worker.py", more="worker = true"))
    program(project, WORKER, "worker.py")
    (project.drop / "a").write_text("out.write(b'note one\\nrows 1\\nabcdnote two\\ndone\\n')")
    project.once()
    assert project.ledger("SELECT reason FROM sources") == [("one; two",)]


def test_a_program_that_is_not_in_path_is_told_of(project):
    project = project(shape=(4,), decoder='[dataset.command]\nargv = ["nopeprog"]\nworker = true')
    (project.drop / "a").write_text("a")
    assert 'problem   the program "nopeprog" (`argv`) is not in PATH' in project.command("check", check=1).stdout
    assert 'the program "nopeprog" (`argv`) cannot be started: No such file' in project.once(check=1).stderr
    project.configure(shape=(4,), decoder='[dataset.command]\nargv = ["cat"]')
    assert "/cat\n" in project.command("check", check=0).stdout


def test_a_note_of_a_worker_is_no_loss(project):
    project = project(shape=(4,), dtype="u1", decoder=decoder("worker.py", more="worker = true"))
    program(project, WORKER, "worker.py")
    (project.drop / "a").write_text("out.write(b'note all well\\nrows 1\\nabcddone\\n')")
    with project.service():
        project.wait_for_rows(1)
    line, = [line for line in project.log().splitlines() if "all well" in line]
    assert " INFO " in line and "taken, with a note: all well" in line, line
    assert project.ledger("SELECT reason FROM sources") == [("all well",)]
