"""Tickets that move between models, trained for real."""

from typing import Any

import pytest
import torch

from orchestrator import results
from orchestrator.planning.plan import make_plan
from search_spaces.trial import Trial
from tests.toys import toy_trials
from workers import data
from workers.archive.states import Archive
from workers.channels.compaction import Compaction
from workers.channels.kept import channel_groups, kept_channels
from workers.lab.recorder import Recorder
from workers.lab.references import MaskKey, State
from workers.lab.stages import Graft, Initial, Redraw
from workers.models import build
from workers.models.state import weights_only
from workers.program import Outcome, run_program
from workers.store.backends import Store, open_store
from workers.trial import run_trial

pytestmark = pytest.mark.usefixtures("one_thread")

VAE = {"name": "vae", "width": 4, "latent": 3}
DCGAN = {"name": "dcgan", "width": 4, "latent": 3}
IMAGE = (1, 32, 32)


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return open_store(str(tmp_path))


def transfer(model: dict[str, Any] = VAE, *, method: Any = "imp", **options: Any) -> dict[str, Any]:
    return {"name": "transfer", "source": {"model": model, "method": method}, **options}


def one(method: Any, model: dict[str, Any] = DCGAN, **changes: Any) -> Trial:
    (trial,) = toy_trials(models=[model], methods=[method], **{"sparsities": [0.488], **changes})
    return trial


def program(trial: Trial) -> tuple[Recorder, Outcome]:
    recorder = Recorder(trial, data.card(trial.dataset))
    return recorder, run_program(recorder, trial)


def tensors(store: Store, state: State) -> dict[str, torch.Tensor]:
    point = Archive(store).point(state, moments=False)
    assert point is not None
    return weights_only(point.tensors)


def correlation(store: Store, one: Outcome, other: Outcome) -> float:
    """Of the weights that two tickets with one mask start from, in the roles that moved."""
    mask = Archive(store).mask(one.ticket.mask)
    assert mask is not None
    starts = [tensors(store, outcome.ticket.start) for outcome in (one, other)]
    kept = [torch.cat([start[name][kept] for name, kept in mask.items()]) for start in starts]
    return float(torch.corrcoef(torch.stack(kept))[0, 1])


CHAIN = {"source": {"model": DCGAN, "method": transfer(VAE, method="snip", move="decoder")}, "move": "encoder"}


@pytest.mark.parametrize(
    ("model", "method", "rewind"),
    [
        (DCGAN, transfer(VAE, method="snip"), 0),
        (DCGAN, transfer(VAE, method="one_shot"), 3),
        (VAE, transfer(DCGAN, method="one_shot"), 1),
        (DCGAN, {"name": "transfer", "source": {"model": VAE, "method": "snip", "seed": 1}}, 0),
        (DCGAN, transfer(DCGAN, method="one_shot", weights="source_init"), 1),
        (VAE, {"name": "transfer", **CHAIN}, 0),
    ],
    ids=["at the start", "late", "back", "another seed", "first weights", "of what stayed of another transfer"],
)
def test_the_takers_own_weights_are_not_those_that_move(
    model: dict[str, Any], method: dict[str, Any], rewind: int, store: Store
) -> None:
    trials = [one(m, model, rewind=rewind) for m in (method, {"name": "mask_only", "of": method})]
    for trial in trials:
        run_trial(trial, store)
    moved, alone = (program(trial)[1] for trial in trials)
    assert moved.ticket.mask == alone.ticket.mask
    assert abs(correlation(store, moved, alone)) < 0.1


@pytest.mark.parametrize("control", ["reinit", "random_global", "shuffle_layer"])
def test_a_control_of_a_ticket_that_is_such_a_control_itself_draws_anew(control: str) -> None:
    given, _ = program(one({"name": control, "of": "one_shot"}, VAE))
    taken, _ = program(one({"name": control, "of": transfer(VAE, method={"name": control, "of": "one_shot"})}))
    own = [stage for key, stage in taken.stages.items() if taken.makers[key] is taken]
    drawn = {stage.draw for stage in own if isinstance(stage, Initial | Redraw)}
    assert not drawn & {stage.draw for stage in given.stages.values() if isinstance(stage, Initial | Redraw)}


