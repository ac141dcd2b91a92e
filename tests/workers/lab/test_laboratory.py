"""Keys: what they are made of, and what they leave out."""

from typing import Any

import pytest

from search_spaces.base.sparsity import density_of
from search_spaces.criterion import Criterion
from tests.toys import toy_trial, toy_trials
from workers.data import DatasetCard
from workers.lab.keys import VERSIONS
from workers.lab.points import Wanted
from workers.lab.recorder import Recorder
from workers.lab.references import DENSE
from workers.lab.stages import Prune, Train
from workers.program import Outcome, run_program
from workers.searches import search

MAGNITUDE = Criterion(score="magnitude")
CARD = DatasetCard("fingerprint", (1, 32, 32), 100, 100)


def recorder(card: DatasetCard = CARD, **changes: Any) -> Recorder:
    return Recorder(toy_trial(**changes), card)


def outcome(**changes: Any) -> Outcome:
    lab = recorder(**changes)
    return run_program(lab, lab.trial)


def test_keys_are_stable() -> None:
    # Literals: if one fails, its verb's version has to be raised, or every store loses what it holds.
    lab = recorder()
    initial = lab.initial()
    trained = lab.train(initial, lab.dense(), to=4)
    mask = lab.prune(trained, lab.dense(), by=MAGNITUDE, density=0.8)
    keys = [initial.key, trained.key, mask, lab.redraw(mask, "shuffle_layer"), lab.evaluate(trained)]
    assert [key[:8] for key in keys] == ["3456c489", "0ec2174b", "48439ca3", "79e4a49f", "46cb8ff0"]


def test_training_on_continues_the_same_line() -> None:
    lab = recorder()
    at_once = lab.train(lab.initial(), lab.dense(), to=4)
    halfway = lab.train(lab.initial(), lab.dense(), to=2)
    assert lab.train(halfway, lab.dense(), to=4) == at_once


def test_training_to_where_a_state_is_does_nothing() -> None:
    lab = recorder()
    assert lab.train(lab.initial(), lab.dense(), to=0) == lab.initial()


def test_another_mask_starts_another_line() -> None:
    lab = recorder()
    rewound = lab.train(lab.initial(), lab.dense(), to=1)
    mask = lab.prune(rewound, DENSE, by=MAGNITUDE, density=0.8)
    ticket = lab.train(rewound, mask, to=4)
    assert ticket.line.start == 1
    assert ticket.line != rewound.line


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"batch": 21}},
        {"recipe": {"batch": 20, "precision": "bf16"}},
        {"seeds": [{"init": 0, "order": 1}]},
        {"seeds": [{"init": 1, "order": 0}]},
    ],
)
def test_a_training_key_holds_what_a_step_reads(change: dict[str, Any]) -> None:
    assert outcome(**change).final.line.key != outcome().final.line.key


def test_a_training_key_holds_the_data() -> None:
    def line(card: DatasetCard) -> str:
        lab = recorder(card)
        return lab.train(lab.initial(), DENSE, to=1).line.key

    assert line(CARD) != line(DatasetCard("other", CARD.image, CARD.train, CARD.held_out))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 7},
        {"methods": [{"name": "imp", "rewind": 2}]},
        {"methods": ["one_shot"]},
        {"evaluation": {"samples": 1}},
        {"resources": {"cpus": 8}},
        {"checkpoint_every": {"epochs": 1}},
        {"name": "other"},
    ],
)
def test_a_training_key_leaves_out_what_no_step_reads(change: dict[str, Any]) -> None:
    def dense_line(**changes: Any) -> str:
        lab = recorder(**changes)
        run_program(lab, lab.trial)
        return next(s.line.key for s in lab.stages.values() if isinstance(s, Train) and s.line.mask == DENSE)

    assert dense_line(**change) == dense_line()


def test_changing_the_evaluation_retrains_nothing() -> None:
    assert outcome(evaluation={"samples": 9}).final == outcome().final
    assert outcome(evaluation={"samples": 9}).evaluation != outcome().evaluation


def test_networks_trained_in_bf16_are_measured_in_fp32_by_a_key_of_their_own() -> None:
    state = recorder().initial()  # measured as it is, it is the same state whatever it would be trained in
    keys = [recorder(recipe={"batch": 20, "precision": precision}).evaluate(state) for precision in ("fp32", "bf16")]
    assert keys[0] != keys[1]


