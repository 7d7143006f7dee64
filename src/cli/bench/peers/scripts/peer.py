"""What the peers in Python share: the line protocol (peer-process.ts) and the files of a workload (workload.ts)."""

import json
import os
import sys
import traceback

import numpy as np
import torch

# The protocol has standard output for itself; what libraries print goes to standard error.
_answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# What a peer computes in: bf16, or float32 on a CPU for which torch has no fast products of bf16 and takes several times as long over them.
DTYPE = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def arguments():
    """The object that the driver gave on the command line."""
    return json.loads(sys.argv[1])


def ready(peer):
    """Says that the peer is open; `peer` names it with its versions, to which the precision is added."""
    _say({"ready": f"{peer}, {str(DTYPE).removeprefix('torch.')}"})


def wait_for_run():
    """Blocks until the driver asks for the next run; ends the process when the driver has closed the pipe."""
    if not sys.stdin.readline():
        os._exit(0)


def answer(**values):
    """Ends the run that was asked for."""
    _say({"ok": values})


def serve(peer, run):
    """Answers each request with what `run()` returns, a dict, until the driver closes the pipe."""
    ready(peer)
    while True:
        wait_for_run()
        answer(**run())


def read_ids(path, columns):
    """An int32 file as int64 [rows, columns]."""
    return torch.from_numpy(np.fromfile(path, dtype=np.int32).astype(np.int64)).reshape(-1, columns)


def read_floats(path, columns):
    return torch.from_numpy(np.fromfile(path, dtype=np.float32)).reshape(-1, columns)


def _say(line):
    _answers.write(json.dumps(line) + "\n")


def _fail(kind, error, trace):
    traceback.print_exception(kind, error, trace)
    _say({"error": f"{kind.__name__}: {error}"})


sys.excepthook = _fail
