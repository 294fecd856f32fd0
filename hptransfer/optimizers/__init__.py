"""Optimizers: recipes with their options and scaling rules, one module each, and the engine that runs them."""

from hptransfer.base.plugins import Registry
from hptransfer.optimizers.recipe import Recipe

# Related recipes have related colours. The first of each kind is from Okabe and Ito's palette; the others were chosen so that
# any two of all differ by 16 or more in CIE Lab to normal, protan, deutan and tritan eyes (Machado 2009), and every one has a
# contrast of 2 or more with white and with the dark page.
RECIPES: Registry[Recipe] = Registry(
    "recipe",
    {
        "adamw": "hptransfer.optimizers.adamw:ADAMW",
        "signum": "hptransfer.optimizers.signum:SIGNUM",
        "sgd": "hptransfer.optimizers.sgd:SGD",
        "muon": "hptransfer.optimizers.muon:MUON",
        "muon-all": "hptransfer.optimizers.muon:MUON_ALL",
        "normuon": "hptransfer.optimizers.normuon:NORMUON",
        "adamuon": "hptransfer.optimizers.adamuon:ADAMUON",
        "shampoo": "hptransfer.optimizers.shampoo:SHAMPOO",
        "shampoo-quarter": "hptransfer.optimizers.shampoo_quarter:SHAMPOO_QUARTER",
        "shampoo-quarter-all": "hptransfer.optimizers.shampoo_quarter:SHAMPOO_QUARTER_ALL",
        "soap": "hptransfer.optimizers.soap:SOAP",
        "soap-all": "hptransfer.optimizers.soap:SOAP_ALL",
        "schedulefree-adamw": "hptransfer.optimizers.schedulefree_adamw:SCHEDULEFREE_ADAMW",
        "sf-normuon": "hptransfer.optimizers.sf_normuon:SF_NORMUON",
        "adamh": "hptransfer.optimizers.hyperball:ADAMH",
        "muonh": "hptransfer.optimizers.hyperball:MUONH",
        "shampooh": "hptransfer.optimizers.hyperball:SHAMPOOH",
        "soaph": "hptransfer.optimizers.hyperball:SOAPH",
    },
)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError with the nearest known name."""
    return RECIPES.get(name)


__all__ = ["RECIPES", "Recipe", "get_recipe"]
