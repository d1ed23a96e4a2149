"""The log of a disk's writes, and the disk as a power cut at any point of the log leaves it.

The log is that of QEMU's `blklogwrites` driver, in the format of Linux' dm-log-writes: a superblock (magic, version, number
of entries, bytes a sector), then each entry as one sector (first sector, sectors, flags, bytes of data) with its data behind
it. All numbers are little-endian. QEMU adds an entry once the write has been carried out, and tells the guest afterwards. A
flush is logged when it is asked for, as long as the disk image itself ignores flushes (`cache.no-flush=on`): it covers the
writes that stand before it, and no others.
"""

import mmap
import os
import re
import struct
import subprocess
from bisect import bisect_left
from typing import NamedTuple

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, DISCARD = 1, 4
ACKNOWLEDGEMENT = re.compile(rb"ack (\d+) ([a-z0-9= ]+)\n")


class Entry(NamedTuple):
    flags: int
    start: int      # byte on the disk
    size: int       # bytes
    data: int       # where the data is in the log


class Log:
    """Entries, and the acknowledgements among them: blocks that the guest wrote past the end of the filesystem."""

    def __init__(self, path, filesystem_bytes):
        file = open(path, "rb")
        self.bytes = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.filesystem_bytes = filesystem_bytes
        magic, version, count, sector = struct.unpack_from("<QQQI", self.bytes, 0)
        if (magic, version, sector) != (MAGIC, 1, SECTOR):
            raise ValueError(f"{path}: not a write log of version 1 with sectors of {SECTOR} bytes")
        self.entries, self.acknowledged = [], []
        at = SECTOR
        for _ in range(count):
            first, sectors, flags, _ = struct.unpack_from("<QQQQ", self.bytes, at)
            at += SECTOR
            entry = Entry(flags, first * SECTOR, sectors * SECTOR, at)
            if not flags & DISCARD:
                at += entry.size
            if entry.size and entry.start >= filesystem_bytes:
                found = ACKNOWLEDGEMENT.match(self.bytes[entry.data:entry.data + 256])
                if found:
                    counts = dict(word.split("=") for word in found[2].decode().split())
                    self.acknowledged.append((len(self.entries), {name: int(rows) for name, rows in counts.items()}))
            self.entries.append(entry)
        if not self.acknowledged:
            raise ValueError(f"{path}: no acknowledgement among {count} entries")
        self.flushes = [place for place, entry in enumerate(self.entries) if entry.flags & FLUSH]

    def counts_before(self, cut):
        """What readers had been shown when the power was cut before entry `cut`."""
        known = [counts for place, counts in self.acknowledged if place < cut]
        return known[-1] if known else {}

    def choose_cuts(self, count, random):
        """Half of them anywhere, half where a flush is about to begin, most often one with much to do."""
        first, last = self.acknowledged[0][0], self.acknowledged[-1][0]
        flushes = [place for place in self.flushes if place <= last]
        pending = {to: to - since for since, to in zip(flushes, flushes[1:]) if since > first and to - since > 1}
        by_chance = sorted(pending, key=lambda place: random.random() ** (1 / pending[place] ** 2))
        cuts = set(by_chance[-(count // 2):])
        while len(cuts) < min(count, last - first):
            cuts.add(random.randint(first + 1, last + 1))
        return sorted(cuts)


class Disk:
    """The durable state of the disk, moved forward along the log."""

    def __init__(self, log, base, durable):
        self.log = log
        self.path = durable
        copy_sparse(base, durable)
        self.applied = 0

    def cut(self, cut, image, random):
        """Makes `image` as a power cut before entry `cut` leaves it. Cuts come in ascending order.

        What the last flush covers is there. Of the writes after it each is lost or not, by chance, and one of four that are
        not lost is torn: any of its sectors may be missing. Returns how many writes were pending, lost and torn.
        """
        flushes = self.log.flushes
        number = bisect_left(flushes, cut)
        durable_to = flushes[number - 1] if number else 0
        with open(self.path, "r+b") as file:
            for entry in self.log.entries[self.applied:durable_to]:
                self.write(file, entry, entry.start, entry.size)
        self.applied = max(self.applied, durable_to)
        copy_sparse(self.path, image)
        pending = lost = torn = 0
        with open(image, "r+b") as file:
            for entry in self.log.entries[durable_to:cut]:
                if not entry.size or entry.start >= self.log.filesystem_bytes:
                    continue
                pending += 1
                if random.random() < 0.5:
                    lost += 1
                elif entry.size > SECTOR and random.random() < 0.25:
                    torn += 1
                    for start in range(entry.start, entry.start + entry.size, SECTOR):
                        if random.random() < 0.5:
                            self.write(file, entry, start, SECTOR)
                else:
                    self.write(file, entry, entry.start, entry.size)
        return pending, lost, torn

    def finish(self, image):
        """The disk with everything that was ever written."""
        copy_sparse(self.path, image)
        with open(image, "r+b") as file:
            for entry in self.log.entries[self.applied:]:
                self.write(file, entry, entry.start, entry.size)

    def write(self, file, entry, start, size):
        if not size or entry.start >= self.log.filesystem_bytes:
            return
        if entry.flags & DISCARD:
            data = bytes(size)
        else:
            at = entry.data + start - entry.start
            data = self.log.bytes[at:at + size]
        os.pwrite(file.fileno(), data, start)


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)
