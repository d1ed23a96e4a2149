"""The guest: Debian's cloud kernel, an initial file system made here, and QEMU that logs what is written to the disk."""

import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

# The end of the disk is not part of the filesystem: there the guest writes what it has seen.
MARKS_BYTES = 1 << 20
FILESYSTEM_BYTES = {"ext4": 256 << 20, "xfs": 320 << 20}
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
TIMEOUT_S = 900

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
for module in {modules}; do insmod /modules/$module || echo "GUEST-FAULT module $module"; done
{script}
poweroff -f
"""

LIFE = """
mount -t {filesystem} /dev/vda /mnt || echo "GUEST-FAULT mount"
if [ ! -e /mnt/ingest.toml ]; then
    cp -r /project/staging /mnt/staging
    mkdir -p /mnt/drop/frames /mnt/drop/moved /mnt/drop/deleted
    sync
    cp /project/ingest.toml /mnt/ingest.toml
    sync
fi
echo {writeback} > /proc/sys/vm/dirty_writeback_centisecs
echo {writeback} > /proc/sys/vm/dirty_expire_centisecs
{preload} /guest /npy-ingest /mnt /dev/vda {marks_start} {count} {seed} frames moved deleted
umount /mnt || echo "GUEST-FAULT umount"
"""


class GuestFault(Exception):
    """The guest did not do what it should; the text has the end of its console."""


def make_filesystem(filesystem, image):
    size = FILESYSTEM_BYTES[filesystem]
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run([*MAKE[filesystem], image], check=True)
    with open(image, "r+b") as file:
        file.truncate(size + MARKS_BYTES)


class Guest:
    """What all runs have in common: the kernel with its modules, the programs with their libraries."""

    def __init__(self, kernel_folder, program, agent, shim):
        self.kernel = next(Path(kernel_folder, "boot").glob("vmlinuz-*"))
        self.modules = {path.stem: path for path in Path(kernel_folder, "lib/modules").rglob("*.ko")}
        self.files = {
            "bin/busybox": Path(shutil.which("busybox")),
            "npy-ingest": Path(program),
            "guest": Path(agent),
            "shim.so": Path(shim),
        }
        for binary in (program, agent):
            for library in libraries(binary):
                self.files[str(library).lstrip("/")] = library

    def live(self, folder, filesystem, disk, log, sources, config, count, seed, broken="none", writeback=500):
        """One life: boots, and lets the service take up to `count` sources, on a disk that logs all writes to `log`."""
        preload = "" if broken == "none" else f"NO_SYNC_OF={broken} SERVICE_PRELOAD=/shim.so"
        script = LIFE.format(
            filesystem=filesystem, writeback=writeback, preload=preload, marks_start=FILESYSTEM_BYTES[filesystem],
            count=count, seed=seed)
        files = self.content(filesystem, script)
        files.update({f"project/staging/{source.below}": source.content for source in sources})
        files["project/ingest.toml"] = config.encode()
        initial = folder / "initramfs"
        write_archive(initial, files, ["proc", "sys", "dev", "mnt", "tmp"])
        log.write_bytes(b"")
        return self.boot(folder, initial, drive(disk, 0, log))

    def content(self, filesystem, script):
        """The files of a guest that runs `script`."""
        names = self.needed(["virtio_pci", "virtio_blk", filesystem])
        files = {name: path.read_bytes() for name, path in self.files.items()}
        files.update({f"modules/{name}.ko": self.modules[name].read_bytes() for name in names})
        files["init"] = INIT.format(modules=" ".join(f"{name}.ko" for name in names), script=script).encode()
        return files

    def boot(self, folder, initial, drives):
        """Runs the guest to its end, and returns what stood on its console."""
        console = folder / "console.txt"
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "512",
            "-machine", "pc,accel=tcg",
            # On a busy machine the emulated timer is late, which the kernel would take for a broken one.
            "-kernel", self.kernel, "-initrd", initial, "-append", "console=ttyS0 panic=-1 quiet no_timer_check",
            "-serial", f"file:{console}", *drives,
        ]
        begun = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise GuestFault(f"no end after {TIMEOUT_S} s; its console:\n{tail(console)}") from None
        if done.returncode:
            raise GuestFault(f"QEMU ended with {done.returncode}: {done.stderr}")
        text = console.read_text(errors="replace")
        if "GUEST-DONE" not in text or "GUEST-FAULT" in text or "panicked" in text:
            raise GuestFault(f"after {time.monotonic() - begun:.0f} s; its console:\n{tail(console)}")
        return text

    def needed(self, wanted):
        """The modules in the order in which they must be loaded. One that is not there is part of the kernel."""
        order = []

        def visit(name):
            path = self.modules.get(name) or self.modules.get(name.replace("_", "-"))
            if path is None or path.stem in order:
                return
            depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
            for other in filter(None, depends[1].decode().split(",") if depends else []):
                visit(other)
            order.append(path.stem)

        for name in wanted:
            visit(name)
        return order


def drive(image, number, log=None):
    """QEMU's options for a disk, the guest's `vda` if `number` is 0. The image ignores flushes: what it holds after a crash
    of this machine is not used. So a flush takes its place in the log at the moment when it is asked for."""
    node = f"disk{number}"
    options = ["-blockdev", f"driver=raw,node-name={node},file.driver=file,file.filename={image},cache.no-flush=on"]
    if log:
        options += ["-blockdev", f"driver=file,node-name=log{number},filename={log},cache.no-flush=on"]
        options += ["-blockdev", f"driver=blklogwrites,node-name=logged{number},file={node},log=log{number},"
                                 "log-sector-size=512"]
        node = f"logged{number}"
    return [*options, "-device", f"virtio-blk-pci,drive={node},write-cache=on"]


def libraries(binary):
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}


def tail(console):
    return "\n".join(console.read_text(errors="replace").splitlines()[-25:]) if console.exists() else "(nothing)"


def write_archive(path, files, folders):
    """An initial file system: a cpio archive in the "newc" format (Linux, buffer-format.rst)."""
    everything = {folder: None for folder in folders}
    for name, content in files.items():
        for parent in reversed(Path(name).parents[:-1]):
            everything.setdefault(str(parent), None)
        everything[name] = content
    with open(path, "wb") as archive:
        for number, (name, content) in enumerate([*everything.items(), ("TRAILER!!!", b"")], start=1):
            mode = stat.S_IFDIR | 0o755 if content is None else stat.S_IFREG | 0o755
            fields = (number, mode, 0, 0, 1, 0, len(content or b""), 0, 0, 0, 0, len(name) + 1, 0)
            head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
            archive.write(head + bytes(-len(head) % 4))
            archive.write((content or b"") + bytes(-len(content or b"") % 4))
