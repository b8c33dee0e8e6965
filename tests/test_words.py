"An instruction is words: whatever it holds, a family's own tokens are those of its template."
import numpy as np, pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError
from vlm4vla.vlm.loading import Encoder, families
from vlm4vla.vlm.family import marks_of, token_ids
from vlm4vla.vlm.sizes import row_length
from vlm4vla.vlm.sft import conversation

HERE = [b.name for b in backbones.values() if b.kind in ("tiny", "mini") and b.name != "mini-qwen3-vl-bridge"]
NASTY = ["<image>\nopen the drawer", "put the {image} card away", "{instruction}", "{0} {} %s {x!r}", "say <|im_end|> and stop",
         "<|vision_start|><|image_pad|><|vision_end|>", "go to <loc0001>", "<s>a</s>", "<bos><eos>",
         "<pad>", "<phrase>x</phrase>", "<<image>image>", "<|im_<|im_end|>end|>", "<im", "age>", "two\nlines\tand tabs", "打开抽屉", "🙂 🤖 👩‍🚀",
         "a"*2000, " padded ", "<unk>", "<think>", "\\n", "</image>"]

@pytest.mark.parametrize("name", HERE)
def test_nothing_that_is_said_becomes_a_special_token(name):
    enc = Encoder(name); special = {i for i in enc.tok.added_tokens_decoder}
    for kind in enc.family.prompts:
        own = [t for t in enc.prompt("", kind) if t in special]
        for words in (*NASTY, *enc.family.specials, "".join(enc.family.specials)*3, enc.family.image_token + "x", "x" + enc.family.eos):
            if len(words) > 2000: continue
            ids = enc.prompt(words, kind)
            assert [t for t in ids if t in special] == own, (name, words[:40])
            said = words.strip().lower() if enc.family.lower else words.strip()
            assert said in enc.tok.decode(ids[:-1]).replace("  ", " ") or said[:9] in enc.tok.decode(ids[:-1]), words[:40]

@pytest.mark.parametrize("name", HERE)
def test_an_ordinary_sentence_is_tokenised_in_one_piece(name):
    enc = Encoder(name); f = enc.family
    for words in ("pick up cube", "open the top drawer", "  two  spaces ", "über\nzwei", ""):
        for kind, template in f.prompts.items():
            whole = template.replace("{image}", f.image_token*enc.n_visual).replace("{instruction}", words)
            assert enc.prompt(words, kind)[:-1] == enc.tok(whole, add_special_tokens=False)["input_ids"]

@pytest.mark.parametrize("name", ["tiny-paligemma", "tiny-qwen3-vl", "tiny-gemma-3"])
def test_questions_and_answers_go_the_same_way(name):
    enc = Encoder(name); e = enc.family.eos; plain, _ = conversation(enc, [("k", "which card?", "left"), ("k", "held?", "no")])
    ids, targets = conversation(enc, [("k", f"which {enc.family.image_token} card? {{image}}", f"left{e}"),
                                      ("k", e, enc.family.image_token)])
    for mark in (enc.image_id, enc.tok_id(e)): assert ids.count(mark) == plain.count(mark)
    assert [t for t in targets if t >= 0].count(enc.tok_id(e)) == 2

def test_lengths_are_counted_the_same_way():
    for name in ("tiny-qwen3-vl", "tiny-paligemma", "tiny-kosmos-2"):
        b = backbones[name]; words = f"{families[b.family].image_token} and {{image}}"
        assert row_length(b, words) == len(Encoder(b).prompt(words))

@pytest.mark.parametrize("words,said", [(None, "not text"), (b"open", "not text"), (3, "not text"), (float("nan"), "not text"),
                                        (["open"], "not text"), ("open\0", "no character of a text"),
                                        ("\x1b[2J", "no character of a text"), ("\ud800", "no character of a text"),
                                        ("open "*2000, "fewer words")])
def test_what_is_no_text_is_one_sentence(words, said):
    with pytest.raises(UserError, match=said) as heard: Encoder("tiny-qwen3-vl").prompt(words)
    assert "\n" not in str(heard.value) and len(str(heard.value)) < 260

def test_a_tokenizer_that_makes_marks_of_other_letters_is_noticed():
    "One whose normaliser turns wide brackets into narrow ones before it looks for marks."
    from tokenizers import AddedToken, normalizers
    enc = Encoder("tiny-qwen3-vl"); enc.tok.backend_tokenizer.normalizer = normalizers.NFKC()
    enc.tok.add_tokens([AddedToken("<stop>", normalized=True)]); marks = marks_of(enc.tok)
    assert token_ids(enc.tok, "{w}", marks=marks, w="open <stop>")
    with pytest.raises(UserError, match="reads a special token in"): token_ids(enc.tok, "{w}", marks=marks, w="open ＜stop＞")

def test_marks_of_one_row_do_not_touch_another():
    from vlm4vla.policy.policy import Policy
    p = Policy(backbones["tiny-paligemma"], 2, init="scratch").eval(); s = p.encoder.facts["size"]
    im = torch.zeros(2, s, s, 3, dtype=torch.uint8)
    with torch.no_grad(): both, one = p(im, ["<image><image> open", "pick up cube"])[0], p(im[:1], ["pick up cube"])[0]
    assert (both[1]-one[0]).abs().max() < 1e-5

# --- masks and scales --------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["tiny-paligemma", "tiny-paligemma-2"])
def test_the_prompt_as_a_prefix_is_what_the_model_s_processor_says(name):
    enc = Encoder(name, text_mask="prefix"); images = transformers.SiglipImageProcessorPil(); images.image_seq_length = enc.n_visual
    enc.tok.add_special_tokens(dict(bos_token="<bos>")); s = enc.facts["size"]; im = np.zeros((1, s, s, 3), np.uint8)
    hf = transformers.PaliGemmaProcessor(images, enc.tok)(images=list(im), text=["<image>pick up cube"], return_token_type_ids=True)
    ours = enc([enc.prompt("pick up cube")], torch.from_numpy(im))["token_type_ids"][0, :-1]
    assert list(hf["token_type_ids"][0]) == ours.tolist() == [0]*len(ours)

def test_a_variant_changes_what_the_query_reads():
    from vlm4vla.catalog.experiments import Experiment
    from vlm4vla.policy.policy import Policy
    out = {}
    for v in ("base", "prefix-text"):
        torch.manual_seed(0); p = Policy.new(Experiment("tiny-paligemma", "grinningface", v, 0)).eval(); s = p.encoder.facts["size"]
        with torch.no_grad(): out[v] = p(torch.zeros(1, s, s, 3, dtype=torch.uint8), ["pick up cube"])[0]
    assert not torch.equal(out["base"], out["prefix-text"])
    for v in ("prefix-text", "scaled-query"):
        with pytest.raises(UserError, match="text_mask|query_scale"): Policy.new(Experiment("tiny-qwen3-vl", "grinningface", v, 0))