def test_a_version_of_a_verb_changes_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = outcome()
    monkeypatch.setitem(VERSIONS, "prune", 99)
    after = outcome()
    assert after.ticket.start == before.ticket.start
    assert after.ticket.mask != before.ticket.mask


def test_the_seed_that_draws_among_equal_scores_is_part_of_what_a_mask_is_made_of() -> None:
    state = recorder().initial()
    masks = [
        recorder(seeds=[{"init": init, "order": 0}]).prune(state, DENSE, by=MAGNITUDE, density=0.8) for init in (0, 1)
    ]
    assert masks[0] != masks[1]


def test_twenty_sparsities_are_twenty_trainings() -> None:
    stages = {}
    for trial in toy_trials(sparsities={"rounds": 20}):
        lab = Recorder(trial, CARD)
        run_program(lab, trial)
        stages |= lab.stages
    # Round 20's mask is trained once, as are the nineteen before it and the dense network.
    assert len(Wanted.by(stages.values()).points) == 21
    assert sum(isinstance(stage, Prune) for stage in stages.values()) == 20


def test_methods_share_their_dense_pretraining() -> None:
    lines = []
    for method in ("imp", "one_shot", "reinit", "shuffle_layer"):
        lab = recorder(methods=[method])
        run_program(lab, lab.trial)
        lines.append({s.line.key for s in lab.stages.values() if isinstance(s, Train) and s.line.mask == DENSE})
    assert all(line == lines[0] for line in lines)


def test_a_first_round_and_one_shot_are_the_same_ticket() -> None:
    assert outcome(sparsities=[0.2]).ticket == outcome(sparsities=[0.2], methods=["one_shot"]).ticket


def test_reinit_keeps_the_mask_and_draws_anew() -> None:
    found, control = outcome(), outcome(methods=["reinit"])
    assert control.ticket.mask == found.ticket.mask
    assert control.ticket.start.epoch == 0
    assert control.ticket.start.line.key != recorder().initial().line.key


def test_shuffle_layer_keeps_the_start_and_changes_the_mask() -> None:
    found, control = outcome(), outcome(methods=["shuffle_layer"])
    assert control.ticket.start == found.ticket.start
    assert control.ticket.mask != found.ticket.mask


def test_there_is_nothing_to_redraw_where_all_is_kept() -> None:
    for control in ("shuffle_layer", "random_global", "erk", "shuffle_filter"):
        assert outcome(methods=[control], sparsities=[0]).ticket.mask == DENSE


def test_a_scope_is_the_same_however_it_is_said() -> None:
    def mask(*components: str) -> str:
        return outcome(methods=[{"name": "imp", "scope": {"components": list(components)}}]).ticket.mask

    assert mask("encoder", "decoder") == mask("decoder", "encoder") == outcome().ticket.mask
    assert mask("encoder") != mask("decoder")


def test_sparsity_zero_is_the_dense_network() -> None:
    dense = outcome(methods=["dense"], sparsities=[])
    for method in ("imp", "one_shot"):
        lab = recorder(methods=[method], sparsities=[0])
        ticket = search(lab, lab.trial.method, density_of(0.0))
        assert lab.train(ticket.start, ticket.mask, to=4) == dense.final


def test_each_round_of_imp_prunes_what_the_last_one_left_as_trained_under_it() -> None:
    lab = recorder(methods=[{"name": "imp", "rate": 0.5}], sparsities=[0.875])
    run_program(lab, lab.trial)
    rounds = [stage for stage in lab.stages.values() if isinstance(stage, Prune)]
    assert [stage.density for stage in rounds] == [0.5, 0.25, 0.125]
    assert [stage.within for stage in rounds] == [DENSE, rounds[0].key, rounds[1].key]
    assert all(stage.state.line.mask == stage.within and stage.state.epoch == 4 for stage in rounds)


@pytest.mark.parametrize("control", ["reinit", "shuffle_layer"])
def test_a_control_changes_the_ticket_of_the_finder_it_names(control: str) -> None:
    imp, one_shot = (outcome(methods=[{"name": control, "of": finder}]).ticket.mask for finder in ("imp", "one_shot"))
    assert imp != one_shot
    if control == "reinit":
        assert one_shot == outcome(methods=["one_shot"]).ticket.mask
