"""The page's script says numbers as the server does: the very functions of `panel.js`, run by node."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from headroles.render.figures.pixels import pattern_bytes
from headroles.render.html import ASSETS
from headroles.render.wording.phrases import ALL, percent

NODE = shutil.which("node")
EDGES = [0.0, 1e-9, 0.004999, 0.005, 0.0149, 0.123, 0.5049, 0.9949, 0.995, 0.996, 0.9999, 0.999949, ALL, 1.0]
needs_node = pytest.mark.skipif(NODE is None, reason="no node on this machine; `apt-get install nodejs` brings one")


def said_by_the_script(shares: list[float]) -> list[str]:
    """What `percent` of panel.js makes of each share."""
    found = re.search(r"^const percent = .*?^};$", (ASSETS / "panel.js").read_text("utf-8"), re.S | re.M)
    assert found, "panel.js has no function percent any more"
    code = f"{found[0]} console.log(JSON.stringify({json.dumps(shares)}.map(percent)))"
    done = subprocess.run([str(NODE), "-e", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@needs_node
@pytest.mark.processes
def test_the_script_says_every_share_it_can_get_as_the_server_does():
    shares = [byte / 255 for byte in range(256)] + EDGES
    assert said_by_the_script(shares) == [percent(share) for share in shares]


def test_what_the_script_gets_is_all_or_nothing_only_where_the_cell_is():
    cells = torch.zeros(len(EDGES), len(EDGES))
    cells[-1] = torch.tensor(EDGES)
    sent = np.frombuffer(base64.b64decode(pattern_bytes(cells)), np.uint8)[-len(EDGES) :]
    for share, byte in zip(cells[-1].tolist(), sent.tolist()):
        assert byte / 255 == pytest.approx(share, abs=1 / 255)
        for extreme in ("0%", "100%"):
            assert (percent(byte / 255) == extreme) == (percent(share) == extreme)
