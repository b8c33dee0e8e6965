"What a study can show: against draws of the model it states, and against the judge of the tables."
import numpy as np, pandas as pd, pytest
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.catalog.experiments import studies
from vlm4vla.cli import main
from vlm4vla.core import UserError
from vlm4vla.results import power
from vlm4vla.results.correlation import critical_r
from vlm4vla.results.power import (Spread, measured_spread, needed_backbones, needed_episodes, power_of_correlation, power_of_difference,
                                   smallest_correlation, smallest_difference, spread_of, what_can_show)
from vlm4vla.results.stats import measure, verdict

SUCCESS = benchmarks["grinningface"].metrics[0]

def episodes(spread, rate=.7, arms=30, seeds=4, n=200):
    "Arms of a study, drawn from the model, all on the same scenes."
    r = np.random.default_rng(0); scene = r.standard_normal((1, 1, n)); rows = []
    for arm in range(arms):
        x = power._solved(rate, r, scene, seeds, spread)[0]
        rows += [dict(arm=f"a{arm}", seed=s, split="id", task="all", episode=e, success=bool(x[s, e]))
                 for s in range(seeds) for e in range(n)]
    return pd.DataFrame(rows)

@pytest.mark.parametrize("true", (Spread(.5, .1), Spread(.2, .02), Spread(0., 0.)))
def test_shared_parts_are_found_again(true):
    found = spread_of(episodes(true), SUCCESS)
    assert abs(found.scene - true.scene) < .08 and abs(found.seed - true.seed) < .04

def test_a_single_seed_tells_nothing():
    with pytest.raises(UserError, match="two seeds"): spread_of(episodes(Spread(), seeds=1, arms=2), SUCCESS)
    assert measured_spread("libero-spatial") == Spread()

@pytest.mark.parametrize("difference,seeds", ((.15, 1), (.15, 3), (0., 1)))
def test_power_is_that_of_the_judge(difference, seeds, studies=150, n=40):
    r, said = np.random.default_rng(5), []
    for _ in range(studies):
        scene = r.standard_normal((1, 1, n))
        a, b = (power._solved(p, r, scene, seeds, Spread()).ravel()*1. for p in (.6 + difference, .6))
        found = verdict(measure(SUCCESS, a, b, np.repeat(range(seeds), n)), SUCCESS, little=-9)
        other = verdict(measure(SUCCESS, b, a, np.repeat(range(seeds), n)), SUCCESS, little=-9)
        said.append(found == "Yes" or (not difference and other == "Yes"))
    expected = power_of_difference(.6, difference, n, seeds)
    assert abs(np.mean(said) - expected) < 4*np.sqrt(.25/studies)

def test_more_of_anything_shows_more():
    p = power_of_difference
    assert p(.7, -.1, 50, 3) < p(.7, -.2, 50, 3) and p(.7, -.2, 25, 3) < p(.7, -.2, 100, 3) and p(.7, -.2, 50, 2) < p(.7, -.2, 50, 5)
    n = needed_episodes(.7, -.2, 3); assert p(.7, -.2, n, 3) >= .8 > p(.7, -.2, n-1, 3)
    assert p(.7, -smallest_difference(.7, 50, 3), 50, 3) >= .8
    assert needed_episodes(.7, -.01, 2) == 0 and np.isnan(smallest_difference(.05, 5))

@pytest.mark.parametrize("n,r", ((9, .8), (36, .4)))
def test_correlations_against_drawn_ones(n, r):
    g = np.random.default_rng(0); x = g.standard_normal((4000, n)); y = r*x + np.sqrt(1 - r*r)*g.standard_normal((4000, n))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    found = (x*y).sum(1)/np.sqrt((x*x).sum(1)*(y*y).sum(1))
    assert abs((abs(found) > critical_r(n)).mean() - power_of_correlation(r, n)) < .04
    assert power_of_correlation(r, n, .5) < power_of_correlation(r, n)
    assert abs(power_of_correlation(smallest_correlation(n), n) - .8) < .01 and needed_backbones(smallest_correlation(n)) <= n

def test_plans_say_what_they_can_show(capsys):
    rows = list(studies["adapt"].rows)
    assert "3 seeds and 100 shared episodes" in what_can_show(rows) and what_can_show(rows[:1]) == ""
    assert "7 backbones" in what_can_show(list(studies["minis"].rows))
    assert main(["power", "adapt"]) == 0 and "adapt, grinningface: Two arms" in capsys.readouterr().out
    assert main(["run", "adapt", "--plan"]) == 0 and "shared episodes" in capsys.readouterr().out

@pytest.mark.parametrize("words,said", ((["--rate", "2"], "--rate is 2"), (["--difference", "-0.9"], "leave no share"),
                                        (["adpt"], "'adapt'"), (["--correlation", "1"], "between"), (["--rate", "x"], "--rate"),
                                        (["--benchmark", "grinning"], "grinningface")))
def test_bad_questions_get_one_sentence(words, said, capsys):
    assert main(["power", *words]) != 0
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err and len(err.strip().splitlines()) == 1
