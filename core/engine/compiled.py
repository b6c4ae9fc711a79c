"""Pieces of the computation, compiled by ``torch.compile``.

What is compiled are the pieces that compute nothing but tensors from tensors: the strategies are asked between them, so
that nothing is compiled anew when the step or the strategy changes, but only for a shape that was not seen before.
Blocks of the same shape share what is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

from ..errors import LongtakeError

Piece = TypeVar("Piece", bound=Callable[..., Any])
# SVD's UNet has some twenty different shapes of residual blocks, and chunks come in two sizes at most.
SHAPES = 128


@cache
def compiled(piece: Piece) -> Piece:
    """Return a piece that is compiled when it is first called; the same for the same piece.

    Calling it raises a LongtakeError where nothing can be compiled, for want of a C++ compiler, say.
    """
    import torch._dynamo  # takes a second, which only those wait for who compile
    import torch._inductor.exc

    ready = torch.compile(piece, fullgraph=True, dynamic=False)

    @wraps(piece)
    def call(*inputs: Any) -> Any:
        try:
            with torch._dynamo.config.patch(recompile_limit=SHAPES, accumulated_recompile_limit=4 * SHAPES):
                return ready(*inputs)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = " ".join(str(error).split("\n\n")[0].split())  # what follows is advice for developers of torch
            raise LongtakeError(f"torch.compile fails here: {reason}; leave --compile out") from error

    return call  # type: ignore[return-value]
