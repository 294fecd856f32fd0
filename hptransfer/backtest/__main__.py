from hptransfer.backtest.command import main
from hptransfer.cli import run

run(main)
