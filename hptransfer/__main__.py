"""``python -m hptransfer``: the console script."""

from hptransfer.cli import main

if __name__ == "__main__":
    main()
