"""Plain cargo and rustcbuildx on the same projects: what hack/projects, hack/crater/run and hack/bench have in common."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
HOUR = 3600
# Projects that are in a folder beside this repository, and not published.
WORKLOADS = {"service"}
TOOLS = REPOSITORY / "target/tools"
SCCACHE = "0.12.0"


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


# Environments


def plain_environment():
    """The caller's, without what would make plain cargo anything but plain."""
    strange = re.compile(r"RUSTC|RUSTFLAGS|RUSTDOCFLAGS|CARGO_(?!HOME$)")
    environment = {name: value for name, value in os.environ.items() if not strange.match(name)}
    # Not the caller's, even of the configuration; incremental state belongs to one machine, so neither has it.
    return environment | {"RUSTC_WRAPPER": "", "RUSTC_WORKSPACE_WRAPPER": "", "CARGO_INCREMENTAL": "0", "CARGO_TERM_COLOR": "never"}


def build_programs(state):
    """Installs the programs of this checkout into `state`; gives their folder and their commit."""
    say("rustcbuildx itself")
    command = ["cargo", "install", "--locked", "--quiet", "--force", "--path", str(REPOSITORY), "--root", str(state)]
    commit = ask("git", "rev-parse", "--short", "HEAD")
    # The reports that the scripts write are no part of the programs.
    if ask("git", "status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock"):
        commit += "-dirty"
    subprocess.run(command, env=plain_environment(), check=True, cwd="/")
    return state / "bin", commit


def engine_environment(engine, full):
    """What cargo needs to reach an engine of hack/engine, which is brought up."""
    words = [engine, *(["--full"] * full)]
    subprocess.run([REPOSITORY / "hack/engine", "up", *words], check=True, stderr=subprocess.DEVNULL)
    script = f'exports=$(hack/engine env {" ".join(words)}) && eval "$exports" && env -0'
    output = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, env=plain_environment(), check=True, stdout=subprocess.PIPE)
    return dict(pair.split("=", 1) for pair in output.stdout.decode().split("\0") if pair)


# Other programs


def sccache():
    """sccache, installed for these scripts."""
    program = TOOLS / "bin/sccache"
    if not program.exists():
        say(f"installing sccache {SCCACHE}")
        command = ["cargo", "install", "--locked", "--quiet", "--root", str(TOOLS), "--no-default-features", "sccache", "--version", SCCACHE]
        subprocess.run(command, env=plain_environment(), check=True, cwd="/")
    return str(program)


# Files


def save(path, value):
    """Writes JSON; a reader sees the old file or the new one."""
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    new.replace(path)


def emptied(folder):
    """The same folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def file_digests(target):
    """Of all files below a target folder but cargo's own notes: its fingerprints, what build scripts printed, and when."""
    def own(path):
        of_script = path.parent.parent.name == "build" and path.name in {"output", "root-output", "stderr", "invoked.timestamp"}
        return of_script or ".fingerprint" in path.parts or path.name in {".cargo-lock", ".rustc_info.json"}

    files = [path for path in target.rglob("*") if path.is_file() and not path.is_symlink() and not own(path)]
    return {str(path.relative_to(target)): hashlib.sha256(program(path)).hexdigest() for path in files}


def others(files, expected):
    """The names of the files that are not as expected, each given by its digest."""
    return sorted(name for name in expected if files.get(name) != expected[name])


def program(path):
    """A file's bytes; those of the real program if it is a shim, whose end src/target/shim.rs describes."""
    content = path.read_bytes()
    if not content.endswith(b"rustcbuildx-shim"):
        return content
    length, name_length = struct.unpack("<QQ", content[-32:-16])
    end = len(content) - 32 - name_length
    return content[end - length : end]


# One command


class Failure(Exception):
    pass


def step(what, command, environment, source, logs, may_fail=False, timeout=HOUR):
    """Runs a command in a source folder; gives its time and what its logs, in `logs`, tell."""
    output, log = logs / f"{what}.txt", logs / f"{what}.log"
    began = time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(
            command,
            env=environment | {"RUSTCBUILDX_LOG_PATH": str(log)},
            cwd=source,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # `wait` with a timeout of its own looks for the end in steps of 50 ms.
        alarm = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGTERM))
        alarm.daemon = True
        alarm.start()
        try:
            status = process.wait()
        except BaseException:
            alarm.cancel()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        if not alarm.is_alive():
            status = "hangs"
        alarm.cancel()
    seconds = round(time.monotonic() - began, 2)
    say(f"  {what}: {seconds} s, status {status}")
    text = output.read_text(errors="replace")
    if status and not may_fail:
        raise Failure(f"{what} ended with {status}: {last_error(text)}")
    return {"seconds": seconds, "status": status} | counts(log) | tests(text)


def source_of(name, environment):
    """The folder of a project's source and its version: a workload's, or the newest one published."""
    if name not in WORKLOADS:
        return published_source(name, None, environment)
    folder = (REPOSITORY / "../shared/workloads" / name).resolve()
    if not folder.exists():
        raise Failure(f"the source of `{name}` is not there: {folder}")
    return folder, re.search(r'^version = "(.*)"', (folder / "Cargo.toml").read_text(), re.M)[1]


def published_source(name, version, environment):
    """The folder of a published crate, and its version: the newest one if none is given."""
    # Not in a package's folder, which would limit the versions to what that package's Rust compiles.
    wanted = f"{name}@{version}" if version else name
    info = subprocess.run(["cargo", "info", "--quiet", wanted], cwd="/", env=environment, capture_output=True, text=True)
    found = re.search(r"^version: (\S+)", info.stdout, re.M)
    if not found:
        raise Failure(f"cargo info: {info.stderr.strip()}")
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    return next((home / "registry/src").glob(f"*/{name}-{found[1]}")), found[1]


# What output tells


def counts(log):
    """Units and engine calls, of the wrapper's log."""
    text = log.read_text() if log.exists() else ""
    calls = len(re.findall(r" took \d+ ms to ", text))
    return {"units": text.count(" ended with "), "calls": calls}


def tests(text):
    found = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", text, re.M)
    if not found:
        return {}
    return dict(zip(["passed", "failed", "ignored"], [sum(map(int, column)) for column in zip(*found)]))


def last_error(text):
    errors = [line for line in text.splitlines() if re.search(r"\berror\b", line)]
    return " | ".join((errors or text.splitlines())[-3:])[:500]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def machine():
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "rustc": ask("rustc", "-V").split(" (")[0]}


def cpu_seconds():
    """Of all processors, since they started."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    user, nice, system, _idle, _waiting, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def rest(seconds=5, patience=300):
    """Waits until the machine is at rest for so long: an engine says that it has dropped something, and removes it then."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        busy = cpu_seconds()
        time.sleep(seconds)
        if cpu_seconds() - busy < seconds / 10:
            return


def ask(*command):
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()


# Tables


def markdown_table(columns, rows):
    """Rows of as many texts each."""
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "&#124;") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
