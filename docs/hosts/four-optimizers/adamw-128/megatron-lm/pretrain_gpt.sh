# adamw: hptransfer 0.1.0 for megatron-lm of 22 August 2026 (d98e8a6)
# prediction 37b00f7fba72e6ee, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.0226777 (80 % interval 0.0174761 to 0.0336416; identified)
# weight_decay 0.00018432 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 16 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.127% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; not final: Megatron-LM scales Adam's
#   learning rate and epsilon of hidden matrices by 1/4, logits by 1/4, and so what the output layer's learning rate
#   does
# final learning rates, after that: embedding 0.362843, attention 0.00566943, mlp_in 0.00566943, mlp_out 0.00566943,
#   readout 0.0907108
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# not as predicted: weight decay of embedding and output layer is 0.0117965 a step, 64 times the predicted, unless you
#   add wd_mult 0.015625 for ParamKey(attr='is_embedding_or_output_parameter') in get_standard_config_overrides; no
#   flag does
# not as predicted: epsilon of embedding is 1e-08 here, predicted 2.5e-09
# not as predicted: epsilon of readout is 4e-08 here, predicted 1e-08
# not as predicted: gains of RMSNorm: the runs had none; Megatron-LM has them and trains them at 0.0226777
# not as predicted: the warm-up is one step late: Megatron-LM begins it at 0, the runs at 1/36
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 01b70a61551e9c1d 1d2111aebfda2cf5 3c38cb442db968d3 3e0c4d925118c783 4e6fab8ed8453f8f 5c0f8fbcf7293e50
#   5df59f05aea20f20 5eee0df6f6ccc031 78432d0b0a92fc86 7a572ae4e2d0fbc7 82672e90f434d50e 9044082dcf032747
#   a6952f4c7fd16eb5 aa1f5447ff76aedb afb1b6462f3cec67 bbb28129c282daed c313c7d0f8cf3863 cc6b2466cc5466bb
#   d85a5781b143e33f e710ce60eaf5fa1b ef8fcf4f4df76b81 f2d82f715c876a1d fb690517b12f67d2 fffcee6332009a01
torchrun pretrain_gpt.py \
  --num-layers 3 \
  --hidden-size 128 \
  --ffn-hidden-size 512 \
  --num-attention-heads 8 \
  --kv-channels 16 \
  --init-method-std 0.17677669529663687 \
  --embedding-init-method-std 0.1 \
  --untie-embeddings-and-output-weights \
  --disable-bias-linear \
  --normalization RMSNorm \
  --position-embedding-type rope \
  --attention-dropout 0.0 \
  --hidden-dropout 0.0 \
  --use-mup \
  --mup-base-hidden-size 32 \
  --mup-attn-scale-power 0.5 \
  --optimizer adam \
  --lr 0.022677709010856528 \
  --decoupled-lr 0.36284334417370445 \
  --min-lr 0.0 \
  --weight-decay 0.03251114488950848 \
  --clip-grad 0.0 \
  --adam-eps 1e-08 \
  --adam-beta1 0.9 \
  --adam-beta2 0.95 \
  --seq-length 128 \
  --max-position-embeddings 128 \
  --micro-batch-size 1 \
  --global-batch-size 8 \
  --train-iters 360 \
  --lr-decay-iters 360 \
  --lr-warmup-iters 36 \
  --lr-decay-style linear \
  "$@"
