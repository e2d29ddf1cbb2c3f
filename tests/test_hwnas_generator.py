"""The generator that knows the network: what it reads from one, and what it makes of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.beliefs import Belief
from nas.features import describe
from nas.generate import AskTell
from nas.generators import Limit, Objective, hwnas
from nas.graph import Operation, TracingError, trace
from nas.improvement import Believed, cells_of, expected_improvement, log_improvement
from nas.networks import Networks
from nas.pool import Pool
from nas.regions import guessed, radius, slopes_of, successes
from nas.spaces import Choice, Choices, canonical, find_space
from nas.surrogate import Surrogate
from nas.weightless import weightless
from profiles.errors import InputError
from profiles.records import digest_of
from profiles.registry import names


def described(module: nn.Module, shape: tuple[int, ...]) -> dict[str, float]:
    return describe(trace(module, shape))


def test_a_small_network_by_hand() -> None:
    """A 3x3 convolution 1 -> 4 on 8 x 8 (64 positions x 36), two ways on: a 1x1 convolution (64 x 16) and none."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.way = nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head((self.way(x) + x).mean((2, 3)))

    found = described(Branches(), (1, 8, 8))
    assert found["count conv2d 3x3"] == found["count conv2d 1x1"] == found["count linear"] == found["count add"] == 1
    assert found["macs conv2d 3x3"] == pytest.approx(64 * 36 / 1e6)
    assert found["log macs"] == pytest.approx(math.log1p(64 * 36 + 64 * 16 + 8))
    assert found["log weights"] == pytest.approx(math.log1p(40 + 20 + 10))
    assert (found["longest"], found["shortest"], found["mean"]) == (3, 2, 2.5)
    assert found["log paths"] == pytest.approx(math.log(2))
    assert found["depth at 1/1"] == 2
    # The input, and 4 x 64 numbers after each of stem, way and sum: three of these are needed while adding.
    assert found["log peak"] == pytest.approx(math.log1p(3 * 256))


def test_what_follows_from_zeros_alone_is_dead() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.c(x)  # reaches nothing
            return self.a(x) + torch.relu(self.b(x * 0.0))

    operations = trace(Dead(), (1, 4, 4))
    assert [operation.live for operation in operations if operation.kind.startswith("conv")] == [False, True, False]
    found = describe(operations)
    assert found["count conv2d 3x3"] == 3 and found["live count conv2d 3x3"] == 1


def test_a_network_that_ignores_its_input_has_no_path() -> None:
    class Deaf(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul(0.0).mean((2, 3))

    assert "longest" not in described(Deaf(), (1, 4, 4))


def test_in_place_operations_and_other_modules_are_seen() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Flatten(2),
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
        nn.LSTM(16, 4, batch_first=True),
    )
    found = described(module, (3, 8, 8))
    assert found["count relu"] >= 1 and found["count conv2d 3x3 grouped"] == 1
    assert found["longest"] >= 4
    assert found["macs conv2d 3x3 grouped"] == pytest.approx(16 * 8 * 9 / 1e6)


