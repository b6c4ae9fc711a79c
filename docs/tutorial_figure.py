"""Draw the plan picture of docs/writing-plugins.md from the page's own first plugin: ``make docs``."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

from longtake import load_config, load_plugins, make_plan, read_facts, resolve
from longtake.core.cli.plan_picture import draw
from longtake.core.manager import add_plugin

HERE = Path(__file__).parent


def main() -> None:
    """Draw it."""
    page = (HERE / "writing-plugins.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    plugin = sys.modules["longtake_ease"] = types.ModuleType("longtake_ease")
    exec(code, vars(plugin))
    plugins = load_plugins(third_party=False)
    add_plugin(plugins, plugin, "ease")
    facts = read_facts("embedded")
    asked = load_config({"frames": 56, "positional": "ease", "seed": 0}, plugins.registry)
    config = resolve(asked, facts, plugins.registry)
    (HERE / "writing-plugins").mkdir(exist_ok=True)
    draw(make_plan(config, facts), config, HERE / "writing-plugins" / "plan.png")


if __name__ == "__main__":
    main()
