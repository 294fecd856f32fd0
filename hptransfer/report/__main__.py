import os

from hptransfer.cli import run

# The fits behind a refused prediction are small. On a machine that trains beside, the threads of a BLAS wait for each other:
# 20 s for 0.7 s of work. It reads this when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if __name__ == "__main__":
    from hptransfer.report.command import main

    run(main)
