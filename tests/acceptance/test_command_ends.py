"""How programs of the user's end, and who else ends them: signals to all, children that stay, output that nobody wants."""

import os
import signal
import time

import pytest

from test_command import WORKER, decoder, program

# The whole of it may be stopped at once, as `killall5` at a shutdown does.
WAITS = """import os, sys, time
open(sys.argv[0] + f".{os.getpid()}", "w").close()
if not os.path.exists(sys.argv[0] + ".go"):
    HANDLER
    time.sleep(63)
"""
HANDLERS = {"nothing": "", "an exit code": "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))",
            "half of the rows": "import signal; signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'ro'), os._exit(0)))"}


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("is_worker", [False, True])
def test_a_signal_to_all_rejects_nothing(project, is_worker, handler):
    """The bug: what was decoded when everything got SIGTERM, as by `systemctl stop`, was rejected for good."""
    words, more = (["prep.py"], "worker = true") if is_worker else (["prep.py", "{source}"], 'output = "raw"')
    project = project(shape=(4,), decoder=decoder(*words, more=more))
    last = "for line in sys.stdin:\n    print('rows 1\\nrowsdone', flush=True)\n" if is_worker else "sys.stdout.write('rows')\n"
    program(project, WAITS.replace("HANDLER", HANDLERS[handler]) + last)
    with project.service() as service:
        (project.drop / "a").write_text("x")
        end = time.monotonic() + 20
        while not (found := list(project.folder.glob("prep.py.*"))):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(int(found[0].suffix[1:]), signal.SIGTERM)
        service.send_signal(signal.SIGTERM)
    assert project.count() == 0 and project.rejected() == {}, project.log()
    (project.folder / "prep.py.go").touch()
    project.once()
    assert project.rows().tobytes() == b"rows"


def test_a_signal_to_the_program_alone_is_its_reason(project):
    project = project(shape=(4,), decoder=decoder("prep.py", "{source}", more='output = "raw"'))
    program(project, "import os; os.kill(os.getpid(), 15)")
    (project.drop / "a").write_text("x")
    project.once(check=3)
    assert project.rejected()["a"].startswith("the program was killed by signal 15")


def test_children_that_stay_and_output_that_nobody_wants_hold_nothing_up(project):
    """The bug: the decode thread waited for `timeout`, a minute or a day."""
    project = project(shape=(4,), watch='order = "name"', decoder=decoder("prep.py", "{source}", more='timeout = "60s"\noutput = "raw"'))
    program(project, "import os, sys\nexec(open(sys.argv[1]).read())\n")
    (project.drop / "a").write_text("os.system('sleep 64 &'); os.write(1, b'goodrows')")
    (project.drop / "b").write_text("os.system('sleep 64 &'); sys.exit(3)")
    start = time.monotonic()
    project.once(check=3)
    assert time.monotonic() - start < 20
    # What the child would still have written is not known.
    assert project.count() == 0
    assert project.rejected()["a"].startswith("the program ended, and what it had started still holds its output open")
    assert project.rejected()["b"].startswith("the program ended with exit code 3")
    # One that has more to say is heard.
    (project.drop / "c").write_text("os.write(1, b'good'); os.system('(sleep 1; printf rows) &')")
    project.once(check=3)
    assert project.rows().tobytes() == b"goodrows"
    assert "sleep 64" not in os.popen("ps -eo args").read()


def test_an_array_of_another_kind_is_not_read_to_its_end(project):
    project = project(shape=(4,), decoder=decoder("prep.py", "{source}", more='timeout = "60s"'))
    program(project, "import numpy, sys; numpy.save(sys.stdout.buffer, numpy.zeros((1_000_000, 4), 'f8'))")
    (project.drop / "a").write_text("x")
    start = time.monotonic()
    project.once(check=3)
    assert time.monotonic() - start < 20
    assert "f8" in project.rejected()["a"]


