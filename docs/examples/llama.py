"""A Llama of Hugging Face's transformers, trained on the tokens that `python -m hptransfer.data --write corpus` writes.

Learning rates come per role and final; weight decay as torch's AdamW takes it, which decays by lr * weight_decay.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

ROLES = ("embedding", "hidden", "readout", "vector")

parser = argparse.ArgumentParser()
parser.add_argument("--corpus", default="corpus")
parser.add_argument("--width", type=int, required=True)
parser.add_argument("--depth", type=int, default=3)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--sequences", type=int, default=8)
parser.add_argument("--context", type=int, default=128)
parser.add_argument("--seed", type=int, default=0)
for role in ROLES:
    parser.add_argument(f"--lr-{role}", type=float, required=True)
for role in ROLES[:3]:
    parser.add_argument(f"--decay-{role}", type=float, default=0.0)
args = parser.parse_args()


def tokens(split):
    """The tokens of a split: uint16 after a header of 1,024 bytes."""
    return np.memmap(Path(args.corpus) / f"{split}.bin", dtype=np.uint16, mode="r", offset=1024)


def windows(source, starts):
    rows = np.stack([source[start : start + args.context + 1] for start in starts]).astype(np.int64)
    return torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])


torch.set_num_threads(1)
torch.manual_seed(args.seed)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=256,
        hidden_size=args.width,
        intermediate_size=8 * round(args.width / 3),
        num_hidden_layers=args.depth,
        num_attention_heads=args.width // 16,
        max_position_embeddings=args.context,
        tie_word_embeddings=False,
    )
)


def role_of(name):
    if "norm" in name:
        return "vector"
    return "embedding" if "embed" in name else "readout" if "lm_head" in name else "hidden"


for name, weight in model.named_parameters():  # what muP asks of the start: it is part of the parametrization
    if role_of(name) == "embedding":
        torch.nn.init.normal_(weight, std=0.1)
    elif role_of(name) == "readout" or "o_proj" in name or "down_proj" in name:
        torch.nn.init.zeros_(weight)
    elif role_of(name) == "hidden":
        torch.nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]))

groups = [
    {
        "params": [weight for name, weight in model.named_parameters() if role_of(name) == role],
        "lr": getattr(args, f"lr_{role}"),
        "weight_decay": getattr(args, f"decay_{role}", 0.0),
    }
    for role in ROLES
]
optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
warmup = max(1, args.steps // 10)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: min((step + 1) / warmup, (args.steps - step) / (args.steps - warmup))
)


@torch.no_grad()
def validation_loss(source, count=256):
    starts = np.arange(count) * args.context
    losses = [
        F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten())
        for inputs, targets in (windows(source, part) for part in np.array_split(starts, count // 32))
    ]
    return float(torch.stack(losses).mean())


train, val = tokens("train"), tokens("val")
random = np.random.default_rng(args.seed)
for step in range(args.steps):
    inputs, targets = windows(train, random.integers(0, len(train) - args.context - 1, args.sequences))
    loss = F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten())
    if not torch.isfinite(loss):
        print("val loss nan")
        raise SystemExit(1)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()
    if (step + 1) % max(1, args.steps // 6) == 0 or step + 1 == args.steps:
        print(f"step {step + 1} train loss {loss.item():.4f} val loss {validation_loss(val):.5f}")
