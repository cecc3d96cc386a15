"""What the demo does, chapter by chapter, and what it promises of each.

It uses the commands that a person would use, and prints each of them. A promise that does not hold is remembered and
told in the summary, and makes the demo fail.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

from services.cli.child_command import Background, CommandFailed, run_json
from services.cli.console import Console
from services.cli.controller_client import ControllerClient
from services.cli.demo_answers import Comparison, compare
from services.cli.settings import Settings
from services.cli.stack import Stack

MODEL = "digits_cnn"
RATE_PER_S = 150
# Short steps, so that the demo is short; a rollout in earnest keeps the defaults.
STEPS = ("5:4s:40", "25:4s:80", "50:4s:80")
_ROLLOUT_TIMEOUT_S = 150.0
_POLL_S = 0.5
_MOST_DAMAGED_WEIGHT = 25
_REFUSED = 1
_REASON_COLUMNS = 220


class Story:
    """The demo's chapters.

    Args:
        console: Where it is told.
        settings: What runs, and in which folder.
        stack: The running parts.
        recipe: The recipe that is built.
    """

    def __init__(self, console: Console, settings: Settings, stack: Stack, recipe: Path) -> None:
        self.broken: list[str] = []
        self._console = console
        self._settings = settings
        self._endpoints = stack.endpoints
        self._recipe = recipe
        self._rows: list[tuple[str, str]] = []
        self._facts: dict[str, Any] = {}

    async def build_first(self) -> None:
        """Train, and publish version 1."""
        self._chapter("1. Train a residual CNN on 1,797 scanned digits and publish it in FP32")
        built = await self._build("--precision", "fp32")
        self._note("version 1", self._built_words(built))

    async def tell(self) -> None:
        """Everything that needs a running system."""
        self._chapter("2. Send the whole held-out set over REST and gRPC, and compare with Triton itself")
        self._check_answers(await asyncio.to_thread(compare, self._endpoints, self._data(1), MODEL), version=1)
        self._chapter("3. Publish version 2 in INT8, while version 1 serves")
        self._note("version 2", self._built_words(await self._build("--precision", "int8")))
        traffic = await self._start_traffic()
        try:
            await self._canary()
            await self._damaged()
        finally:
            totals = await traffic.stop()
        self._check_traffic(totals)
        self._chapter("6. Gate on the SLO file")
        await self._gate()

    def summarise(self) -> None:
        """Print what happened, and what was not as promised."""
        endpoints = self._endpoints
        self._console.say()
        self._console.table("What happened", ("what", "result"), self._rows)
        for words in self.broken:
            self._console.say(f"NOT AS PROMISED: {words}", style="bold red")
        if not self.broken:
            self._console.say("everything was as promised", style="bold green")
        self._console.say(f"\n  dashboard {endpoints.controller_url}/   OpenAPI {endpoints.controller_url}/docs")
        self._console.say(f"  metrics   {endpoints.metrics_url}")
        self._console.say(f"  logs      {self._settings.state_dir / 'logs'}\n")
        self._console.say(f"Ask it yourself:\n  {self._curl()}")
        result = {"as_promised": not self.broken, "broken": self.broken, "summary": dict(self._rows), **self._facts}
        self._console.result(result)

    async def _canary(self) -> None:
        self._chapter(f"4. Canary: version 1 -> 2 under {RATE_PER_S} requests/s, until promotion")
        rollout, history = await self._roll(2)
        self._expect(rollout["phase"] == "promoted", f"version 2 is {rollout['phase']}: {rollout['reason']}")
        shares = [_share(line) for line in history if line["judged"] and line["source_weight_percent"]]
        self._note("canary 1 -> 2", f"{rollout['phase']}; candidate's share of answers by step: {', '.join(shares)}")
        self._facts["canary"] = {"rollout": rollout, "history": history}
        answers = await asyncio.to_thread(compare, self._endpoints, self._data(2), MODEL)
        self._check_answers(answers, version=2)

    async def _damaged(self) -> None:
        self._chapter(
            "5. Version 3 has damaged weights: the gate refuses it; forced through, the rollout takes it back"
        )
        source = self._recipe.parent / "checkpoint.safetensors"
        damaged = self._settings.state_dir / "damaged.safetensors"
        self._command(f"python -m enginebuild.damage {source.name} {damaged.name}")
        await run_json(["-m", "enginebuild.damage", str(source), str(damaged)], empty=True)
        try:
            await self._build("--precision", "fp32", "--checkpoint", str(damaged))
        except CommandFailed as refusal:
            self._expect(refusal.code == _REFUSED, f"the gate did not refuse the damaged weights: {refusal}")
            self._console.say(f"  {refusal.words}")
        else:
            self._expect(False, "the gate let the damaged weights pass")
        await self._build("--precision", "fp32", "--checkpoint", str(damaged), "--waive-gate", "demo: a bad release")
        rollout, history = await self._roll(3)
        heaviest = max(line["target_weight_percent"] for line in history)
        self._expect(rollout["phase"] == "rolled_back", f"the damaged version 3 is {rollout['phase']}")
        self._expect(heaviest <= _MOST_DAMAGED_WEIGHT, f"the damaged version 3 reached {heaviest} % of the traffic")
        self._note("damaged version 3", f"{rollout['phase']} by itself at {heaviest} % weight: {rollout['reason']}")
        self._facts["damaged"] = {"rollout": rollout, "history": history}

    async def _gate(self) -> None:
        slo = Path(__file__).parents[2] / "loadtest" / "slo.yaml"
        endpoints = self._endpoints
        arguments = ["loadtest", str(slo), "--rest", endpoints.rest, "--grpc", endpoints.grpc]
        arguments += ["--data", str(self._data(2)), "--duration", "12"]
        try:
            gate = await self._penstock(*arguments)
        except CommandFailed as missed:
            gate = {"objectives": [], "verdict": missed.words, "reasons": [], **missed.document}
            self._expect(False, f"the SLO gate ended with {missed.code}: {missed.words}")
        for one in gate["objectives"]:
            self._console.say(f"  {one['objective']:17} {one['measured']} (bound {one['bound']}): {one['verdict']}")
        self._note("SLO gate", "; ".join([gate["verdict"], *gate["reasons"]]))
        self._facts["slo"] = gate

    async def _roll(self, version: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Start a rollout, tell each of its steps, and return it and its history when it is over."""
        arguments = ["rollout", "start", MODEL, "--version", str(version), "--actor", "demo"]
        arguments += [part for step in STEPS for part in ("--step", step)]
        # A busy laptop stalls for some ms now and then; what is less than this is not to decide a demonstration.
        arguments += ["--p99-floor-s", "0.02"]
        started = await self._penstock(*arguments, "--controller", self._endpoints.controller_url)
        until = asyncio.get_running_loop().time() + _ROLLOUT_TIMEOUT_S
        told = 0
        with ControllerClient(self._endpoints.controller_url) as client:
            while True:
                rollout = await asyncio.to_thread(client.get, f"/v1/rollouts/{started['id']}")
                found = await asyncio.to_thread(client.get, f"/v1/rollouts/{started['id']}/history")
                history: list[dict[str, Any]] = found["history"]
                for line in history[told:]:
                    weight = f"{line['source_weight_percent']} -> {line['target_weight_percent']} %"
                    self._console.say(f"  {line['target']:13} weight {weight:11} {_shortened(line['reason'])}")
                told = len(history)
                if not rollout["active"]:
                    return rollout, history
                if asyncio.get_running_loop().time() > until:
                    self._expect(False, f"rollout {started['id']} is not over after {_ROLLOUT_TIMEOUT_S:g} s")
                    return rollout, history
                await asyncio.sleep(_POLL_S)

    async def _start_traffic(self) -> Background:
        endpoints = self._endpoints
        arguments = ["--rest", endpoints.rest, "--grpc", endpoints.grpc, "--model", MODEL, "--rate", str(RATE_PER_S)]
        arguments += ["--data", str(self._data(1)), "--json"]
        self._command(f"{shlex.join(['python', '-m', 'loadtest.traffic', *arguments])} &")
        return await Background.start(["-m", "loadtest.traffic", *arguments])

    def _check_answers(self, found: Comparison, version: int) -> None:
        manifest = json.loads((self._data(version).parent / "manifest.json").read_text())
        promised = next(entry["value"] for entry in manifest["metrics"] if entry["name"] == "accuracy")
        words = (
            f"{found.samples} digits over REST and gRPC: {found.identical} of {found.answers} answers byte-identical "
            f"to Triton's, accuracy {found.accuracy:.4f}, manifest {promised:.4f}"
        )
        self._note(f"answers of version {version}", words)
        self._expect(found.identical == found.answers, f"answers differ from Triton's: {words}")
        self._expect(found.versions == {version}, f"version {version} should have answered, found {found.versions}")
        self._expect(abs(found.accuracy - promised) < 1e-9, f"accuracy is not the manifest's: {words}")  # noqa: PLR2004

    def _check_traffic(self, totals: dict[str, Any]) -> None:
        latency = ", ".join(
            f"{name} {value} ms" for name, value in totals["latency_ms"].items() if name.startswith("p")
        )
        words = f"{totals['requests']} requests, {totals['failed']} failed; {latency}"
        self._note("traffic meanwhile", words)
        self._expect(totals["requests"] > 0 and totals["failed"] == 0, f"requests failed: {totals['failures']}")
        self._facts["traffic"] = {key: value for key, value in totals.items() if key != "timeline"}

    async def _build(self, *options: str) -> dict[str, Any]:
        repository = str(self._settings.repository)
        return await self._penstock("build", str(self._recipe), "--repository", repository, *options)

    async def _penstock(self, *arguments: str) -> dict[str, Any]:
        self._command(shlex.join(["penstock", *arguments]))
        with self._console.progress("working"):
            document: dict[str, Any] = await run_json(["-m", "services.cli.main", *arguments, "--json"])
        return document

    def _data(self, version: int) -> Path:
        return self._settings.repository / MODEL / str(version) / "evaluation.npz"

    def _curl(self) -> str:
        zeros = f"[{','.join(['0'] * 64)}]"
        body = f'{{"inputs":[{{"name":"image","datatype":"FP32","shape":[1,1,8,8],"data":{zeros}}}]}}'
        return f"curl -s http://{self._endpoints.rest}/v2/models/{MODEL}/infer -d '{body}'"

    @staticmethod
    def _built_words(built: dict[str, Any]) -> str:
        published = built["published"]
        made = next(one for one in built["candidates"] if one["variant"] == published["variant"])
        accuracy, speed = made["metrics"][0], made["speed"]
        return (
            f"{published['variant']}: accuracy {accuracy['value']:.2%} of {accuracy['samples']} held-out digits, "
            f"{made['size_bytes'] / 1024:,.0f} KiB, {speed['speedup']:.2f}x FP32 at batch {speed['batch_size']}"
        )

    def _chapter(self, title: str) -> None:
        self._console.say(f"\n{title}", style="bold")

    def _command(self, command: str) -> None:
        self._console.say(f"  $ {command}", style="dim")

    def _note(self, what: str, result: str) -> None:
        self._rows.append((what, result))
        self._console.say(f"  {result}")

    def _expect(self, held: bool, otherwise: str) -> None:
        if not held:
            self.broken.append(otherwise)


def _shortened(reason: str) -> str:
    """Return the beginning of a reason; the whole of it is in ``penstock rollout history``."""
    return reason if len(reason) <= _REASON_COLUMNS else f"{reason[:_REASON_COLUMNS].rstrip()} ..."


def _share(line: dict[str, Any]) -> str:
    candidate, stable = (line["judged"][side]["requests"] for side in ("candidate", "stable"))
    return f"{100 * candidate / max(1, candidate + stable):.1f} % at weight {line['source_weight_percent']} %"
