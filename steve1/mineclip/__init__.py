"""MineCLIP: frames and prompts → embeddings in one space, whole episodes → goal embeddings."""

from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.weights import load_mineclip, save_mineclip

__all__ = ["MineCLIP", "MineCLIPConfig", "load_mineclip", "save_mineclip"]
