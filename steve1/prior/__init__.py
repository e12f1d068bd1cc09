"""The prior: text embeddings → goals that look like video embeddings, so that a prompt can ask for what frames show."""

from steve1.prior.cvae import Prior, PriorConfig
from steve1.prior.weights import load_prior, save_prior

__all__ = ["Prior", "PriorConfig", "load_prior", "save_prior"]