def test_a_worker_that_never_rests_is_stopped(project):
    project = project(shape=(4,), decoder=decoder("worker.py", more='worker = true\ntimeout = "60s"'))
    program(project, WORKER, "worker.py")
    with project.service():
        (project.drop / "a").write_text("open('begun', 'w').close()\nwhile True: out.write(b'working\\n' * 999)")
        end = time.monotonic() + 20
        while not (project.folder / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert project.rejected() == {}


def test_what_a_worker_says_behind_its_answer_is_no_answer(project):
    """The bug: it was taken for the next source's, whose rows went to the one behind it, and so on."""
    project = project(shape=(4,), watch='order = "name"', service="[service]\nworkers = 1",
                      decoder=decoder("worker.py", more="worker = true"))
    program(project, WORKER, "worker.py")
    (project.drop / "a").write_text("out.write(b'rows 1\\naaaadone\\nrows 1\\nXXXXdone\\n')")
    for name in "bcd":
        (project.drop / name).write_text(f"out.write(b'rows 1\\n{name * 4}done\\n')")
    project.once()
    assert project.rows().tobytes() == b"aaaabbbbccccdddd"
    assert project.ledger("SELECT path FROM sources ORDER BY first_row") == [(f"drop/{name}",) for name in "abcd"]


def test_what_a_worker_says_late_is_no_answer(project):
    """The bug: it was looked for only in the moment in which the worker was told of its next source."""
    project = project(shape=(4,), watch='order = "name"', service="[service]\nworkers = 1",
                      decoder=decoder("worker.py", more="worker = true"))
    program(project, WORKER, "worker.py")
    (project.drop / "a").write_text("out.write(b'rows 1\\naaaadone\\n'); out.flush(); time.sleep(0.3)\n"
                                    "out.write(b'rows 1\\nXXXXdone\\n'); out.flush(); time.sleep(0.5)")
    for name in "bcd":
        (project.drop / name).write_text(f"time.sleep(0.1); out.write(b'rows 1\\n{name * 4}done\\n')")
    assert "a worker went on behind `done` or `error`: it is replaced" in project.once().stderr
    assert project.rows().tobytes() == b"aaaabbbbccccdddd"
    assert project.ledger("SELECT path FROM sources ORDER BY first_row") == [(f"drop/{name}",) for name in "abcd"]


def test_workers_end_side_by_side(project):
    """The bug: each got its half second behind the others', 4 s for eight of them."""
    project = project(shape=(4,), service="[service]\nworkers = 8", decoder=decoder("worker.py", more="worker = true"))
    program(project, WORKER + "time.sleep(60)\n", "worker.py")
    for name in "abcdefgh":
        (project.drop / name).write_text("time.sleep(1); out.write(b'rows 1\\nrowsdone\\n')")
    with project.service():
        project.wait_for_rows(8)
        start = time.monotonic()
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("deletes", [True, False])
def test_a_program_that_takes_its_source_away_is_told(project, deletes):
    """The bug: the rows were dropped, and nothing told of it."""
    away = "os.remove(sys.argv[1])" if deletes else "os.rename(sys.argv[1], sys.argv[1] + '.done')"
    project = project(shape=[2], decoder=decoder("prep.py", "{source}", more='output = "raw"'),
                      watch='include = ["**/*.bin"]')
    program(project, f"import os, sys\nsys.stdout.write('ab')\n{away}\n")
    (project.drop / "a.bin").write_bytes(b"x")
    done = project.once(check=3 if deletes else 0)
    assert project.count() == 0
    if deletes:
        reason = project.rejected()["a.bin"]
        assert reason.startswith("the file was deleted while the program read it")
    else:
        assert "a.bin" in done.stderr and "the file was moved away while the program read it" in done.stderr
        assert project.rejected() == {}
    program(project, "import sys\nsys.stdout.write('ab')\n")
    (project.drop / "a.bin").write_bytes(b"x")
    project.once()
    assert project.rows().tolist() == [[97, 98]]
