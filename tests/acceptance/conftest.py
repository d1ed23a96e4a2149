import pytest

from harness import PROGRAM, Project
from plain_logs import ALL, PLAIN


def pytest_configure():
    if not PROGRAM.exists():
        pytest.exit(f"{PROGRAM} is missing: build it with `cargo build --release`", returncode=2)


@pytest.fixture
def project(tmp_path):
    """Makes a project with the given settings."""
    return lambda **settings: Project(tmp_path, **settings)


@pytest.fixture
def plain(project):
    """A project that follows logs of one number a line."""
    return project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL + '\nrescan = "1s"')
