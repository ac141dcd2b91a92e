"""Search programs: what each finder and control asks of the laboratory."""

from typing import Any

import pytest

from search_spaces.criterion import Scope
from search_spaces.methods import methods
from tests.toys import toy_trial
from tests.workers.lab.test_laboratory import CARD
from workers.lab.recorder import Recorder
from workers.lab.references import DENSE, Steps
from workers.lab.stages import Emerge, Initial, Prune, Redraw, Stage, Train
from workers.program import Outcome, run_program

FINDERS: list[Any] = [
    "imp",
    "one_shot",
    "magnitude",
    "snip",
    "grasp",
    "synflow",
    "random_chain",
    {"name": "early_bird", "look_back": 2},
    {"name": "fixed_epoch", "epoch": 2},
]
OF_ANY = ["reinit", "shuffle_layer", "shuffle_filter", "random_global", "erk", "invert", "small_dense", "fine_tune"]
DECAYING = {"batch": 20, "decay": {"epochs": 6}}


def ran(method: Any, epochs: int = 6, rewind: int = 1, sparsity: float = 0.488) -> tuple[Recorder, Outcome]:
    trial = toy_trial(methods=[method], epochs=epochs, rewind=rewind, sparsities=[sparsity], recipe=DECAYING)
    lab = Recorder(trial, CARD)
    return lab, run_program(lab, trial)


def stages(lab: Recorder, kind: type[Stage]) -> list[Any]:
    return [stage for stage in lab.stages.values() if isinstance(stage, kind)]


@pytest.mark.parametrize("finder", FINDERS, ids=str)
@pytest.mark.parametrize("control", [*OF_ANY, "lr_rewinding"])
def test_any_control_applies_to_any_finder(control: str, finder: Any) -> None:
    _, found = ran(finder)
    _, changed = ran({"name": control, "of": finder})
    assert (changed.final.key == found.final.key) == ((control, str(finder)) in _SAME)


# Where the state that was pruned is where the ticket starts, going on from it is the ticket itself, but for moments.
_SAME = {
    (control, str(finder))
    for control in ("fine_tune", "lr_rewinding")
    for finder in (f for f in FINDERS if f in ("magnitude", "snip", "grasp", "synflow"))
}


@pytest.mark.parametrize("finder", ["magnitude", "snip", "grasp", "synflow"])
def test_pruning_before_training_scores_first_weights_unless_told_to_rewind(finder: str) -> None:
    lab, found = ran(finder)
    (prune,) = stages(lab, Prune)
    assert prune.state == found.ticket.start == lab.initial()
    lab, found = ran({"name": finder, "rewind": 2})
    (prune,) = stages(lab, Prune)
    assert prune.state == found.ticket.start
    assert found.ticket.start.epoch == 2


def test_only_scores_that_look_at_data_have_data_in_their_keys() -> None:
    def mask(finder: str, order: int) -> str:
        trial = toy_trial(methods=[finder], sparsities=[0.5], seeds=[{"init": 0, "order": order}])
        lab = Recorder(trial, CARD)
        return run_program(lab, trial).ticket.mask

    assert mask("snip", 0) != mask("snip", 1)
    assert mask("synflow", 0) == mask("synflow", 1)


def test_a_random_chain_draws_afresh_in_every_round() -> None:
    lab, found = ran("random_chain")
    draws = [stage.draw for stage in stages(lab, Initial)]
    assert draws == ["initial", "round 1", "round 2", "round 3"]
    trained = [stage.state for stage in stages(lab, Prune)]
    assert len({state.line.origin for state in trained}) == 3
    assert all(state.line.origin.epoch == 0 for state in trained)
    assert found.ticket.start.epoch == 0
    assert found.ticket.start not in {state.line.origin for state in trained}


def test_a_random_chain_is_not_the_random_ticket_of_the_paper() -> None:
    assert ran("random_chain")[1].ticket.mask != ran("reinit")[1].ticket.mask


@pytest.mark.parametrize("how", ["shuffle_layer", "shuffle_filter", "random_global", "erk"])
def test_a_redrawn_ticket_keeps_its_start(how: str) -> None:
    lab, changed = ran(how)
    (redraw,) = stages(lab, Redraw)
    assert (redraw.how, redraw.mask) == (how, ran("imp")[1].ticket.mask)
    assert changed.ticket.start == ran("imp")[1].ticket.start


