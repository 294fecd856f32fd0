"""Any ``nn.Module``: the role of each of its parameters, its optimizer and its schedule.

`roles`, `schedule`, `plain` and `table` import torch and Python's library alone: an export for torch carries their text.
"""