def test_only_products_are_multiplications_of_matrices() -> None:
    """4 x 6 numbers normalised with a weight each, bounded from below with one each, then a matrix 6 x 3."""

    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm((4, 6))
            self.least = nn.Parameter(torch.zeros(4, 6))
            self.weight = nn.Parameter(torch.ones(6, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.maximum(self.norm(x), self.least) @ self.weight

    assert {one.kind: one.macs for one in trace(Bounded(), (4, 6)) if one.macs} == {"matmul": 4 * 6 * 3}
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert sum(one.macs for one in trace(encoder, (7, 8))) == 7 * (4 * 8 * 8 + 2 * 8 * 16)  # as nas.export counts


def test_a_branch_on_data_cannot_be_traced() -> None:
    class Moody(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(TracingError):
        trace(Moody(), (1, 4, 4))


def test_layers_are_what_they_were_after_a_weightless_build() -> None:
    with weightless():
        one, two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    assert one.weight.is_meta and one is not two and one._modules is not two._modules
    after = nn.Conv2d(3, 4, 3)
    assert not after.weight.is_meta and float(after.weight.detach().abs().sum()) > 0


@pytest.mark.parametrize("name", names("nas.spaces"))
def test_every_space_has_features(name: str) -> None:
    assert networks(name).width >= 3


def networks(name: str) -> Networks:
    return Networks(name, pool(name).sample(24, 0), (1, 16, 16), 10)


def pool(name: str) -> Pool:
    described = [
        {"name": p.name, "values": list(p.values), "ordered": p.ordered}
        if isinstance(p, Choice)
        else {"name": p.name, "low": p.low, "high": p.high, "log": p.log, "integer": p.integer}
        for p in find_space(name).parameters
    ]
    return Pool(described, lambda choices: canonical(find_space(name), choices), 0)


class OwnSpace:
    """What a user writes, without a word about features: order of the blocks does not matter, their kinds do."""

    parameters = tuple(Choice(f"block_{i}", ("none", "small", "large", "pool")) for i in range(7))

    def build(self, choices: Choices) -> nn.Module:
        kinds: dict[str, Callable[[], nn.Module]] = {
            "none": nn.Identity,
            "small": lambda: nn.Conv2d(8, 8, 3, padding=1),
            "large": lambda: nn.Conv2d(8, 8, 7, padding=3),
            "pool": lambda: nn.AvgPool2d(3, 1, 1),
        }
        blocks = [kinds[str(choice)]() for choice in choices.values()]
        return nn.Sequential(nn.Conv2d(3, 8, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def own_values(config: dict[str, Any]) -> dict[str, float]:
    """Accuracy grows with depth and stops, latency with operations: by the network, not by the name of its choices."""
    kinds = list(config.values())
    depth = kinds.count("small") + 1.5 * kinds.count("large")
    return {
        "acc": 1 - math.exp(-0.4 * depth),
        "ms": 1 + kinds.count("small") + 4 * kinds.count("large") + kinds.count("pool"),
    }


def test_features_of_a_space_of_ones_own_help_to_predict() -> None:
    """The same model, the same 20 observations, with and without what the networks say."""
    name = f"{__name__}:OwnSpace"
    space = pool(name)
    found = Networks(name, space.sample(100, 0))
    assert found.width > 5
    train, test = space.sample(20, 1), space.sample(200, 2)
    errors = []
    for width in (0, found.width):
        tables = [np.hstack([space.encode(some), found.table(some)[0][:, :width]]) for some in (train, test)]
        learnt, wanted = (np.array([own_values(config)["ms"] for config in some]) for some in (train, test))
        mean, sd = Surrogate(tables[0], np.log(learnt), None, space.owner, width).predict(tables[1])
        assert (sd > 0).all()
        errors.append(float(np.sqrt(np.mean((mean - np.log(wanted)) ** 2))))
    assert errors[1] < 0.5 * errors[0]


def own_spec(**changes: Any) -> dict[str, Any]:
    return {
        "parameters": [{"name": p.name, "values": list(p.values)} for p in OwnSpace.parameters],
        "objectives": [{"name": "acc", "goal": "max"}, {"name": "ms", "goal": "min"}],
        "constraints": [{"name": "ms", "op": "<=", "bound": 20.0}],
        "space": f"{__name__}:OwnSpace",
        "generator": "hwnas",
        "initial": 4,
    } | changes


class Wide(OwnSpace):
    """More choices than a neighbourhood can be looked at as a whole."""

    parameters = tuple(Choice(f"block_{i}", ("none", "small", "large", "pool")) for i in range(30))


def wide_spec() -> dict[str, Any]:
    parameters = [{"name": p.name, "values": list(p.values)} for p in Wide.parameters]
    return own_spec(parameters=parameters, space=f"{__name__}:Wide", constraints=[])


def with_trained(spec: dict[str, Any]) -> dict[str, Any]:
    """Eight random candidates, which no one would propose for their own sake."""
    known = Pool(spec["parameters"], dict, 0).sample(8, 7)
    return spec | {"trained": [{"choices": one, "values": {"acc": own_values(one)["acc"]}} for one in known]}


@pytest.mark.parametrize(
    "spec",
    [own_spec(), wide_spec(), wide_spec() | {"space": None}, with_trained(own_spec()), with_trained(wide_spec())],
)
def test_a_search_told_everything_again_goes_on_as_it_would_have(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hwnas, "_BUILT", 60)
    monkeypatch.setattr(hwnas, "_WHOLE", 60)
    monkeypatch.setattr(hwnas, "_TYPICAL", 20)
    whole = AskTell(spec, seed=3)
    told = []
    for _ in range(4):
        told += [{"config": config, "values": own_values(config)} for config in whole.ask(2)]
        whole.tell(told[-2:])
    again = AskTell(spec, seed=3)
    again.tell(told)
    following = whole.ask(3)
    assert again.ask(3) == following
    configs = [tuple(result["config"].values()) for result in told] + [tuple(config.values()) for config in following]
    assert len(set(configs)) == len(configs) == 11


@pytest.mark.parametrize("count", [9, 11, 25])
def test_it_goes_on_alike_between_two_fits_and_after_trials_that_end_out_of_turn(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hwnas, "_BUILT", 60)
    monkeypatch.setattr(hwnas, "_TYPICAL", 20)
    rng = np.random.default_rng(count)

    def told(config: dict[str, Any]) -> dict[str, Any]:
        values = own_values(config)
        return {"config": config, "values": values | {"acc": values["acc"] if rng.random() > 0.2 else 0.05}}

    whole, again = (AskTell(own_spec(), seed=5) for _ in range(2))
    running = [told(config) for config in whole.ask(2)]
    asked = list(running)
    while len(asked) < count + 1:
        whole.tell([running.pop(int(rng.integers(2)))])
        running += [told(config) for config in whole.ask(1)]
        asked.append(running[-1])
    again.tell([{"config": one["config"], "status": "pending"} for one in asked])
    again.tell([one for one in asked if one not in running])
    assert again.ask(1) == whole.ask(1)


def test_under_a_tight_limit_the_model_of_what_is_measured_guides_before_anything_is_trained() -> None:
    """As in a search: what breaks the limit is gated, and has no accuracy."""
    bound = 4.0  # which one network in a hundred keeps
    search = AskTell(own_spec(constraints=[{"name": "ms", "op": "<=", "bound": bound}]), seed=1)
    kept = 0
    for _ in range(16):
        (config,) = search.ask(1)
        values = own_values(config)
        kept += values["ms"] <= bound
        search.tell([{"config": config, "values": values if values["ms"] <= bound else {"ms": values["ms"]}}])
    share = np.mean([own_values(one)["ms"] <= bound for one in pool(f"{__name__}:OwnSpace").sample(2000, 5)])
    assert share < 0.05
    assert kept >= 4


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InputError, match="objective acc: given goal 'maximize'; accepted: max, min"):
        AskTell(own_spec(objectives=[{"name": "acc", "goal": "maximize"}]), seed=0)
    with pytest.raises(InputError, match="constraint ms: given op '<'; accepted: <=, >="):
        AskTell(own_spec(constraints=[{"name": "ms", "op": "<", "bound": 1.0}]), seed=0)
    search = AskTell(own_spec(), seed=0)
    (config,) = search.ask(1)
    search.tell([{"config": config, "values": {"acc": np.float32(0.5), "ms": np.int64(3)}}])
    for value in (math.nan, None, "0.9"):
        with pytest.raises(InputError, match=r"tell: acc: given .*; accepted: a finite number, or no value"):
            search.tell([{"config": config, "values": {"acc": value}}])


def test_a_broken_limit_stays_broken_where_the_bad_tail_is_clipped() -> None:
    x = np.linspace(0, 1, 12)[:, None]
    values = np.array([0.9, 0.91, 0.92] * 4)
    values[3] = 0.1
    for bound in (None, 0.6):
        belief = Belief("max", [0], 0, bound=bound)
        belief.tell(x, values, None)
        for first in (False, True):
            assert (belief._modelled(np.arange(12), first).min() > 0.6) == (bound is None)


def test_what_is_alike_does_not_hide_the_rest_for_long() -> None:
    """Eight spread networks, then forty of much the same accuracy: the fence of all hides that the fourth is better
    than the second, the wide one does not."""
    values = np.append(np.linspace(0.1, 0.8, 8), np.tile([0.899, 0.9, 0.901, 0.9], 10))
    x = np.append(np.linspace(0, 0.7, 8), np.full(40, 1.0))[:, None]
    belief = Belief("max", [0], 0)
    belief.tell(x, values, None)
    (low, high), _ = belief.predict(x[[1, 3]], x[:0], wide=True)
    assert high > low + 0.1
    (low, high), _ = belief.predict(x[[1, 3]], x[:0])
    assert abs(high - low) < 0.01


def test_every_third_proposal_looks_at_the_wide_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the others: a gated trial adds no accuracy."""
    looked: list[bool] = []
    predict = Belief.predict

    def watched(self: Belief, x: Any, pending: Any, *, wide: bool = False) -> Any:
        looked.append(wide)
        return predict(self, x, pending, wide=wide)

    monkeypatch.setattr(Belief, "predict", watched)
    search = AskTell(own_spec(), seed=0)
    turns = []
    for number in range(15):
        looked.clear()
        (config,) = search.ask(1)
        turns += [set(looked)] if looked else []
        failed = {"config": config, "status": "failed", "values": {}}
        done = {"config": config, "values": {"acc": 0.5 + 0.01 * number, "ms": 1.0 + number}}
        search.tell([failed if number in (9, 10) else done])
    assert turns == [{number % 3 == 0} for number in range(15 - len(turns), 15)] and len(turns) > 5


def test_a_limit_that_is_the_reference_counts_once() -> None:
    objectives = [Objective(name="acc", goal="max", threshold=0.0), Objective(name="ms", goal="min")]
    limits = [Limit(name="ms", op="<=", bound=2.0)]
    believed = {
        "acc": Believed(np.array([0.5]), np.array([0.1]), False),
        "ms": Believed(np.log([1.9]), np.array([0.1]), True),
    }
    once = log_improvement([], objectives, limits, believed, 0, {"acc": 0.0, "ms": 2.0})
    assert once == pytest.approx(log_improvement([], objectives, [], believed, 0, {"acc": 0.0, "ms": 2.0}))
    apart = log_improvement([], objectives, limits, believed, 0, {"acc": 0.0, "ms": 3.0})
    assert apart < log_improvement([], objectives, [], believed, 0, {"acc": 0.0, "ms": 3.0})


def test_a_range_of_few_whole_numbers_is_looked_at_as_a_whole() -> None:
    parameters = [{"name": "n", "low": 1, "high": 4, "integer": True}, {"name": "rate", "low": 0.0, "high": 1.0}]
    space = Pool(parameters, dict, 0)
    found = space.neighbours([{"n": 1, "rate": 0.5}], 0)
    assert {one["n"] for one in found if one["rate"] == 0.5} == {2, 3, 4}
    steps = [abs(one["rate"] - 0.5) for n in range(50) for one in space.neighbours([{"n": 1, "rate": 0.5}], n)]
    assert min(step for step in steps if step) < 0.005 and max(steps) > 0.2  # it refines, and it leaps


def test_a_trust_region_by_hand() -> None:
    assert [radius(told, 40) for told in ([], [True], [False], [True] * 9, [False] * 99)] == [10, 15, 9, 20, 1]
    assert radius([True, False, False, False, False] * 20, 40) == 10  # one success in five keeps it
    assert [radius([], n) for n in (1, 2, 3)] == [1, 1, 1] and radius([True] * 9, 7) == 3
    rows = [
        {"acc": 0.5, "ms": 2.0},
        {"acc": 0.5, "ms": 2.0},
        {"acc": 0.9, "ms": 9.0},
        {"acc": 0.6},
        {"acc": 0.4, "ms": 1},
    ]
    objectives = [Objective(name="acc", goal="max"), Objective(name="ms", goal="min")]
    assert successes(rows, objectives) == [True, False, True, False, True]
    assert successes(rows, objectives, [Limit(name="ms", op="<=", bound=3.0)]) == [True, False, False, False, True]


def test_candidates_of_a_trust_region_differ_in_so_many_choices_at_most() -> None:
    space = pool(f"{__name__}:Wide")
    centres = space.sample(3, 0)
    found = space.around(centres, 5, 300, 7)
    changed = {sum(centres[owner][name] != value for name, value in one.items()) for one, owner in found.values()}
    assert changed == {1, 2, 3, 4, 5} and {owner for _, owner in found.values()} == {0, 1, 2}
    assert space.around(centres, 5, 300, 7) == found


@pytest.mark.parametrize("name", ["mlp", "mbconv"])
def test_trust_regions_of_ranges_and_of_layers_that_may_not_exist(name: str) -> None:
    space = find_space(name)
    found = pool(name).around(pool(name).sample(3, 0), 1, 100, 0)
    assert len(found) > 20
    for key, (choices, _) in found.items():
        assert canonical(space, choices) == choices and digest_of(choices) == key


def test_guessed_features_are_nearer_than_those_of_the_centre() -> None:
    name = f"{__name__}:Wide"
    space = pool(name)
    sample = space.sample(100, 0)
    networks = Networks(name, sample[:50])
    centres = sample[:3]
    made = [(choices, owner) for choices, owner in space.around(centres, 5, 50, 1).values()]
    codes, centre_codes = space.encode([one for one, _ in made]), space.encode([centres[owner] for _, owner in made])
    right, unchanged = (
        networks.table(some)[0] for some in ([one for one, _ in made], [centres[owner] for _, owner in made])
    )
    slopes = slopes_of(space.encode(sample), networks.table(sample)[0])
    errors = [np.abs(guess - right).mean() for guess in (guessed(codes, centre_codes, unchanged, slopes), unchanged)]
    assert errors[0] < 0.5 * errors[1]


def test_expected_improvement_by_hand_and_by_sampling() -> None:
    """Log-normal cost beside normal accuracy, a front of two points."""
    front, corner = np.array([[0.5, -2.0], [0.8, -4.0]]), np.array([0.0, -6.0])
    lower, upper = cells_of(front, corner)
    mean, sd = [np.array([0.7, 0.2]), np.array([0.4, 3.0])], [np.array([0.2, 0.1]), np.array([0.5, 0.1])]
    found = expected_improvement(mean, sd, [False, True], lower, upper)
    rng = np.random.default_rng(0)
    a = 0.7 + 0.2 * rng.standard_normal(200_000)
    b = -np.exp(0.4 + 0.5 * rng.standard_normal(200_000))
    gained = sum(
        (np.minimum(a, u[0]) - low[0]).clip(0) * (np.minimum(b, u[1]) - low[1]).clip(0)
        for low, u in zip(lower, upper, strict=True)
    )
    assert found[0] == pytest.approx(gained.mean(), rel=0.02)
    assert found[1] == pytest.approx(0.0, abs=1e-12)  # exp(3) is far beyond the reference point
    sure = expected_improvement([np.array([0.9]), np.array([0.0])], [np.array([1e-9])] * 2, [False, True], lower, upper)
    assert sure[0] == pytest.approx(0.9 * 5 - (0.5 * 4 + 0.3 * 2))


def test_a_limit_counts_by_its_chance_and_a_pending_trial_as_if_it_were_known() -> None:
    objectives = [Objective(name="acc", goal="max", threshold=0.0)]
    limits = [Limit(name="ms", op="<=", bound=2.0)]
    rows, reference = [{"acc": 1.0, "ms": 1.0}], {"acc": 0.0}
    ms = Believed(np.log([1.0, 4.0]), np.array([0.5, 0.5]), True)
    acc = Believed(np.array([1.0, 1.0]), np.array([2.0, 2.0]), False)
    found = log_improvement(rows, objectives, limits, {"acc": acc, "ms": ms}, 0, reference)
    gain = math.log(2.0 / math.sqrt(2 * math.pi))
    chances = [0.5 * math.erfc(-z / math.sqrt(2)) for z in (math.log(2) / 0.5, -math.log(2) / 0.5)]
    assert found == pytest.approx([gain + math.log(chance) for chance in chances])
    # One that is expected to reach 3 leaves less to gain for the one behind it.
    both = {"acc": Believed(np.array([3.0, 1.0]), acc.sd, False), "ms": Believed(ms.mean[[0, 0]], ms.sd, True)}
    (after,) = log_improvement(rows, objectives, limits, both, 1, reference)
    assert after < found[0]
    assert log_improvement(rows, objectives, limits, both, 2, reference).shape == (0,)


def test_far_beyond_the_reference_point_the_nearer_one_is_better() -> None:
    objectives = [Objective(name="ms", goal="min", threshold=1.0)]
    hopeless = {"ms": Believed(np.array([5.0, 9.0]), np.array([1e-2, 1e-2]), True)}
    near, far = log_improvement([{"ms": 2.0}], objectives, [], hopeless, 0, {"ms": 1.0})
    assert 0 > near > far > -math.inf


def test_one_objective_is_plain_expected_improvement() -> None:
    lower, upper = cells_of(np.array([[1.0]]), np.array([0.0]))
    found = expected_improvement([np.array([1.0])], [np.array([2.0])], [False], lower, upper)
    assert found[0] == pytest.approx(2.0 / math.sqrt(2 * math.pi))


def test_peak_counts_what_is_needed_at_once() -> None:
    chain = [
        Operation("input", (), 0, 0, 10, 0),
        Operation("relu", (0,), 0, 0, 10, 0),
        Operation("relu", (1,), 0, 0, 10, 0),
    ]
    assert describe(chain)["log peak"] == pytest.approx(math.log1p(20))
