from orchestrator import sweeps
from orchestrator.planning.explain import explain
from search_spaces.sweep import Sweep
from tests.toys import TOY_MODELS, toy_sweep
from workers.store.backends import Store
from workers.trial import run_trial


def test_a_trial_is_explained_from_what_it_is_measured_with_to_its_best_epoch(store: Store) -> None:
    evaluation = {
        "distances": {"features": "fashion", "weights": "ab" * 32, "samples": 50},
        "selection": {"every": 2, "samples": 50},
    }
    sweep = Sweep.model_validate(toy_sweep(models=[TOY_MODELS["vae"]], sparsities=[0.2], evaluation=evaluation))
    sweeps.record(sweep, store)
    (trial,) = sweep.trials()
    does = [step.does for step in explain(trial.id, store).steps]
    assert does[:3] == [
        "train classifier fashion on fashion_mnist",
        "take fashion features of 50 images of held_out",
        "take fashion features of 50 images of selection",
    ]
    assert does[3] == "initialise"
    assert does[-2] == "select the best of 2 epochs by frechet_distance"
    assert does[-1].endswith("on held_out")
    assert sum(step.endswith("on selection") for step in does) == 2


def test_where_a_mask_emerged_is_explained_once_it_has(store: Store) -> None:
    early = {"name": "early_bird", "look_back": 2, "delta": 0.9, "fallback": "filter_norm"}
    sweep = Sweep.model_validate(toy_sweep(methods=[early], sparsities=[0.5]))
    sweeps.record(sweep, store)
    (trial,) = sweep.trials()
    run_trial(trial, store)
    emerge, _ = (step for step in explain(trial.id, store).steps if step.does.startswith("train"))
    assert "until masks by gamma of density 0.5 rest, to epoch 3 at most" in emerge.does
    assert (emerge.epochs, emerge.held) == (2, True)
    assert emerge.seconds
    assert emerge.seconds > 0
