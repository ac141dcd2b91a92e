from orchestrator import sweeps
from orchestrator.explain import explain
from search_spaces.sweep import Sweep
from tests.toys import TOY_MODELS, toy_sweep
from workers.store import Store


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
