"""The program as a process that is warm: the libraries are imported once, and each call is a fork of that process.

Importing torch, diffusers and transformers, and taking them apart in the end, takes most of the time of a small call.
Each line that comes in is a job; what goes out is its exit code.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback

import diffusers
import imageio.plugins.pyav
import matplotlib.figure
import transformers

from longtake.core.cli.entry import main
from longtake.core.manager import load_plugins

# diffusers and transformers import their parts only when they are asked for.
NEEDED = (
    diffusers.StableVideoDiffusionPipeline,
    transformers.CLIPVisionModelWithProjection,
    imageio.plugins.pyav,
    matplotlib.figure,
)


def serve() -> None:
    """Do what the lines of the standard input ask for, each in a process of its own."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
            os._exit(exit_code())
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(folder: str, words: list[str], variables: dict[str, str], stdout: str, stderr: str) -> None:
    """Take over what a process begins with."""
    os.chdir(folder)
    os.environ.update(variables)
    sys.argv = ["longtake", *words]
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, stdout, os.O_WRONLY), (2, stderr, os.O_WRONLY)):
        file = os.open(path, flags)
        os.dup2(file, number)
        os.close(file)


def exit_code() -> int:
    """Run the program to its end."""
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    assert isinstance(code, int)
    return code


if __name__ == "__main__":
    load_plugins(third_party=False)
    gc.freeze()  # nothing of what is there is looked at again, so that it stays shared
    serve()
