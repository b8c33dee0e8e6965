"What a user brings along: a checkpoint's folder, a plug-in, fields of the recipe, a policy; nothing of the package is edited."
import os, sys
import pytest

SMOKE = "tiny-qwen3-vl__grinningface__smoke__s0"

def command(python, *args, **kw): return python("-m", "vlm4vla.cli", *map(str, args), timeout=400, **kw)

@pytest.mark.parametrize("said, why", [("stepss=3", "did you mean 'steps'?"), ("steps=many", "must be a whole number"),
                                       ("steps=0", "at least 1"), ("lr=-1", "above 0"), ("steps", "sets nothing")])
def test_a_field_is_looked_at(python, tmp_path, said, why):
    done = command(python, "train", SMOKE, "--set", said, "--out", tmp_path)
    assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1, done.stderr

def checkpoint(family, folder):
    "A random checkpoint as transformers writes one."
    from vlm4vla.catalog.backbones import backbones
    from vlm4vla.vlm.family import families
    from vlm4vla.vlm.loading import load_model, load_tokenizer
    b = next(b for b in backbones.values() if b.kind == "tiny" and b.family == family)
    f = families[family]
    load_model(b, headless=False).save_pretrained(folder); load_tokenizer(b).save_pretrained(folder)
    from vlm4vla.vlm.loading import image_facts
    import json
    facts = image_facts(b)
    (folder/"preprocessor_config.json").write_text(json.dumps(dict(image_mean=facts["mean"], image_std=facts["std"],
                                                                  size=dict(height=facts["size"], width=facts["size"]))))
    return folder

@pytest.mark.parametrize("family", ["qwen3_vl", "smolvlm"])
def test_a_folder_is_a_backbone(tmp_path, family):
    from vlm4vla.vlm.own import given_backbone
    b = given_backbone(str(checkpoint(family, tmp_path/"my-vlm")))
    assert (b.name, b.family) == ("my-vlm", family) and b.params_b > 0

PLUGIN = """
from dataclasses import replace
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.catalog.experiments import Variant, variants
benchmarks.add(replace(benchmarks["grinningface"], name="toy", label="Toy"))
variants.add(Variant("brief", "Two steps.", dict(steps=2, demos="grinningface-smoke")))
"""

def test_a_plugin_is_found_by_its_variable(python, tmp_path):
    (tmp_path/"my_toys.py").write_text(PLUGIN)
    code = "from vlm4vla.catalog.experiments import experiments; print(experiments['tiny-qwen3-vl__toy__brief__s0'].recipe.steps)"
    done = python("-c", code, env={"VLM4VLA_PLUGINS": str(tmp_path/"my_toys.py")})
    assert done.stdout.strip() == "2", done.stderr
    done = command(python, "sweep", "tiny-*__toy__brief__s0", "--plugin", tmp_path/"my_toys.py", "--plan", "--out", tmp_path)
    assert "tiny-smolvlm__toy__brief__s0" in done.stdout, done.stderr
    done = command(python, "sweep", SMOKE, "--plugin", tmp_path/"gone.py", "--out", tmp_path)
    assert done.returncode == 2 and "There is no plug-in" in done.stderr
