"""`without_privileges MODULE ARGUMENTS…`: the same as `python -m MODULE …`, by one whom file modes bind even if root."""

import ctypes
import os
import sys

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2

if __name__ == "__main__":
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                sys.exit("this root cannot give up its privileges")
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
