"""A training script in the manner of nanoGPT: a configuration in globals, --key=value on the command line, text in bytes.

Only what hptransfer needs is said of it: it takes a learning rate and prints its loss.
"""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

out_dir = "out"
text = "corpus/train.txt"
val_text = "corpus/val.txt"
n_layer = 2
n_embd = 64
block_size = 64
batch_size = 16
max_iters = 200
eval_interval = 50
learning_rate = 1e-3
weight_decay = 1e-1
warmup_iters = 20
seed = 1337
for argument in sys.argv[1:]:  # nanoGPT's configurator, without its exec
    key, _, value = argument.removeprefix("--").partition("=")
    assert key in globals(), f"Unknown config key: {key}"
    globals()[key] = type(globals()[key])(value)

torch.set_num_threads(1)
torch.manual_seed(seed)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, -1, 16).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).split(n_embd, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.c_proj(y)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(256, n_embd), nn.Embedding(block_size, n_embd)
        self.h = nn.Sequential(*(Block() for _ in range(n_layer)))
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, 256, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * n_layer) if "proj" in name else 0.02)

    def forward(self, idx, targets):
        x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
        logits = self.lm_head(self.ln_f(self.h(x)))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


train_data, val_data = (torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8) for path in (text, val_text))


def get_batch(data, generator):
    ix = torch.randint(len(data) - block_size - 1, (batch_size,), generator=generator)
    rows = torch.stack([data[i : i + block_size + 1] for i in ix]).long()
    return rows[:, :-1], rows[:, 1:]


model = GPT()
decay, no_decay = ([p for p in model.parameters() if (p.dim() >= 2) == wide] for wide in (True, False))
optimizer = torch.optim.AdamW(
    [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}],
    lr=learning_rate,
    betas=(0.9, 0.95),
)


@torch.no_grad()
def estimate_loss():
    generator = torch.Generator().manual_seed(0)
    return sum(model(*get_batch(val_data, generator)).item() for _ in range(20)) / 20


generator = torch.Generator().manual_seed(seed)
for it in range(1, max_iters + 1):
    decayed = 0.5 * (1 + math.cos(math.pi * it / max_iters))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * min(it / warmup_iters, decayed)
    loss = model(*get_batch(train_data, generator))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if it % eval_interval == 0 or it == max_iters:
        print(f"step {it}: train loss {loss.item():.4f}, val loss {estimate_loss():.4f}")
