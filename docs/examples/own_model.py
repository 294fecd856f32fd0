"""Models of Hugging Face's transformers, each a function of its width: depth, vocabulary and head dimension stay as they are."""

from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

HEAD_DIM = 16


def llama(width):
    """With grouped queries: half as many heads of keys and values as of queries."""
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=width // HEAD_DIM,
        num_key_value_heads=width // HEAD_DIM // 2,
        head_dim=HEAD_DIM,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def gpt2(width):
    """Its readout is its embedding."""
    config = GPT2Config(
        vocab_size=256,
        n_positions=64,
        n_embd=width,
        n_layer=2,
        n_head=width // HEAD_DIM,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)
