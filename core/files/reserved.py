"""What a run writes to, reserved before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .claims import claimed
from .limits import check_preview
from .sources import Named, check_apart
from .video import check_name, check_output, sidecar_path


def written_by(output: Path | None, preview: str | None) -> list[Named]:
    """Return what a run writes: the output, its record, the preview.

    Raises:
        OutputError: a name is none of a file that can be written.

    """
    written = []
    if output is not None:
        check_name(output)
        written += [Named("output", output), Named("record", sidecar_path(output))]
    if preview is not None:
        check_preview(Path(preview))
        written.append(Named("preview", Path(preview)))
    return written


@contextmanager
def reserved(
    output: Path | None, read: Iterable[Named], *, overwrite: bool, preview: str | None = None
) -> Iterator[None]:
    """Hold the names that a run writes to, having found out that they can be written.

    Args:
        output: the file or folder, if any; its record lies beside it.
        read: what the run reads.
        overwrite: whether an existing output is replaced.
        preview: a picture that is written after each step, if any.

    Raises:
        OutputError: one of them cannot be written, takes the place of something that is read, or belongs to another
            run that is under way.

    """
    written = written_by(output, preview)
    check_apart(written, read)
    with ExitStack() as claims:
        for _, path in written:
            claims.enter_context(claimed(path))
        if output is not None:
            check_output(output, overwrite=overwrite)  # only now: until here another run may have written it
        yield