@pytest.mark.parametrize("move", ["both", "decoder", "encoder"])
def test_a_ticket_starts_from_the_sources_weights_where_roles_match_and_from_its_own_elsewhere(
    move: str, store: Store
) -> None:
    trial = one(transfer(move=move))
    assert run_trial(trial, store) == "done"
    recorder, outcome = program(trial)
    graft = recorder.stages[outcome.ticket.start.key]
    assert isinstance(graft, Graft)
    start, source, own = (tensors(store, state) for state in (graft.state, graft.source, graft.onto))
    vae, gan = build(one("imp", VAE).model, IMAGE), build(trial.model, IMAGE)
    given = {vae.role(name): tensor for name, tensor in source.items()}
    bodies = {"both": ("encode", "decode"), "decoder": ("decode",), "encoder": ("encode",)}[move]
    moved = [n for n in start if gan.role(n) in given and gan.role(n).split(".")[0] in bodies]
    assert len(moved) >= 15
    for name, tensor in start.items():
        assert tensor.equal(given[gan.role(name)] if name in moved else own[name]), name


def test_the_mask_is_the_sources_where_roles_match_and_of_nothing_else(store: Store) -> None:
    trial, source = one(transfer()), one("imp", VAE)
    for each in (trial, source):
        run_trial(each, store)
    moved, given = (results.masks(store.uri).query("trial_id == @t.id").set_index("role") for t in (trial, source))
    assert len(moved) == 6
    assert (moved["mask"] != "").all()
    assert (moved["kept"] == given.loc[moved.index, "kept"]).all()
    (row,) = results.trials(store.uri).query("method == 'transfer'").to_dict("records")
    assert row["unmapped"].split(", ") == ["encode.to_logit.conv.weight", "decode.from_noise.conv.weight"]
    assert row["source"] == source.id


def test_controls_leave_alone_what_has_no_counterpart(store: Store) -> None:
    names = ("shuffle_layer", "random_global", "erk")
    for trial in toy_trials(
        models=[DCGAN], methods=[{"name": n, "of": transfer(move="decoder")} for n in names], sparsities=[0.488]
    ):
        assert run_trial(trial, store) == "done"
    rows = results.trials(store.uri).set_index("method")
    assert set(results.masks(store.uri)["role"]) == {f"decode.up{k}.conv.weight" for k in (1, 2, 3)}
    assert rows["unmapped"].str.contains("decode.from_noise.conv.weight").all()
    assert rows["kept"].nunique() == 1


def test_a_generators_average_takes_what_moves_too(store: Store) -> None:
    trial = one(transfer(), model={**DCGAN, "ema": 0.9})
    assert run_trial(trial, store) == "done"
    _, outcome = program(trial)
    start = tensors(store, outcome.ticket.start)
    assert start["average.up2.conv.weight"].equal(start["generator.up2.conv.weight"])


def test_what_moves_is_part_of_what_a_graft_is() -> None:
    starts = {program(one(transfer(move=move)))[1].ticket.start.key for move in ("both", "decoder", "encoder")}
    assert len(starts) == 3


def test_masked_weights_stay_zero_through_a_transferred_tickets_training(store: Store) -> None:
    trial = one(transfer())
    run_trial(trial, store)
    _, outcome = program(trial)
    final, mask = tensors(store, outcome.final), Archive(store).mask(outcome.ticket.mask)
    assert mask is not None
    assert all(not final[name][~kept].any() for name, kept in mask.items())


def test_first_weights_of_the_source_can_move_instead() -> None:
    recorder, outcome = program(one(transfer(weights="source_init")))
    graft = recorder.stages[outcome.ticket.start.key]
    assert isinstance(graft, Graft)
    assert (graft.source.epoch, graft.onto.epoch, graft.state.epoch) == (0, 1, 1)


def test_the_controls_take_mask_and_weights_apart() -> None:
    tickets = {}
    for method in (
        transfer(),
        {"name": "mask_only", "of": transfer()},
        {"name": "weights_only", "of": transfer()},
        "imp",
    ):
        name = method if isinstance(method, str) else method["name"]
        tickets[name] = program(one(method))[1].ticket
    moved, alone, weights = tickets["transfer"], tickets["mask_only"], tickets["weights_only"]
    assert alone.mask == moved.mask
    assert alone.start.epoch == tickets["imp"].start.epoch
    assert weights.start == moved.start
    assert weights.mask == Recorder(one("imp"), data.card(one("imp").dataset)).dense()


