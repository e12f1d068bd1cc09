"""Command: weights on this machine play games that run on others (steve1/live/client.py is the other side).

Input: weights. Output: actions over WebSockets, and a line about latency now and then.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Annotated, ClassVar

from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.core.options import Option
from steve1.core.paths import display
from steve1.core.processes import limit_threads
from steve1.evaluation.settings import PolicySettings

if TYPE_CHECKING:
    from steve1.live.policy_service import PolicyService

_REPORT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PolicySettings):
    """What is served."""

    GROUPS: ClassVar = {"options": "weights seed device", "page": "host port token threads"}

    weights: Annotated[str, Option(aliases=("--in_weights",))]
    """Policy weights."""
    env: Annotated[str, Option(hidden=True)] = ""
    seed: int = 0
    """Seed of the prior's codes: a prompt has the same goal each time. Clients choose the seeds of their actions."""
    host: str = "127.0.0.1"
    """Address to answer on. Any other than 127.0.0.1 lets other machines in, who must know the token."""
    port: int = 8766
    """Port; 0: any free one."""
    token: str = ""
    """Token that clients must know; default: a new one at each start."""
    threads: int = 0
    """Threads for the policy; 0: half of the processors."""


def main(args: Args) -> None:
    """Load, answer until Ctrl-C."""
    # These load torch, for which --help need not wait.
    from steve1.evaluation.policies import PolicyCache, environment_threads, parse_weights
    from steve1.goals import GoalEncoder
    from steve1.live.host import Host
    from steve1.live.policy_service import PolicyService

    if args.token and len(args.token) < 8:
        raise UserError(
            "This token is too short to keep anybody out.", expected="at least 8 characters", where="--token"
        )
    spec = parse_weights(args.weights, **args.metadata_overrides())
    limit_threads(args.threads or environment_threads(1))
    agent = PolicyCache(device=args.device, deterministic=args.deterministic).agent(spec)
    service = PolicyService(agent, GoalEncoder(spec.metadata, device=args.device), seed=args.seed)
    with Host(service, host=args.host, port=args.port, token=args.token) as host:
        print(message("serve page", weights=display(spec.weights), url=host.url))
        if host.is_public:
            print(message("live public", url=host.public_url))
        print(message("live tunnel", port=str(host.port)), flush=True)
        over = threading.Event()
        reporter = threading.Thread(target=_report, args=(service, over), daemon=True)
        reporter.start()
        try:
            service.run(host.call)
        except KeyboardInterrupt:
            print()
        finally:
            over.set()
    print(message("serve over", frames=service.answered, latency=service.latency()))


def _report(service: PolicyService, over: threading.Event) -> None:
    """A line each ten seconds in which frames were answered."""
    before = 0
    while not over.wait(_REPORT_S):
        now = service.answered
        if now > before:
            rate = f"{(now - before) / _REPORT_S:.0f}"
            print(message("serve latency", games=service.connected, rate=rate, latency=service.latency()), flush=True)
        before = now
