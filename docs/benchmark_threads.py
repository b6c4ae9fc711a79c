"""Measure how threads are best used on idle and on busy cores: ``make bench-threads``; takes some minutes.

Each row is ``longtake generate`` as a process of its own, with the model that ships; the contenders take turns, and the
seconds are those of the denoising, from the record. Busy: as many processes as cores that do nothing but count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from longtake.plugins.proving.machine import commit, libraries, machine

OUTPUT = Path(__file__).parent / "benchmarks" / "threads.json"
CORES = os.cpu_count() or 1
ROUNDS = 3
STEPS = 2
SIZES = {"32x32, 56 frames": (32, 56), "96x96, 14 frames": (96, 14)}
SPINNING = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "300000"}  # libgomp's count if no policy is set
CONTENDERS = {
    "one thread": (1, {}),
    f"{CORES} threads that spin, torch's default": (CORES, SPINNING),
    f"{CORES} threads that sleep, longtake's default": (CORES, {}),
}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep cores busy during the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def denoising_seconds(folder: Path, side: int, frames: int, threads: int, environment: dict[str, str]) -> float:
    """Return the seconds that one generation spends in denoising."""
    output = folder / "video.npy"
    words = ["example", "--width", side, "--height", side, "--frames", frames, "--steps", STEPS, "--seed", 0]
    program = Path(sys.executable).with_name("longtake")
    subprocess.run(
        [program, "generate", *map(str, words), "--threads", str(threads), "-q", "--overwrite", "-o", output],
        env={name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | environment,
        check=True,
        capture_output=True,
    )
    return float(json.loads(output.with_name("video.npy.json").read_text(encoding="utf-8"))["seconds"]["denoise"])


def measure(loads: tuple[int, ...] = (0, CORES)) -> list[dict[str, object]]:
    """Return a row for each load, in processes that only count, and each size and contender."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for load in loads:
            for size, (side, frames) in SIZES.items():
                seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
                with busy(load):
                    for _ in range(ROUNDS):
                        for name, (threads, environment) in CONTENDERS.items():
                            seconds[name].append(denoising_seconds(Path(folder), side, frames, threads, environment))
                rows += [
                    {"load": "busy" if load else "idle", "size": size, "contender": name, "seconds": each}
                    for name, each in seconds.items()
                ]
    return rows


def table(load: str) -> str:
    """Return the medians of the committed measurement as a table, in seconds, with the least and the most."""
    rows = [row for row in json.loads(OUTPUT.read_text(encoding="utf-8"))["rows"] if row["load"] == load]
    sizes, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("size", "contender"))
    found = {(row["contender"], row["size"]): row["seconds"] for row in rows}
    lines = [f"| {load} | {' | '.join(sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for name in names:
        cells = [found[name, size] for size in sizes]
        lines.append(f"| {name} | {' | '.join(f'{median(c):.2f} s ({min(c):.2f} … {max(c):.2f})' for c in cells)} |")
    return "\n".join(lines)


def tables() -> str:
    """Return what was measured, and on what, for the page."""
    if not OUTPUT.exists():
        return "*Not measured yet.*"
    about = json.loads(OUTPUT.read_text(encoding="utf-8"))["about"]
    return f"{about}.\n\n{table('idle')}\n\n{table('busy')}"


def main() -> None:
    """Measure, and write what came out."""
    about = f"{machine()}; {libraries()}; commit {commit()}; {STEPS} steps, {ROUNDS} rounds"
    OUTPUT.write_text(json.dumps({"about": about, "rows": measure()}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{tables()}\n")


if __name__ == "__main__":
    main()
