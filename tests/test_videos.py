"The site's videos: each has a card, none is large, and the script makes them."
import json
import numpy as np
from PIL import Image

def test_every_video_has_a_card_and_is_small(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root/"docs"))
    import videos
    cards = json.loads((videos.FOLDER/"videos.json").read_text(encoding="utf-8"))
    files = sorted(p.name for p in videos.FOLDER.glob("*.webp"))
    assert sorted(c["file"] for c in cards) == files and 0 < len(files) <= 12
    for c in cards:
        assert (videos.FOLDER/c["file"]).stat().st_size <= videos.LARGEST
        assert all(c[k] for k in ("benchmark", "who", "instruction", "outcome"))
        assert c["file"].endswith("success.webp" if c["success"] else "failure.webp")
        assert any(c["file"].startswith(s.name) for s in videos.SCENES)
        with Image.open(videos.FOLDER/c["file"]) as im: assert im.n_frames > 10 and im.size == (videos.SIDE, videos.SIDE)
    assert (videos.FOLDER/"README.md").read_text(encoding="utf-8") == videos.HEAD + "\n".join(map(videos.line, cards)) + "\n"

def test_a_long_episode_becomes_a_small_video(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(root/"docs"))
    import videos
    rng = np.random.default_rng(0)
    videos.webp([rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(14, 0).repeat(14, 1) for _ in range(130)], tmp_path/"x.webp")
    assert (tmp_path/"x.webp").stat().st_size <= videos.LARGEST
