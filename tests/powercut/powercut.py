"""Power cuts, for real: the program in a guest, the log of its disk cut at random points. Started by `run` beside this file.

For each filesystem: some *lives* of a guest, one after the other. In each life the service takes a part of the sources while
the disk logs every write. The log is then cut at many points; each cut gives a disk as a power cut at that point leaves it,
which is mounted and checked (see `check.py`). The next life begins with one of these disks, as it is, so that recovery itself,
and a disk with several cuts behind it, are cut as well.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import check
import workload
from disk import Disk, Log, copy_sparse
from guest import FILESYSTEM_BYTES, Guest, GuestFault, make_filesystem
from opened import BATCH, MountFault, can_mount, mounted, unpacked

BROKEN = {"none": "none", "data": ".npy", "ledger": ".db-wal"}
# In every other life, from the first, the kernel writes back early by itself, so that what was never synced comes to the disk in disorder.
WRITEBACK_CENTISECONDS = (10, 500)


def main():
    options = arguments()
    begun = time.monotonic()
    guest = Guest(options.kernel, options.program, options.agent, options.shim)
    total = Counter()
    for filesystem in options.filesystem:
        tried = try_filesystem(options, guest, filesystem)
        total += tried
        notes = [f"{count} x {name}" for name, count in sorted(tried.items()) if name.startswith("note: ")]
        print(f"{filesystem}: {tried['images']} images from {tried['lives']} lives, {tried['checked']} checked to the end; "
              f"{tried['pending']} writes pending, {tried['lost']} lost, {tried['torn']} torn; "
              f"{tried['bad']} images with violations, {tried['unmountable']} that could not be mounted", flush=True)
        for note in notes:
            print(f"  {note.replace('note: ', '')}", flush=True)
    seconds = time.monotonic() - begun
    print(f"power cuts: {total['images']} images, {total['bad']} with violations, {seconds:.0f} s, seed {options.seed}")
    if options.broken == "none":
        return 1 if total["bad"] or total["unmountable"] else 0
    print(f"without the sync of {BROKEN[options.broken]} files: " + ("noticed" if total["bad"] else "NOT NOTICED"))
    return 0 if total["bad"] else 1


def arguments():
    parser = argparse.ArgumentParser(prog="tests/powercut/run", description=__doc__.split("\n")[0])
    for name in ("program", "kernel", "agent", "shim", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--filesystem", nargs="+", default=["ext4", "xfs"], choices=list(FILESYSTEM_BYTES))
    parser.add_argument("--long", action="store_true", help="4 lives of 55 images on each filesystem, not 1 life of 20 "
                        "(or of 5, if they are mounted in a guest)")
    parser.add_argument("--lives", type=int, help="how often a guest is started on each filesystem")
    parser.add_argument("--images", type=int, help="how many cuts of each life are checked")
    parser.add_argument("--sources", type=int, default=150, help="files that are dropped in each life")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broken", default="none", choices=list(BROKEN),
                        help="leaves out a sync of the service: the run then succeeds if violations are found")
    parser.add_argument("--again", action="store_true", help="checks the logs of the last run again, without a guest")
    parser.add_argument("--only", metavar="LIFE:CUT", help="only this image; with --again",
                        type=lambda text: tuple(int(number) for number in text.split(":")))
    parser.add_argument("--inspect", choices=["auto", "here", "guest"], default="auto",
                        help="where images are mounted: here, if there is a loop device for it, or in a guest")
    options = parser.parse_args()
    if options.only and not options.again:
        parser.error("--only needs --again: another run of a guest writes another log")
    if options.inspect == "auto":
        options.inspect = "here" if can_mount(options.work) else "guest"
        print("power cuts: images are mounted " + {"here": "here", "guest": "in a guest"}[options.inspect], flush=True)
    options.lives = options.lives or (4 if options.long else 1)
    options.images = options.images or (55 if options.long else 20 if options.inspect == "here" else 5)
    return options


def try_filesystem(options, guest, filesystem):
    folder = options.work / filesystem
    folder.mkdir(parents=True, exist_ok=True)
    sources = workload.make_sources(options.sources * options.lives + 30, options.seed)
    tried, least = Counter(), {}
    if not options.again:
        make_filesystem(filesystem, folder / "base-0.img")
    for number in range(options.lives):
        if options.only and options.only[0] != number:
            continue
        life = Life(options, guest, folder, filesystem, number, sources, least)
        if not options.again:
            life.live()
        tried["lives"] += 1
        life.read_end()
        least = life.check_cuts(tried)
    return tried


class Life:
    """One life of the guest: what it had done at its end, and the check of any cut of it."""

    def __init__(self, options, guest, folder, filesystem, number, sources, least):
        self.options, self.guest, self.folder, self.filesystem, self.number = options, guest, folder, filesystem, number
        self.sources, self.least = sources, least
        self.base, self.next_base = folder / f"base-{number}.img", folder / f"base-{number + 1}.img"
        self.log_path = folder / f"log-{number}"
        self.log = self.final = None

    def chance(self, *what):
        return random.Random(" ".join(str(word) for word in (self.options.seed, self.filesystem, self.number, *what)))

    def live(self):
        disk = self.folder / "disk.img"
        copy_sparse(self.base, disk)
        self.guest.live(
            self.folder, self.filesystem, disk, self.log_path, self.sources.values(), workload.CONFIG,
            self.options.sources, self.chance("guest").randrange(1 << 32), BROKEN[self.options.broken],
            WRITEBACK_CENTISECONDS[self.number % 2])

    def read_end(self):
        """The end of the life, with all that was ever written, and what the program then makes of the rest: it must be
        sound, or nothing can be held against it."""
        self.log = Log(self.log_path, FILESYSTEM_BYTES[self.filesystem])
        image, report = self.folder / "end.img", check.Report()
        Disk(self.log, self.base, self.folder / "durable.img").finish(image)
        [opened] = self.open([image])
        with opened as disk:
            taken = check.dropped(disk.root, self.sources)
            if check.check_start(report, disk.start(), "at the end"):
                self.final = check.read_all(disk.root)
                rows = {name: found.rows for name, found in self.final.items()}
                check.check_after_recovery(report, disk.root, "at the end", rows, self.final, self.sources, taken)
        if report.problems:
            raise SystemExit("the run itself went wrong:\n" + "\n".join(report.problems[:20]))

    def open(self, images):
        if self.options.inspect == "here":
            mount = self.folder / "mount"
            return [mounted(image, mount, self.filesystem, self.options.program) for image in images]
        return [disk.opened() for disk in unpacked(self.guest, images, self.folder, self.filesystem)]

    def check_cuts(self, tried):
        """Checks some cuts, and makes one of the later ones the disk of the next life. Returns what is committed on it."""
        chance, least = self.chance("cuts"), {}
        cuts = [self.options.only[1]] if self.options.only else self.log.choose_cuts(self.options.images, chance)
        heir = chance.choice(cuts[len(cuts) // 2:])
        disk = Disk(self.log, self.base, self.folder / "durable.img")
        for first in range(0, len(cuts), BATCH):
            batch, images = cuts[first:first + BATCH], []
            for cut in batch:
                images.append(self.folder / f"cut-{len(images)}.img")
                pending, lost, torn = disk.cut(cut, images[-1], self.chance(cut))
                tried.update(images=1, pending=pending, lost=lost, torn=torn)
                if cut == heir and not self.options.again:
                    copy_sparse(images[-1], self.next_base)
            for cut, opened in zip(batch, self.open(images)):
                committed = self.check(opened, cut, tried)
                if cut == heir and not self.options.again:
                    least = committed
        return least

    def check(self, opened, cut, tried):
        report = check.Report()
        try:
            with opened as disk:
                committed = self.check_disk(report, disk, cut)
        except MountFault as fault:
            print(f"{self.filesystem} life {self.number}, cut {cut}: the filesystem itself cannot be mounted: {fault}")
            tried["unmountable"] += 1
            return {}
        tried.update({f"note: {note}": 1 for note in report.notes})
        tried.update(bad=bool(report.problems), checked=not report.problems)
        if report.problems:
            options = self.options
            print(f"{self.filesystem} life {self.number}, cut {cut} of {len(self.log.entries)}: {len(report.problems)} "
                  f"violations; see it again: --filesystem {self.filesystem} --seed {options.seed} --lives {options.lives} "
                  f"--sources {options.sources} --again --only {self.number}:{cut}")
            for text in report.problems[:20 if options.only else 3]:
                print(f"  {text}", flush=True)
        return committed

    def check_disk(self, report, disk, cut):
        shown, taken = self.log.counts_before(cut), check.dropped(disk.root, self.sources)
        committed = check.check_before_recovery(report, disk.root, shown, self.final, self.sources, self.least)
        for stage in ("after recovery", "after all sources"):
            if not check.check_start(report, disk.start(), stage):
                break
            check.check_after_recovery(report, disk.root, stage, committed, self.final, self.sources, taken)
            disk.drop_the_rest()
            taken = list(self.sources.values())
        return committed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GuestFault as fault:
        sys.exit(f"the guest failed {fault}")
