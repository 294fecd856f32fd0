"""``python -m hptransfer``: what there is."""

COMMANDS = {
    "plan": "runs, FLOPs, hours and expected regret, before anything is spent",
    "search": "search LR and weight decay at small widths; records go to the store",
    "transfer": "predict them at the target width, with an interval",
    "backtest": "predict the held-out part of any table of sweeps, and say how well that went",
    "validate": "prove the prediction at a held-out width, against an equally tuned AdamW",
    "train": "train the predicted run, on as many workers as you like",
    "store": "what is in the store; import runs from a table; gather its files into one",
    "report": "one page with the answer and the evidence",
    "data": "write the corpus of an experiment, for a trainer of your own to read",
    "coordcheck": "whether every role moves by the same amount at every width, as slopes with a verdict",
    "export": "the configuration for another trainer",
}

if __name__ == "__main__":
    print("Tune learning rate and weight decay at small width, know them at large width.\n")
    for name, what in COMMANDS.items():
        print(f"  python -m hptransfer.{name:<10} {what}")
    print("\nEach has --help. Start with: python -m hptransfer.search --optimizer shampoo")
