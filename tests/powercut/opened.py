"""A disk after a power cut, opened for the check: its files, and the program's next start on it.

`mounted` mounts it here, at a loop device. Where that cannot be, `unpacked` has a guest mount it, run the program and hand out
the files as archives. Either way mounting replays the filesystem's journal, and the program starts on that filesystem.
"""

import contextlib
import shutil
import subprocess
import tarfile
from typing import NamedTuple

from guest import drive, write_archive

# Room for one archive on the disk that the guest writes them to.
SLOT_BYTES = 64 << 20
# So many disks are given to one guest.
BATCH = 5
STAGES = ("before", "recovered", "complete")
# Copies of one xfs have the same UUID, which would keep a second run from mounting.
OPTIONS = {"ext4": "loop", "xfs": "loop,nouuid"}

INSPECT = """
slot=0
put() {{
    tar -cf - -C $1 . | dd of={out} bs=1M iflag=fullblock seek=$((slot * {slot_mib})) conv=notrunc 2>/dev/null
    slot=$((slot + 1))
}}
start() {{
    /npy-ingest --config /mnt/ingest.toml --once > /tmp/out 2> /tmp/once
    echo $? > /tmp/code
    /npy-ingest --config /mnt/ingest.toml verify --deep --json > /tmp/verify 2>&1
    cp /tmp/once /tmp/code /tmp/verify /mnt/start/
}}
mkdir /empty
for disk in {disks}; do
    mount -t {filesystem} /dev/$disk /mnt || {{ put /empty; put /empty; put /empty; continue; }}
    put /mnt
    mkdir -p /mnt/start
    start
    put /mnt
    cd /mnt/staging
    find . -type f | while read -r file; do
        mkdir -p "../drop/${{file%/*}}"
        mv "$file" "../drop/$file"
    done
    cd /
    start
    put /mnt
    umount /mnt || echo "GUEST-FAULT umount"
done
echo GUEST-DONE
"""


class MountFault(Exception):
    """The filesystem itself did not survive."""


class Start(NamedTuple):
    """How the program's start ended, and what `verify --deep --json` said afterwards."""

    code: int
    errors: str
    verdict: str


class Mounted:
    def __init__(self, root, program):
        self.root, self.program = root, program

    def start(self):
        once = self.run("--once")
        return Start(once.returncode, once.stderr, self.run("verify", "--deep", "--json").stdout)

    def run(self, *words):
        command = [self.program, "--config", self.root / "ingest.toml", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    def drop_the_rest(self):
        for source in [path for path in (self.root / "staging").rglob("*") if path.is_file()]:
            target = self.root / "drop" / source.relative_to(self.root / "staging")
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)


@contextlib.contextmanager
def mounted(image, folder, filesystem, program):
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", filesystem, "-o", OPTIONS[filesystem], image, folder], capture_output=True, text=True)
    if done.returncode:
        raise MountFault(done.stderr.strip())
    try:
        yield Mounted(folder, program)
    finally:
        subprocess.run(["umount", folder], check=True)


def can_mount(folder):
    """Whether this machine has loop devices and lets us mount. Tried, since a container may show what it does not allow."""
    image, target = folder / "try.img", folder / "try"
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    target.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-o", "loop", image, target], capture_output=True).returncode:
        return False
    subprocess.run(["umount", target], check=True)
    return True


class Unpacked:
    """The same disk at three times, as the guest has handed it out."""

    def __init__(self, folder, number):
        self.folders = [folder / f"{number}-{stage}" for stage in STAGES]
        self.root = self.folders[0]

    def start(self):
        self.root = self.folders[self.folders.index(self.root) + 1]
        texts = {name: (self.root / "start" / name).read_text() for name in ("code", "once", "verify")}
        return Start(int(texts["code"]), texts["once"], texts["verify"])

    def drop_the_rest(self):
        """The guest has done so."""

    @contextlib.contextmanager
    def opened(self):
        if not any(self.root.iterdir()):
            raise MountFault("the guest could not mount it")
        yield self


def unpacked(guest, images, folder, filesystem):
    """One guest looks after all of these images. Gives what can be opened, in the same order."""
    target = folder / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    disks = [f"vd{letter}" for letter in "abcdef"[:len(images) + 1]]
    out = folder / "out.img"
    with open(out, "wb") as file:
        file.truncate(len(images) * len(STAGES) * SLOT_BYTES)
    script = INSPECT.format(out=f"/dev/{disks[-1]}", disks=" ".join(disks[:-1]), filesystem=filesystem,
                            slot_mib=SLOT_BYTES >> 20)
    initial = folder / "initramfs"
    write_archive(initial, guest.content(filesystem, script), ["proc", "sys", "dev", "mnt", "tmp"])
    guest.boot(folder, initial, [word for number, disk in enumerate([*images, out]) for word in drive(disk, number)])
    with open(out, "rb") as file:
        for number in range(len(images)):
            for place, stage in enumerate(STAGES):
                file.seek((number * len(STAGES) + place) * SLOT_BYTES)
                with tarfile.open(fileobj=file, mode="r|") as archive:
                    archive.extractall(target / f"{number}-{stage}", filter="fully_trusted")
    out.unlink()
    return [Unpacked(target, number) for number in range(len(images))]
