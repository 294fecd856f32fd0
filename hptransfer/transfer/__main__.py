from hptransfer import cli
from hptransfer.transfer.command import main

cli.run(main)
