"""Run by MineStudio's own Python: its SteveOnePolicy, with weights that we saved, on stored inputs.

In: a settings file (JSON), a weights file of ours (.safetensors), an .npz with frames u8 (B,T,128,128,3) and goals f32 (B,E), a guidance
scale. Out: an .npz with buttons (B,T,8641), camera (B,T,121), value (B,T,1), and the keys that did not fit.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file


def steve_one() -> types.ModuleType:
    """The module of SteveOnePolicy; its neighbours' needs (other models, the simulator) may be missing."""
    spec = importlib.util.find_spec("minestudio")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    bare = types.ModuleType("minestudio.models")
    bare.__path__ = [f"{next(iter(spec.submodule_search_locations))}/models"]
    sys.modules["minestudio.models"] = bare
    # The policy is compared; MineCLIP's towers would only take memory.
    clip = types.ModuleType("minestudio.utils.mineclip_lib.mineclip")
    clip.MineCLIP = lambda **_: torch.nn.Identity()  # type: ignore[attr-defined]
    sys.modules["minestudio.utils.mineclip_lib"] = types.ModuleType("minestudio.utils.mineclip_lib")
    sys.modules["minestudio.utils.mineclip_lib.mineclip"] = clip
    from minestudio.models.steve_one import body  # type: ignore[import-not-found]

    return body


def main(settings: str, weights: str, inputs: str, scale: str, output: str) -> None:
    """See above."""
    policy = steve_one().SteveOnePolicy(
        policy_kwargs=json.loads(Path(settings).read_text()),
        prior_kwargs={"input_dim": 8, "hidden_dim": 8, "latent_dim": 8},
    )
    found = policy.load_state_dict(load_file(weights), strict=False)
    missing = [key for key in found.missing_keys if not key.startswith(("prior.", "mineclip."))]
    stored = np.load(inputs)
    policy.eval()
    with torch.inference_mode():
        condition = {"cond_scale": float(scale), "mineclip_embeds": torch.from_numpy(stored["goals"])}
        batch = {"image": torch.from_numpy(stored["frames"]), "condition": condition}
        latents, _ = policy(batch, policy.initial_state(condition, len(stored["frames"])))
    logits = {name: value.float() for name, value in latents["pi_logits"].items()}
    shape = stored["frames"].shape[:2]
    np.savez(
        output, unexpected=np.array(found.unexpected_keys, dtype=str), missing=np.array(missing, dtype=str), value=latents["vpred"].numpy(),
        **{name: torch.log_softmax(value.reshape(*shape, -1), -1).numpy() for name, value in logits.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
