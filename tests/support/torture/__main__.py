"""The command behind `scripts/torture`."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from tests.support.torture import show
from tests.support.torture.pauses import budgets
from tests.support.torture.run import HARMS, KILLS, Result, Settings, Torture
from tests.support.torture.script import Kind, Pace


@click.command()
@click.option("--kills", default=2000, show_default=True, help="Of workers, in the first run.")
@click.option("--seconds", default=1800.0, show_default=True, help="At most, for each run.")
@click.option("--seed", type=int, help="The same choices once more.  [a new one]")
@click.option("--sessions", default=5000, show_default=True, help="Open in the second run.")
@click.option("--every", default=0.25, show_default=True, help="Seconds between two, at a mean.")
@click.option("--threads", default=2, show_default=True, help="Of lbsplice.")
@click.option("--signals", help=f"Only these of: {', '.join(HARMS)}; commas between them.")
@click.option("--only", type=click.Choice(("storm", "pauses")), help="One of the two runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table.")
def main(
    kills: int,
    seconds: float,
    seed: int | None,
    sessions: int,
    every: float,
    threads: int,
    signals: str | None,
    only: str | None,
    as_json: bool,
) -> None:
    """Kill lbsplice under load, over and over; nothing may be lost, doubled or ended.

    Two runs. The storm: streams, full pipes, half-closed, idle and short sessions while
    the worker is killed at random moments, the vault too, and reloads and upgrades come
    between. The pauses: many sessions at rest, and what one stream feels of each crash,
    upgrade and reload. Status 0 if everything held and the pauses are within the budgets."""
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    chosen = signals.split(",") if signals else list(HARMS[:-1])
    if unknown := set(chosen) - set(HARMS):
        raise click.BadParameter(f"unknown: {', '.join(sorted(unknown))}", param_hint="--signals")
    click.echo(f"seed {seed}", err=True)
    storm = Settings(
        seed,
        kills,
        seconds,
        every,
        threads,
        {name: 0.5 if name not in (*KILLS, "STOP") else 2.0 for name in chosen},
        incidents=True,
    )
    results: dict[str, Result] = {}
    if only != "pauses":
        results["storm"] = run("storm", storm)
    if only != "storm":
        results["pauses"] = run("pauses", pauses(seed, sessions, threads, seconds, chosen))
        results["pauses"].failures += budgets(results["pauses"].pauses)
    if as_json:
        click.echo(json.dumps(show.as_json(results), indent=1))
    else:
        Console().print(show.table(results))
    for title, result in results.items():
        for failure in result.failures:
            click.echo(f"{title}: {failure}", err=True)
    sys.exit(any(result.failures for result in results.values()))


def pauses(seed: int, sessions: int, threads: int, seconds: float, chosen: list[str]) -> Settings:
    """Sessions at rest but for a few; a second and more between two harms."""
    wanted = {"KILL": 3.0, "reload": 2.0, "upgrade": 1.0, "nothing": 2.0}
    harms = {name: share for name, share in wanted.items() if name in (*chosen, "nothing")}
    return Settings(
        seed,
        kills=30,
        seconds=seconds,
        every_s=1.2,
        threads=threads,
        harms=harms,
        counts={Kind.IDLE: sessions, Kind.ECHO: 10},
        shorts_per_s=0,
        pace=Pace(echo_every_s=0.1),
    )


def run(title: str, settings: Settings) -> Result:
    """With a line that tells how far it is, where there is a terminal."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="lbsplice-torture-") as directory:
        if not console.is_terminal:
            return Torture(settings, Path(directory)).run()
        with console.status(title) as status:

            def live(result: Result, load: show.Load) -> None:
                status.update(f"{title}  {show.line(result, load)}")

            return Torture(settings, Path(directory), live).run()


if __name__ == "__main__":
    main()