def test_inverting_keeps_the_worst_in_every_round() -> None:
    rounds = stages(ran("invert")[0], Prune)
    assert len(rounds) == 3
    assert all(stage.by.keep == "worst" for stage in rounds)
    assert all(stage.by.keep is None for stage in stages(ran("imp")[0], Prune))


@pytest.mark.parametrize("equal", ["parameters", "flops"])
def test_a_small_dense_network_takes_nothing_of_a_ticket_but_its_size(equal: str) -> None:
    _, small = ran({"name": "small_dense", "equal": equal})
    slim = small.ticket.start.line.slim
    assert slim is not None
    assert (slim.mask, slim.equal) == (ran("imp")[1].ticket.mask, equal)
    assert (small.ticket.start.epoch, small.ticket.mask) == (0, DENSE)
    assert small.final.line.slim == slim


def test_fine_tuning_goes_on_from_the_weights_that_were_pruned_for_as_long_as_the_ticket() -> None:
    lab, tuned = ran("fine_tune")
    last = stages(lab, Prune)[-1]
    assert tuned.ticket.start == last.state
    assert tuned.final.epoch - tuned.ticket.start.epoch == 6 - 1
    assert tuned.final.line.steps == Steps()


def test_rewinding_the_learning_rate_trains_the_same_weights_with_the_ticket_s_rates() -> None:
    tuned, rewound = ran("fine_tune")[1], ran("lr_rewinding")[1]
    assert rewound.ticket.start == tuned.ticket.start
    assert rewound.final.line.steps == Steps(lag=6 - 1)
    assert rewound.final.key != tuned.final.key


def test_early_bird_looks_for_its_mask_on_the_dense_line_of_all_others() -> None:
    lab, found = ran({"name": "early_bird", "look_back": 3, "max_search_epochs": 4})
    (emerge,) = stages(lab, Emerge)
    dense = next(stage for stage in stages(ran("imp")[0], Train) if stage.line.mask == DENSE)
    assert emerge.line == dense.line
    assert (emerge.look_back, emerge.delta, emerge.last) == (3, 0.1, 4)
    assert found.ticket.mask == emerge.key
    assert found.ticket.start.emergence == emerge.key


def test_a_ticket_s_key_does_not_depend_on_when_its_mask_emerges(monkeypatch: pytest.MonkeyPatch) -> None:
    method = {"name": "early_bird", "look_back": 2}
    planned = ran(method)[1]
    monkeypatch.setattr(Recorder, "emergence", lambda self, stage: 4)
    late = ran(method)[1]
    assert late.ticket.start.epoch == 4
    assert (late.final.key, late.evaluation) == (planned.final.key, planned.evaluation)


def test_both_names_of_a_reinitialised_early_bird_are_one_ticket() -> None:
    early = {"name": "early_bird", "look_back": 2}
    named, composed = (ran({"name": name, "of": early})[1].ticket for name in ("early_bird_reinit", "reinit"))
    assert named == composed
    assert named.mask == ran(early)[1].ticket.mask


def test_a_fixed_epoch_is_pruned_as_early_bird_prunes() -> None:
    lab, found = ran({"name": "fixed_epoch", "epoch": 2})
    (prune,) = stages(lab, Prune)
    (emerge,) = stages(ran({"name": "early_bird", "look_back": 2})[0], Emerge)
    assert (prune.by, prune.density) == (emerge.by, emerge.density)
    assert prune.state == found.ticket.start
    assert found.ticket.start.epoch == 2


def test_a_scope_is_in_the_key_of_a_mask_and_the_default_written_out_is_not() -> None:
    plain = ran("imp")[1].ticket.mask
    assert ran({"name": "imp", "scope": {"ranking": "global"}})[1].ticket.mask == plain
    for scope in ({"ranking": "layerwise"}, {"components": ["encoder"]}, {"exempt": ["encode.down1"]}):
        assert ran({"name": "imp", "scope": scope})[1].ticket.mask != plain


def test_by_default_all_components_are_ranked_together() -> None:
    assert Scope() == Scope(components=(), ranking="global", exempt=())
    assert all(stage.by.scope is None for stage in stages(ran("imp")[0], Prune))


def test_every_method_has_a_program() -> None:
    from workers.searches import controls, searches

    assert set(methods.names) == {*searches, *controls, "invert", "mask_only", "transfer"}
