"""The published policy in a process of its own: its package has the name of ours.

Run by benchmarks/published.py with the path of a checkout of STEVE-1. Each line of standard input is a request, each line of standard output its
answer, both JSON. Imports nothing of this project.
"""

import json
import statistics
import sys
import time
import types
from typing import Any

import torch


class Space(dict):  # type: ignore[type-arg]
    """Stands in for gym3's types, which only describe the heads' sizes."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(fields)
        self.__dict__.update(fields)
        if args:
            self.n = args[0]
        if "shape" in fields:
            self.size = fields["shape"][0]


def stand_in_for_what_is_missing() -> None:
    """gym3 and MineRL describe spaces and items; the network needs neither. Old versions of torch had `has_cuda`."""
    if not hasattr(torch, "has_cuda"):
        torch.has_cuda = False  # type: ignore[attr-defined]
    try:
        import gym3.types  # noqa: F401
    except ImportError:
        kinds = ("DictType", "Discrete", "Real", "TensorType", "ValType")
        module: Any = types.ModuleType("gym3.types")
        for kind in kinds:
            setattr(module, kind, type(kind, (Space,), {}))
        sys.modules |= {"gym3": types.ModuleType("gym3"), "gym3.types": module}
    try:
        import minerl.herobraine.hero.mc  # noqa: F401
    except ImportError:
        parts = ["minerl", "herobraine", "hero", "mc"]
        modules = [types.ModuleType(".".join(parts[: end + 1])) for end in range(len(parts))]
        for parent, name, child in zip(modules, parts[1:], modules[1:], strict=False):
            setattr(parent, name, child)
        sys.modules |= {module.__name__: module for module in modules}


class Published:
    """The published network with given weights, and the loops around it as in its train.py and agent.py."""

    def __init__(self, file: str) -> None:
        from steve1.embed_conditioned_policy import MinecraftAgentPolicy  # type: ignore[import-not-found]
        from steve1.VPT.lib.action_mapping import CameraHierarchicalMapping  # type: ignore[import-not-found]
        from steve1.VPT.lib.actions import ActionTransformer  # type: ignore[import-not-found]

        given = torch.load(file)
        self.batch = given["batch"]
        self.mapper = CameraHierarchicalMapping(n_camera_bins=11)
        self.transformer = ActionTransformer(
            camera_binsize=2, camera_maxval=10, camera_mu=10, camera_quantization_scheme="mu_law"
        )
        space = sys.modules["gym3.types"].DictType(**self.mapper.get_action_space_update())
        self.policy = MinecraftAgentPolicy(space, given["net"], given["pi_head_opts"])
        self.policy.load_state_dict(given["weights"])
        self.trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-6, weight_decay=0.039428, fused=True)
        self.states = {False: self.policy.initial_state(1), True: self.policy.initial_state(2)}

    def train(self, bf16: bool) -> dict[str, float]:
        """A whole step: loss, gradients, clipping, AdamW."""
        batch = self.batch
        size, steps = batch["first"].shape
        wall, own = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            observed = {"img": batch["frames"], "mineclip_embed": batch["goals"]}
            pd, _, _ = self.policy.get_output_for_observation(observed, self.policy.initial_state(size), batch["first"])
            pd = {name: each.view(size, steps, -1) for name, each in pd.items()}
            loss = -self.policy.get_logprob_of_action(pd, {name: batch[name] for name in ("buttons", "camera")}).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {
            "wall": time.perf_counter() - wall,
            "own": time.process_time() - own,
            "loss": float(loss.detach()) / steps,  # published as a sum over the window
        }

    def act(self, guided: bool, count: int) -> dict[str, float]:
        """Single steps, from a frame of the network's size to a MineRL action; the median of `count`."""
        walls, owns = [], []
        for number in range(count):
            frame, goal = (
                self.batch[name][0, number % self.batch["first"].shape[1]].numpy() for name in ("frames", "goals")
            )
            wall, own = time.perf_counter(), time.process_time()
            observed = {"img": torch.from_numpy(frame[None]), "mineclip_embed": torch.from_numpy(goal[None])}
            action, self.states[guided], _ = self.policy.act(
                observed, torch.tensor([False]), self.states[guided], cond_scale=6.0 if guided else None
            )
            classes = {name: action[name].cpu().numpy() for name in ("buttons", "camera")}
            self.transformer.policy2env(self.mapper.to_factored(classes))
            walls.append(time.perf_counter() - wall)
            owns.append(time.process_time() - own)
        return {"wall": statistics.median(walls), "own": statistics.median(owns)}


def main() -> None:
    """Answer requests until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the published code prints is no answer
    sys.path[0] = sys.argv[1]
    stand_in_for_what_is_missing()
    side: Any = None
    found: dict[str, float]
    for line in sys.stdin:
        name, arguments = json.loads(line)
        if name == "load":
            side, found = Published(*arguments), {}
        elif name == "threads":
            torch.set_num_threads(*arguments)
            found = {}
        else:
            found = getattr(side, name)(*arguments)
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
