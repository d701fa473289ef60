"""Wall time, CPU time and memory of processes: of one, or of many that start at the same moment."""

import contextlib
import ctypes
import dataclasses
import os
import signal
import subprocess
import tempfile
import time

LIMIT = 120  # Seconds one measured run may take before it is given up.

# Forks the command, tells its process id, and starts it on a line of standard input, or never if that ends without one.
# Standard input is kept as 3, because a shell gives what runs in the background none.
FORK = 'exec 3<&0; { echo >&2; read -r _ <&3 && exec "$@" >&2 </dev/null 3<&-; } & echo $!'


@dataclasses.dataclass
class Usage:
    """What a run took: wall and CPU seconds, peak memory in MB of each process, what failed processes said last, and what
    each said at all."""

    wall: float
    cpu: float
    peaks: list
    failures: list
    said: list


def adopt_orphans():
    """Makes this process the parent of orphans, so that it can wait for a process it did not fork itself."""
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Forked:
    """A command that has been forked and waits to be started.

    The kernel counts the memory of a process from before its exec, too. Forked from here, no command would seem to take
    less than the interpreter, so a small shell forks it, and the command starts on a line from the pipe `go`.
    """

    def __init__(self, command, env, go):
        self.command = command
        self.output = tempfile.TemporaryFile()
        ready_out, ready_in = os.pipe()
        with os.fdopen(ready_out) as ready:
            shell = subprocess.Popen(
                ["/bin/sh", "-c", FORK, "sh", *command], env=env, start_new_session=True,
                stdin=go, stdout=ready_in, stderr=self.output,
            )
            os.close(ready_in)
            self.pid = int(ready.readline())
        self.session = shell.pid
        shell.wait()
        self.ended = False

    def wait(self):
        """Waits for the end: the status and the resources used, those of its own children with them."""
        _, status, usage = os.wait4(self.pid, 0)
        self.ended = True
        return status, usage

    def said(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace").strip()

    def close(self):
        """Ends the process, if it still runs, with all it has started."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.session, signal.SIGKILL)
            self.wait()
        self.output.close()


@contextlib.contextmanager
def time_limit(seconds):
    """Raises TimeoutError in what is done within, once it takes longer."""

    def give_up(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def at_once(commands, env, daemons=()):
    """Runs commands that all start at the same moment, and waits for the last. `daemons` are the ids of processes that
    run already and work for them: what they take meanwhile counts, and their memory since they began.
    """
    with contextlib.ExitStack() as stack:
        go_out, go_in = os.pipe()
        stack.callback(os.close, go_in)
        try:
            processes = [stack.enter_context(contextlib.closing(Forked(command, env, go_out))) for command in commands]
        finally:
            os.close(go_out)
        time.sleep(0.01)  # Until the forks wait in `read`.
        os.sync()
        before = sum(map(daemon_cpu, daemons))
        with time_limit(LIMIT):
            began = time.perf_counter()
            os.write(go_in, b"\n" * len(commands))
            ends = [process.wait() for process in processes]
            wall = time.perf_counter() - began
        cpu = sum(usage.ru_utime + usage.ru_stime for _, usage in ends) + sum(map(daemon_cpu, daemons)) - before
        peaks = [usage.ru_maxrss / 1024 for _, usage in ends] + [daemon_peak(daemon) for daemon in daemons]
        said = [process.said() for process in processes]
        failures = [
            f"{' '.join(process.command)}: status {os.waitstatus_to_exitcode(status)}\n{output}"
            for process, (status, _), output in zip(processes, ends, said) if status != 0
        ]
    return Usage(wall, cpu, peaks, failures, said)


def measured(command, env):
    """Runs a command that must succeed: wall seconds, CPU seconds, peak memory in MB."""
    usage = at_once([command], env)
    if usage.failures:
        raise SystemExit(usage.failures[0])
    return usage.wall, usage.cpu, usage.peaks[0]


def daemon_cpu(pid):
    """The CPU seconds of a running process and of its children that have ended, to the kernel's tick."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def daemon_peak(pid):
    """The most memory in MB a running process has had."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
