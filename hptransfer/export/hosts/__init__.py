"""The hosts, one module each."""

from hptransfer.base.plugins import Registry
from hptransfer.export.host import Host

HOSTS: Registry[Host] = Registry(
    "export target",
    {
        "json": "hptransfer.export.hosts.json:JSON",
        "torch": "hptransfer.export.hosts.torch:TORCH",
        "transformers": "hptransfer.export.hosts.transformers:TRANSFORMERS",
        "lightning": "hptransfer.export.hosts.lightning:LIGHTNING",
        "litgpt": "hptransfer.export.hosts.litgpt:LITGPT",
        "torchtitan": "hptransfer.export.hosts.torchtitan:TORCHTITAN",
        "torchtitan-main": "hptransfer.export.hosts.torchtitan:TORCHTITAN_MAIN",
        "deepspeed": "hptransfer.export.hosts.deepspeed:DEEPSPEED",
        "olmo-core": "hptransfer.export.hosts.olmo_core:OLMO_CORE",
        "nanochat": "hptransfer.export.hosts.nanochat:NANOCHAT",
        "megatron-lm": "hptransfer.export.hosts.megatron_lm:MEGATRON_LM",
        "levanter": "hptransfer.export.hosts.levanter:LEVANTER",
    },
)

__all__ = ["HOSTS"]
