import pytest

from harness import PROGRAM, Project


def pytest_configure():
    if not PROGRAM.exists():
        pytest.exit(f"{PROGRAM} is missing: build it with `cargo build --release`", returncode=2)


@pytest.fixture
def project(tmp_path):
    """Makes a project with the given settings."""
    return lambda **settings: Project(tmp_path, **settings)
