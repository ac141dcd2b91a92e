"""The demo: what `make demo` and README speak of, on the barest machine."""

from pathlib import Path

from orchestrator.execution.executor import profiles_by_trial
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.pricing.price import price
from search_spaces import load_sweep
from workers.lab.stages import Features, Fit
from workers.profiles.measuring import sizes_or_unknown
from workers.settling.distances import Choices
from workers.store.backends import Store

ROOT = Path(__file__).parents[1]


def demo(store: Store) -> Plan:
    return make_plan(Choices(store).settle(load_sweep(ROOT / "search_spaces" / "quickstart.yaml").trials()))


def test_the_demo_measures_the_same_on_every_machine_and_trains_nothing_to_measure_with(store: Store) -> None:
    plan = demo(store)
    assert not [stage for stage in plan.stages.values() if isinstance(stage, Fit | Features)]
    assert {planned.trial.evaluation.distances.features for planned in plan.trials} == {"none"}


def test_the_demo_takes_minutes(store: Store) -> None:
    # On two cores 2.3e12 FLOPs of networks this narrow take two minutes; three are promised.
    plan = demo(store)
    assert price(plan, profiles_by_trial(plan.models, sizes_or_unknown)).shared < 2.6e12


def test_ci_runs_the_demo_before_it_installs_any_package() -> None:
    commands = (ROOT / ".ci" / "run").read_text()
    assert 0 < commands.index("make demo") < commands.index("apt-get install")
