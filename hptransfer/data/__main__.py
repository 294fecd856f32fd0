from hptransfer.cli import run
from hptransfer.data.command import main

if __name__ == "__main__":
    run(main)
