from hptransfer.cli import run
from hptransfer.train.command import main

if __name__ == "__main__":
    run(main)
