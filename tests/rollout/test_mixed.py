"""Two agents in turns: switches, spins, labels, and what happens when the game dies or the player does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.commands.data import gen_mixed_agents
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.core.seeds import generator
from steve1.data.episodes.episode import Episode
from steve1.policy import PolicyConfig, load_policy, save_weights, write_model
from steve1.rollout.mixed import LARGEST_TURN, Mixer, MixSettings, spin, switch_chances
from tests.envs.leftovers import watch
from tests.envs.standins.making import make_backend
from tests.rollout.fakes import FakeEnv

BUSY = MixSettings(max_timesteps=400, min_timesteps=10, switch_prob=0.05, spin_prob=0.02)


class Marked:
    """An agent that always presses one button and counts its resets."""

    def __init__(self, button: str) -> None:
        self.button, self.resets = button, 0

    def reset(self, seed: int | None = None) -> None:
        self.resets += 1

    def act(self, frame: np.ndarray[Any, Any], goal: None) -> dict[str, Any]:
        assert goal is None
        return {**actions.null_action(), self.button: 1}


def test_the_log_of_switches_and_spins_says_who_did_what() -> None:
    agents = (Marked("forward"), Marked("attack"))
    mixer = Mixer(agents, ("a", "b"), BUSY, generator(5, "mixer"))
    done = [mixer.act({"pov": np.zeros((4, 4, 3), np.uint8)}, {}) for _ in range(400)]
    assert len(mixer.switches) > 5
    assert len(mixer.spins) > 3
    who, spinning = np.zeros(400, int), np.zeros(400, bool)
    for start, agent in mixer.switches:
        who[start:] = agent
    for start, length in mixer.spins:
        spinning[start : start + length] = True
    for step, action in enumerate(done):
        if spinning[step]:
            assert 0 < abs(action["camera"][1]) <= LARGEST_TURN
            assert not action["forward"]
            assert not action["attack"]
        else:
            assert action[agents[who[step]].button] == 1
    assert sum(agent.resets for agent in agents) == len(mixer.switches) - 1 + sum(
        start + length <= 400 for start, length in mixer.spins
    )


def test_spins_turn_as_far_as_asked_and_their_labels_say_so() -> None:
    for number in range(50):
        turns = spin(generator(number, "spin"), MixSettings())
        moved = sum(abs(action["camera"][1]) for action in turns)
        assert 80 <= moved <= 370
        buttons, camera = actions.to_joint(turns)
        told = actions.to_env(buttons, camera)
        exact = MixSettings(spin_speed=(10.0, 10.0))
        assert len({np.sign(action["camera"][1]) for action in told}) == 1
        wide = spin(generator(number, "spin"), exact)
        assert actions.to_env(*actions.to_joint(wide))[0]["camera"][1] == pytest.approx(wide[0]["camera"][1]), (
            "ten degrees is what ten degrees are labelled as"
        )


def test_published_rates_beside_one_agent_trained_by_rl_and_even_ones_beside_two() -> None:
    rates = MixSettings(switch_prob=0.01)
    assert switch_chances(("rl-from-foundation-2x", "foundation-model-2x"), rates) == (1 / 3000, 1 / 1000)
    assert switch_chances(("foundation-model-2x", "rl-from-foundation-2x"), rates) == (1 / 1000, 1 / 3000)
    assert switch_chances(("rl-from-foundation-2x", "rl-from-house-2x"), rates) == (0.01, 0.01)
    assert switch_chances(("a", "b"), rates) == (0.01, 0.01)


def test_settings_that_cannot_be_labelled_are_refused_together() -> None:
    with pytest.raises(UserError) as fault:
        MixSettings(spin_speed=(20.0, 30.0), switch_prob=2.0).check()
    assert "10 degrees" in str(fault.value)
    assert "switch_prob" in str(fault.value)


TINY = PolicyConfig(
    hidsize=32, attention_heads=4, attention_memory_size=28, timesteps=16, n_recurrence_layers=1, impala_width=1, impala_chans=(2, 3, 4), mineclip_embed_dim=8,
)  # fmt: skip


@pytest.fixture
def agents(tmp_path: Path) -> tuple[str, ...]:
    """Two tiny policies as weights files with their model."""
    write_model(TINY, tmp_path / "tiny.model")
    files = []
    for name in ("foundation-tiny", "rl-from-foundation-tiny"):
        save_weights(load_policy(TINY), tmp_path / f"{name}.weights")
        files.append(str(tmp_path / f"{name}.weights"))
    return tuple(files)


def args(tmp_path: Path, agents: tuple[str, ...], **more: Any) -> gen_mixed_agents.Args:
    given = {
        "n_episodes": 2,
        "max_timesteps": 40,
        "min_timesteps": 20,
        "spin_prob": 0.1,
        "same_rates": True,
        "switch_prob": 0.1,
        "device": "cpu",
        **more,
    }
    return gen_mixed_agents.Args(
        agents=agents, output_dir=str(tmp_path / "out"), in_model=str(tmp_path / "tiny.model"), **given
    )


def test_episodes_are_whole_labelled_and_the_same_after_a_crash(
    tmp_path: Path, agents: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths: list[int] = []
    wanted = args(tmp_path, agents)
    gen_mixed_agents.main(wanted, open_env=lambda: FakeEnv(die_at=(55,), deaths=deaths))
    assert deaths == [55], "the game died in the second episode, once"
    folders = sorted(path for path in (tmp_path / "out").iterdir())
    assert [path.name.split("_seed")[0] for path in folders] == [
        f"mixed_0000{n}_models[foundation-tiny,rl-from-foundation-tiny]_mxFrm40_nmFrm40" for n in (0, 1)
    ]
    assert all(path.name.endswith("_termMaxTimesteps") for path in folders)
    episode = Episode(folders[1])
    assert len(episode) == 40
    facts = episode.metadata
    assert facts["switches"][0][0] == 0
    assert facts["spins"]
    start, length = facts["spins"][0]
    turned = [action["camera"][1] for action in episode.actions(start, min(start + length, 40))]
    assert all(0 < abs(turn) <= 10 for turn in turned)
    assert [entry["model"] for entry in facts["agent_files"]] == [str(tmp_path / "tiny.model")] * 2
    before = (folders[1] / "actions.jsonl").read_bytes()
    shutil.rmtree(folders[1])
    gen_mixed_agents.main(wanted, open_env=FakeEnv)
    assert (folders[1] / "actions.jsonl").read_bytes() == before, "the second run makes what is missing, the same"
    assert json.loads((folders[1] / "metadata.json").read_text())["seed"] == facts["seed"]


class Deadly(FakeEnv):
    """The player dies at step 10 unless the place is a lucky one."""

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        obs, reward, _, truncated, info = super().step(action)
        unlucky = len(self.resets) < 3
        return obs, reward, unlucky and self.step_number == 10, truncated, info


def test_short_episodes_are_played_again_elsewhere_or_given_up(tmp_path: Path, agents: tuple[str, ...]) -> None:
    game = Deadly()
    gen_mixed_agents.main(args(tmp_path, agents, n_episodes=1), open_env=lambda: game)
    assert len(game.resets) == 3
    assert len({seed for seed, _ in game.resets}) == 3
    with pytest.raises(UserError, match="long enough"):
        gen_mixed_agents.main(args(tmp_path, agents, n_episodes=2, attempts=1), open_env=Deadly)
    assert [path.name[:11] for path in (tmp_path / "out").iterdir()] == ["mixed_00000"]


def test_what_is_missing_is_said_first(tmp_path: Path, agents: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="Two agents"):
        gen_mixed_agents.find_agents(args(tmp_path, agents[:1]))
    with pytest.raises(UserError, match="were not found"):
        gen_mixed_agents.find_agents(args(tmp_path, (agents[0], "nowhere.weights")))


@pytest.mark.parametrize("between", [" ", "  ", "\n", ";", " ; "])
def test_one_word_names_several_agents(tmp_path: Path, agents: tuple[str, ...], between: str) -> None:
    """As AGENTS of the script does; with semicolons, a path may hold blanks."""
    folder = tmp_path / ("my agents" if ";" in between else "agents")
    copies = [str(folder / Path(name).name) for name in agents]
    folder.mkdir()
    for name, copy in zip(agents, copies):
        shutil.copy(name, copy)
    found = gen_mixed_agents.find_agents(args(tmp_path, (between.join(copies),)))
    assert [str(agent.weights) for agent in found] == copies
    found = gen_mixed_agents.find_agents(args(tmp_path, tuple(copies)))
    assert [str(agent.weights) for agent in found] == copies


@pytest.mark.e2e
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leftovers are found through /proc")
def test_the_script_plays_minerl_in_its_own_process_and_embeds(
    tmp_path: Path, agents: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = watch(monkeypatch)
    make_backend("minerl", tmp_path / "env", monkeypatch)
    monkeypatch.setenv("STANDIN_FAULTS", json.dumps({"fault": "dead_java", "at": 20, "once": str(tmp_path / "struck")}))
    given = {
        "DISPLAY": ":99", "AGENTS": " ".join(agents), "OUTPUT_DIR": str(tmp_path / "mixed"), "N_EPISODES": "1", "MAX_TIMESTEPS": "32",
        "MINECLIP": str(ROOT / "data" / "mini" / "mini_mineclip.safetensors"),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    words = [
        "--min_timesteps",
        "16",
        "--same_rates",
        "--switch_agent_prob",
        "0.2",
        "--in_model",
        str(tmp_path / "tiny.model"),
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        ["bash", "1_generate_mixed_agents.sh", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "struck").exists(), "its Minecraft died once, and the episode was played again"
    (folder,) = (tmp_path / "mixed").glob("mixed_*")
    episode = Episode(folder)
    assert len(episode) == 32
    assert np.isfinite(np.asarray(episode.goals)[15:]).all()
    assert left() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 3}, "another seed than 3"),
        ({"max_timesteps": 50}, "max_timesteps 40 (now 50)"),
        ({"env": "mcio"}, "env luanti (now mcio)"),
        ({"switch_prob": 0.5, "min_timesteps": 10}, "min_timesteps 20 (now 10), switch_prob 0.1 (now 0.5)"),
    ],
)
def test_episodes_that_were_made_otherwise_are_named(
    tmp_path: Path, agents: tuple[str, ...], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    gen_mixed_agents.main(args(tmp_path, agents, n_episodes=1), open_env=FakeEnv)
    gen_mixed_agents.main(args(tmp_path, agents, n_episodes=1), open_env=FakeEnv)
    assert "note" not in capsys.readouterr().out
    gen_mixed_agents.main(args(tmp_path, agents, n_episodes=1, **changes), open_env=FakeEnv)
    text = capsys.readouterr().out
    assert said in text
    assert "another --output_dir" in text


def test_episodes_of_other_weights_are_named(
    tmp_path: Path, agents: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    gen_mixed_agents.main(args(tmp_path, agents, n_episodes=1), open_env=FakeEnv)
    save_weights(load_policy(TINY), Path(agents[0]))
    gen_mixed_agents.main(args(tmp_path, agents, n_episodes=1), open_env=FakeEnv)
    assert "of other content)" in capsys.readouterr().out