def test_what_the_source_takes_to_find_is_charged(store: Store) -> None:
    trials = (one(transfer()), one("imp", VAE))
    for trial in trials:
        run_trial(trial, store)
    rows = results.trials(store.uri).set_index("method")
    assert rows["search_epochs"]["transfer"] == rows["search_epochs"]["imp"] + 1  # and its own rewind state
    own = rows["dense_step_flops"]["transfer"] * (120 // 20)
    assert rows["search_flops"]["transfer"] == pytest.approx(rows["search_flops"]["imp"] + own, rel=1e-9)


def test_a_source_is_charged_by_its_own_batches_and_data(store: Store) -> None:
    source = {"model": VAE, "recipe": {"batch": 60}}
    for trial in (one({"name": "transfer", "source": source}), one("imp", VAE, recipe={"batch": 60})):
        run_trial(trial, store)
    rows = results.trials(store.uri).set_index("method")
    own = rows["dense_step_flops"]["transfer"] * (120 // 20)
    assert rows["search_flops"]["transfer"] == pytest.approx(rows["search_flops"]["imp"] + own, rel=1e-9)


def test_weights_alone_are_charged_what_they_took(store: Store) -> None:
    run_trial(one({"name": "weights_only", "of": transfer()}), store)
    (row,) = results.trials(store.uri).to_dict("records")
    assert (row["search_epochs"], row["ticket_epochs"]) == (1 + 1, 3), "both networks to their rewind points"


def test_sources_are_shared_by_all_that_take_from_them() -> None:
    methods = ["imp", transfer(), {"name": "shuffle_layer", "of": transfer()}, {"name": "reinit", "of": transfer()}]
    takers = toy_trials(models=[DCGAN], methods=methods, sparsities=[0.488])
    plan = make_plan([*takers, one("imp", VAE)])
    alone = make_plan([one("imp", VAE)]).epochs + make_plan([one("imp")]).epochs
    assert plan.epochs == alone + 3 + 3 + 4 + 1, "and the taker's own first epoch"


def test_channels_that_moved_are_cut_but_at_an_unmapped_boundary(store: Store) -> None:
    early = {"name": "early_bird", "look_back": 2, "delta": 0.9, "scope": {"components": ["decoder"]}}
    trial = one(transfer(method=early, move="decoder"), sparsities=[0.5])
    assert run_trial(trial, store) == "done"
    _, outcome = program(trial)
    mask = Archive(store).mask(outcome.ticket.mask)
    assert mask is not None
    gan = build(trial.model, IMAGE)
    groups = channel_groups(gan.networks)
    kept = {name: (int(channels.sum()), len(channels)) for name, channels in kept_channels(groups, mask).items()}
    assert kept["generator.from_noise.conv.weight"] == (16, 16), "its own first stage makes them all"
    assert any(left < all_ for name, (left, all_) in kept.items() if name.startswith("generator.up"))
    assert Compaction(gan, mask).smaller
    assert not mask["generator.up3.conv.weight"].all(), "though some are not read"


@pytest.mark.parametrize("model", [VAE, DCGAN])
@pytest.mark.parametrize("given", [{"name": "autoencoder", "width": 4, "latent": 3}, VAE, DCGAN])
def test_tickets_move_across_data_sets_between_all_families(
    given: dict[str, Any], model: dict[str, Any], store: Store
) -> None:
    source = {"model": given, "dataset": {"name": "digits", "fraction": 0.03}, "epochs": 2}
    trial = one({"name": "transfer", "source": source}, model=model)
    assert run_trial(trial, store) == "done"
    recorder, _ = program(trial)
    assert {recorder.makers[key].trial.dataset.name for key in recorder.makers} == {"digits", "toy_digits"}
    (row,) = results.trials(store.uri).to_dict("records")
    assert row["kept"] < row["prunable"]
    assert row["source_fingerprint"] not in (None, row["data_fingerprint"])


def test_a_dense_source_moves_nothing_but_weights() -> None:
    _, outcome = program(one(transfer(), sparsities=[0.0]))
    assert outcome.ticket.mask == MaskKey(Recorder(one("imp"), data.card(one("imp").dataset)).dense())
