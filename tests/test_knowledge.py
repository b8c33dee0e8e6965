"The knowledge tabletop: who does not listen scores exactly chance, who knows scores one, and words and deeds are paired."
import numpy as np, pandas as pd, pytest
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.catalog.sets import demo_sets, question_sets
from vlm4vla.core import UserError, assets_dir
from vlm4vla.results.asked import asked_pairs, swapped_layouts, what_was_lost
from vlm4vla.results.stats import rates
from vlm4vla.tasks.knowledge.facts import cards_of, fact_cards, topics
from vlm4vla.tasks.knowledge.questions import answer_right, questions
from vlm4vla.tasks.knowledge.simulator import knowledge_layout, make, steer
from vlm4vla.tasks.tabletop.simulator import REACH, emoji, expert

bullet = pytest.mark.skipif(not __import__("importlib.util").util.find_spec("pybullet"),
                            reason="PyBullet has no wheel for this Python; the tabletop runs under an interpreter of its own.")
TABLES = [(t, s, m) for t in topics for s in ("id", "val") for m in range(0, 20, 4)]

def test_seen_and_unseen_cards_share_nothing():
    for g in {c.group for c in fact_cards()}:
        seen, unseen = ({fact_cards()[i].name for i in cards_of(g, s)} for s in ("train", "val"))
        assert len(seen) >= 6 and len(unseen) >= 6 and not seen & unseen, g
    for t in topics:
        for split, own in (("train", {"train"}), ("id", {"train"}), ("val", {"val"})):
            assert {fact_cards()[i].split for e in range(40) for i in knowledge_layout(split, e, t).cards} == own

def test_pictures_of_emoji_are_those_that_are_named_and_of_the_same_split():
    for c in fact_cards():
        if c.sheet == "emoji": assert (emoji()[c.sprite]["name"], emoji()[c.sprite]["split"]) == (c.name, c.split)

