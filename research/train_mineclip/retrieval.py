"""Retrieval accuracy of a MineCLIP on held-out episodes.

Output: accuracies of naming a clip's behaviour, by training captions and by paraphrases that were never trained on, and the
confusion matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from research.train_mineclip.clips import ClipStore
from steve1.data.episodes.captions import Captions
from steve1.mineclip.model import MineCLIP


@torch.no_grad()
def clip_embeddings(model: MineCLIP, store: ClipStore) -> tuple[Tensor, Tensor, Tensor]:
    """Every 8th clip of every episode: embeddings (N,E), behaviour numbers (N,), episode numbers (N,)."""
    rows, behaviours, episodes = [], [], []
    first = store.clip_frames - 1
    for number, episode in enumerate(store.episodes):
        goals = model.embed_episode(iter(episode.frames))[first::8]
        rows.append(torch.from_numpy(goals))
        behaviours += [store.behaviours.index(episode.behaviour)] * len(goals)
        episodes += [number] * len(goals)
    return torch.cat(rows), torch.tensor(behaviours), torch.tensor(episodes)


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.cpu().float(), dim=-1)


@torch.no_grad()
def retrieval(model: MineCLIP, store: ClipStore) -> dict[str, Any]:
    """Accuracies on a store of held-out episodes (chance: 1 / number of behaviours; behaviours weigh equally).

    Returns:
        clip_accuracy: clips named right, each behaviour described by the mean of its training captions.
        episode_accuracy: the same after averaging an episode's clips.
        paraphrase_clip_accuracy: clips named right by held-out captions, averaged over one paraphrase per behaviour.
        paraphrase_text_accuracy: held-out captions whose nearest behaviour, by its clips' mean, is their own.
        confusion: rows true behaviours, columns named ones, shares of clips; behaviours: the names.
    """
    video, behaviours, episodes = clip_embeddings(model, store)
    video = _unit(model.adapter(video.to(model.device)))
    captions = _captions(store)
    texts = [_unit(model.encode_text(list(own.train))) for own in captions]
    prototypes = _unit(torch.stack([rows.mean(dim=0) for rows in texts]))
    named = (video @ prototypes.t()).argmax(dim=1)
    count = len(store.behaviours)
    confusion = torch.zeros(count, count)
    confusion.index_put_((behaviours, named), torch.ones(len(named)), accumulate=True)
    confusion /= confusion.sum(dim=1, keepdim=True)
    whole = _unit(torch.stack([video[episodes == i].mean(dim=0) for i in range(len(store.episodes))]))
    truth = torch.tensor([store.behaviours.index(episode.behaviour) for episode in store.episodes])
    return {
        "clip_accuracy": float(confusion.diagonal().mean()),
        "episode_accuracy": float(((whole @ prototypes.t()).argmax(dim=1) == truth).float().mean()),
        **_paraphrases(model, captions, video, behaviours),
        "confusion": confusion.tolist(),
        "behaviours": list(store.behaviours),
        "clips": len(video),
        "episodes": len(store.episodes),
    }


def _captions(store: ClipStore) -> list[Captions]:
    """Of each behaviour, the captions of its first episode."""
    return [next(e.captions for e in store.episodes if e.behaviour == name) for name in store.behaviours]


def _paraphrases(model: MineCLIP, captions: list[Captions], video: Tensor, behaviours: Tensor) -> dict[str, float]:
    """The two accuracies with held-out captions; nothing where no behaviour has any."""
    if not all(own.held_out for own in captions):
        return {}
    texts = [_unit(model.encode_text(list(own.held_out))) for own in captions]
    scores = []
    for i in range(max(len(rows) for rows in texts)):
        named = (video @ torch.stack([rows[i % len(rows)] for rows in texts]).t()).argmax(dim=1)
        right = [float((named[behaviours == b] == b).float().mean()) for b in range(len(texts))]
        scores.append(np.mean(right))
    centres = _unit(torch.stack([video[behaviours == b].mean(dim=0) for b in range(len(texts))]))
    owners = torch.tensor([b for b, rows in enumerate(texts) for _ in rows])
    found = (torch.cat(texts) @ centres.t()).argmax(dim=1)
    return {
        "paraphrase_clip_accuracy": float(np.mean(scores)),
        "paraphrase_text_accuracy": float((found == owners).float().mean()),
    }
