"""Any ``nn.Module``: the role of each of its parameters, its optimizer and its schedule.

`roles`, `schedule` and `plain` import torch and Python's library alone: an export for torch carries their text.
"""