def test_the_sheet_is_small_and_has_every_picture():
    Image = pytest.importorskip("PIL.Image")
    path = assets_dir()/"knowledge"/"cards.png"; sheet = np.asarray(Image.open(path).convert("RGB"))
    assert path.stat().st_size <= 300_000 and sheet.shape == (640, 1280, 3)
    pictures = [sheet[c.sprite//20*64:][:64, c.sprite % 20*64:][:, :64] for c in fact_cards() if c.sheet == "knowledge"]
    assert all(p.std() > 5 or len(np.unique(p)) > 1 for p in pictures) and len({p.tobytes() for p in pictures}) == len(pictures)

@pytest.mark.parametrize("topic", topics)
def test_one_card_is_right_and_the_other_is_not(topic):
    t, r = topics[topic], np.random.default_rng(0)
    for split in ("train", "val"):
        for a, b in t.pairs(split):
            first, second = t.meant(a, b, r); assert first != second and "{" not in first + second
            question, answer = t.known(a, b, r); assert question.endswith("?") and answer and "{" not in question + answer
            if topic == "sums": assert [eval(x.removeprefix("the answer: ")) for x in (first, second)] == [
                int(fact_cards()[i].name) for i in (a, b)]
            if t.compares: assert (t.value(a) > t.value(b)) == (first == t.phrases[0])

def test_a_table_is_laid_four_times():
    for t, split, m in TABLES:
        a, swapped, other, both = (knowledge_layout(split, m + k, t) for k in range(4))
        assert a.cards == other.cards == swapped.cards[::-1] == both.cards[::-1]
        assert a.phrase == swapped.phrase != other.phrase == both.phrase
        assert [l.named for l in (a, swapped, other, both)] in ([0, 1, 1, 0], [1, 0, 0, 1])
        for l in (swapped, other, both): assert (l.card_xy == a.card_xy).all() and (l.cube == a.cube).all() and (l.hand == a.hand).all()
        assert a.cards[a.named] == swapped.cards[swapped.named] and np.linalg.norm(a.card_xy - a.cube[:2], axis=1).min() > REACH

def test_any_rule_that_ignores_words_or_cards_is_right_half_the_time():
    "Not on average: exactly, whatever the rule."
    rules = [lambda l: 0, lambda l: 1, lambda l: int(np.linalg.norm(l.card_xy - l.cube[:2], axis=1).argmin()), # by the place
             lambda l: int(l.names[0] < l.names[1]), lambda l: hash((*l.cards, float(l.hand[0]))) % 2, # by the image
             lambda l: len(l.instruction) % 2, lambda l: hash((l.instruction, float(l.cube[0]))) % 2] # by the words
    for rule in rules:
        for t, split, m in TABLES:
            layouts = [knowledge_layout(split, m + k, t) for k in range(4)]
            assert sum(rule(l) == l.named for l in layouts) == 2

def test_another_split_and_another_topic_are_refused():
    with pytest.raises(UserError, match="no split 'test'"): knowledge_layout("test", 0)
    with pytest.raises(UserError, match="did you mean 'sums'"): knowledge_layout("val", 0, "sum")

@bullet
def test_the_same_image_with_another_question():
    env = make("val", size=64)
    images = [env.reset(e, task="flags") for e in (4, 5, 6, 4)]; env.close()
    assert (images[0].image == images[2].image).all() and images[0].instruction != images[2].instruction
    assert (images[0].image == images[3].image).all() and not (images[0].image == images[1].image).all()
    assert images[0].instruction == images[1].instruction

@bullet
@pytest.mark.parametrize("name", ["knowledge", "knowledge-carry"])
def test_scripted_policies_score_what_they_must(name):
    from importlib import import_module
    b, rows = benchmarks[name], []; env = import_module(b.module).make("val", size=32); env.render = lambda: np.zeros((32, 32, 3), np.uint8)
    nearest = lambda env: int(np.linalg.norm(env.layout.card_xy - env.layout.cube[:2], axis=1).argmin())
    acts = dict(oracle=expert, left=lambda env: steer(env, 0), nearest=lambda env: steer(env, nearest(env)),
                still=lambda env: np.zeros(7, np.float32))
    for who, act in acts.items():
        for topic in ("sums", "sadder") if name == "knowledge" else ("words",):
            for e in range(4):
                env.reset(e, task=topic); env.limit = 45 if who != "still" else 3
                while not env.done: env.act(act(env))
                rows.append(dict(arm=who, split="val", task=topic, episode=e, **env.observe(None).info))
    env.close(); df = pd.DataFrame(rows); found = rates(df, b.metrics).set_index(["arm", "metric"]).rate.to_dict()
    chance = dict(success=.5, execution=1., recognition=.5)
    must = dict(oracle=dict.fromkeys(chance, 1.), left=chance, nearest=chance, still=dict(success=0., execution=0.))
    assert found == {(w, m): v for w, rate in must.items() for m, v in rate.items()}
    assert (swapped_layouts(df[df.arm == "left"]).same_place == 1).all() and (swapped_layouts(df[df.arm == "oracle"]).right == 1).all()
    assert b.episodes % 4 == 0 and b.metrics[2].chance == .5 and {"asked", "place", "named", "chosen"} <= set(df)

def test_demonstrations_show_seen_cards_alone():
    for name in ("knowledge", "knowledge-carry"):
        s = demo_sets[name]; numbers = [n for _, n in s.episodes] if name == "knowledge" else range(s.first, s.first + s.episodes)
        layouts = [knowledge_layout("train", n) for n in numbers]
        assert {fact_cards()[i].split for l in layouts for i in l.cards} == {"train"} and {l.topic for l in layouts} == set(topics)

def test_questions_are_those_of_the_topic():
    s, cards = question_sets["knowledge"], knowledge_layout("val", 0, "words").cards
    state = dict(topic="words", cards=cards, phrases=("a", "b"), split="val", card_px=[(.2, .6), (.8, .6)], block=(.5, .5), hand=(.5, .4),
                 height=.1, held=False, color="red")
    asked = questions(state, np.random.default_rng(0), list(s.kinds))
    assert {k.split()[1] for k, *_ in asked if k.startswith(("choose ", "name ", "know "))} == {"words"} and len(asked) == 12
    drawn = {k for k, *_ in questions(state, np.random.default_rng(0), n=200)}
    assert drawn == {k for k, *_ in asked} <= set(s.kinds)
    assert {k for k, *_ in questions(state, np.random.default_rng(0), n=20, weights={"places": 3, "choose sums": 1})} == {"places"}
    said = set(" ".join(s.texts()).split())
    for _, q, a, _ in asked: assert set(f"{q} {a}".split()) - {"a,", "b,"} <= said | {str(i) for i in range(101)} | {"a", "b"}

def test_answers_in_sentences():
    right = (("Left.", "left"), ("the answer is 12", "12"), ("white and red", "red, white"), ("Japan", "Japan"))
    wrong = (("left or right", "left"), ("12", "2"), ("red", "red, white"), ("hotel", "hot"), ("no", "yes"))
    assert all(answer_right(*x) for x in right) and not any(answer_right(*x) for x in wrong)

def test_pairs_of_words_and_deeds():
    e = np.arange(8); eps = pd.DataFrame(dict(split="val", task="sums", episode=e, success=e < 4, execution=e != 7, failed=False))
    said = pd.DataFrame(dict(split="val", task="sums", episode=e, kind="choose", correct=True))
    both = asked_pairs(eps, said); lost = what_was_lost(both, table=4).set_index("task")
    assert len(both) == 8 and lost.loc["sums", ["n", "word", "deed", "lost", "only_word", "only_deed"]].tolist() == [8, 1., .5, .5, 4, 0]
    assert lost.ci_low["all"] < .5 < lost.ci_high["all"] and len(asked_pairs(eps, said, given="execution")) == 7
    assert len(asked_pairs(pd.concat([eps.assign(seed=s) for s in (0, 1)]), said)) == 16
    with pytest.raises(UserError, match="answered twice"): asked_pairs(eps, pd.concat([said, said]))
    with pytest.raises(UserError, match="No question was asked"): asked_pairs(eps.assign(split="id"), said)
