"""Draw the picture of docs/benchmarks from what ``make bench`` measured: ``make docs``."""

from __future__ import annotations

from pathlib import Path

from longtake.plugins.bench.figures import draw_lengths
from longtake.plugins.bench.page import read_results

FOLDER = Path(__file__).parent / "benchmarks"


def main() -> None:
    """Draw it."""
    results, _ = read_results(FOLDER / "cpu.json")
    draw_lengths(results, FOLDER / "length.png")


if __name__ == "__main__":
    main()
