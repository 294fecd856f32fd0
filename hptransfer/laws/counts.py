"""Which parameters are counted: the conventions of the literature by name, from the columns of an architecture."""

from __future__ import annotations

import re

import polars as pl

from hptransfer.base.errors import UsageError, unknown
from hptransfer.runs.sources.reading import sql_column

# What the tables of papers and trackers call the sizes of a decoder.
ARCHITECTURE = {
    "vocab": ("vocab", "vocab_size", "n_vocab"),
    "width": ("width", "d_model", "n_embd", "hidden_size"),
    "depth": ("depth", "n_layers", "n_layer", "layers", "num_hidden_layers"),
    "kv_size": ("kv_size", "head_dim", "d_head"),
    "heads": ("heads", "n_heads", "n_head", "num_attention_heads"),
    "ffw": ("ffw", "ffw_size", "d_ff", "intermediate_size"),
}
_BLOCKS = "depth*(4*width*kv_size*heads + 2*width*ffw)"
CONVENTIONS = {
    "all": f"2*vocab*width + {_BLOCKS}",  # of a model whose readout is not the embedding
    "non_embedding": _BLOCKS,  # Kaplan et al., arXiv 2001.08361, and Farseer, 2506.10972
    "matrices_and_readout": f"vocab*width + {_BLOCKS}",  # nanochat's: what a token is multiplied with
    "standard": f"vocab*width + {_BLOCKS}",  # of a model with tied embeddings (arXiv 2509.23963, section 2)
    "best_fit": "vocab*width + depth*(5*width*kv_size*heads + 2*width*ffw)",  # the same paper's: nearest to Chinchilla's table A9
}


def count(frame: pl.DataFrame, convention: str) -> pl.Series:
    """The parameters (rows,) by a convention: a column ``params_<convention>`` where the table has one, else the formula over the
    columns of a plain decoder without gates and biases. Raises UsageError, one line, where a column is missing."""
    if convention not in CONVENTIONS:
        raise unknown("parameter convention", convention, CONVENTIONS)
    if f"params_{convention}" in frame.columns:
        return frame[f"params_{convention}"]
    formula, found = CONVENTIONS[convention], {}
    for name, usual in ARCHITECTURE.items():
        if re.search(rf"\b{name}\b", formula):
            column = next((one for one in usual if one in frame.columns), None)
            if column is None:
                raise UsageError(
                    f"convention {convention} counts {formula}; the table has no {name} (known as {', '.join(usual)}): "
                    f"add it, or say the count with --scale 'N=...'"
                )
            found[name] = frame[column]
    return sql_column(pl.DataFrame(found), formula)
