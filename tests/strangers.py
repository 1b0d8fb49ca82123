"""A package from outside that brings a format: the one that docs/formats.md shows, installed as pip would."""

import re
import tomllib
from pathlib import Path

GUIDE = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()


def blocks(language):
    """The guide's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def install(folder, module, code, points, package="acme-formats", version="1.2"):
    """Put a distribution into a folder: a module and its metadata."""
    about = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (about / "entry_points.txt").write_text(f"[sharedllm.formats]\n{lines}")
    return folder


def install_guides(folder):
    """Install the guide's own format."""
    points = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["sharedllm.formats"]
    return install(folder, "acme_formats", blocks("python")[0], points)
