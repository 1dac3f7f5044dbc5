"""How much of the machine others use while something is measured."""

import os
import resource
import time

CORES = os.cpu_count() or 1
TICKS = os.sysconf("SC_CLK_TCK")

# Others may use this many cores in a repetition that counts as undisturbed.
QUIET = 0.08


def _busy() -> float:
    """Seconds of all cores that were not idle since boot."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def _ours(pids: list[int]) -> float:
    """Seconds used by this process, by children that have ended, and by `pids` that run."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            # The name in parentheses may hold spaces.
            fields = file.read().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


class Watch:
    """From its making to `others()`: the cores that others kept busy, on average.

    `pids` are running children, known at the beginning and at the end. A child
    that is started and ended in between needs no naming.
    """

    def __init__(self, pids: list[int] | None = None):
        self.pids = pids or []
        self.began, self.busy, self.ours = time.monotonic(), _busy(), _ours(self.pids)

    def others(self) -> float:
        wall = max(time.monotonic() - self.began, 0.02)
        busy, ours = _busy() - self.busy, _ours(self.pids) - self.ours
        return max(0.0, (busy - ours) / wall)


def wait(patience: float) -> None:
    """Returns when the machine is quiet, or after `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        watch = Watch()
        time.sleep(0.3)
        if watch.others() <= QUIET or time.monotonic() >= until:
            return
