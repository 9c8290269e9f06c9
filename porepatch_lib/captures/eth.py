"""A dataset folder of the ETH local-feature evaluation as a subject: `images/` with the cameras of its `database.db`.

In this layout pixels are as stored: COLMAP and the programs that write its features do not turn an image by EXIF, so neither is
it turned here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from porepatch_lib.captures.decode import hash_file
from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.masks import Origin, write_masks
from porepatch_lib.captures.photographs import Photograph, PhotographSettings, list_photographs, moved_path, read_photograph
from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder
from porepatch_lib.sfm.eth_database import DatabaseImage, read_eth_database
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)

IMAGES, DATABASE = "images", "database.db"
_AS_STORED = 1


def capture_eth(
    subject: str,
    folder: str | Path,
    masks: str | Path | None,
    output: str | Path,
    settings: PhotographSettings,
    mask_settings: MaskSettings | None = None,
    threads: int = 1,
) -> None:
    """Read and check a dataset folder and write `output` (images.parquet), `images/` and `masks/` beside it.

    Unlike among photographs no copy is left out: the database says which images there are.

    Args:
        subject: name, for messages.
        folder: holds `images/` (JPEG, PNG, TIFF or camera raw, no folders inside) and `database.db`; nothing else is read.
        masks: folder of masks, "auto" to make them, or None or "" for none.
        output: the table to write.
        settings: how photographs are read.
        mask_settings: how masks are made, and how much every mask is shrunk.
        threads: images decoded at once.

    Raises:
        PorePatchError: for fewer than two images, an image without an entry in the database or the other way round, one of
            another size than its camera, a camera model that is not ours, a damaged file, or a mask as for photographs.
    """
    source = Path(folder)
    known = read_eth_database(source / DATABASE)
    files = _listed(source, known)
    logger.info("Reading %d images of %s from %s", len(files), subject, source)
    hashes = dict(zip(files, map_threads(hash_file, files, threads), strict=True))
    image_folder, mask_folder = Path(output).parent / "images", Path(output).parent / "masks"
    with atomic_folder(image_folder) as new_images, atomic_folder(mask_folder) as new_masks:
        read = partial(read_photograph, folder=new_images, max_megapixels=settings.max_megapixels)
        photographs = map_threads(read, hashes.items(), threads)
        _warn_of_turned(photographs)
        views = _views(photographs, known)
        origins = [Origin(photograph.path, photograph.size, _AS_STORED) for photograph in photographs]
        names = write_masks(new_masks, views, origins, masks, settings.mask_order, mask_settings or MaskSettings(), threads)
        final = [
            replace(view, path=moved_path(view.path, new_images, image_folder), mask_path=mask_folder / name if name else None)
            for view, name in zip(views, names, strict=True)
        ]
        write_views(output, final)


def _listed(source: Path, known: Mapping[str, DatabaseImage]) -> list[Path]:
    """The images of the folder, which must be those of the database."""
    folder, database = source / IMAGES, source / DATABASE
    files = list_photographs(folder)
    names = {path.name for path in files}
    for name in known:
        if name not in names:
            where = f"The database {database} names the image {name}, which"
            if (folder / name).is_file():
                raise PorePatchError(f"{where} is not read from {folder}; give JPEG, PNG, TIFF or raw files, no subfolders.")
            raise PorePatchError(f"{where} is not in {folder}; add it, or make a database of the images that are there.")
    unlisted = sorted(names - set(known))
    if unlisted:
        raise PorePatchError(f"The image {folder / unlisted[0]} has no entry in {database}; take it away, or add it with COLMAP.")
    if len(files) < 2:
        raise PorePatchError(f"The dataset {source} has one image only; give at least two views.")
    return files


def _views(photographs: list[Photograph], known: Mapping[str, DatabaseImage]) -> list[View]:
    camera_ids: dict[int, int] = {}
    views = []
    for image_id, photograph in enumerate(photographs):
        entry = known[photograph.path.name]
        size = (entry.camera.width, entry.camera.height)
        if photograph.size != size:
            raise PorePatchError(
                f"The image {photograph.path} has {photograph.size[0]}x{photograph.size[1]} pixels but its camera in the "
                f"database has {size[0]}x{size[1]}; give the images that the database was made of."
            )
        if photograph.developed and photograph.exif.orientation != _AS_STORED:
            raise PorePatchError(f"The image {photograph.path} is turned by EXIF; save it upright and make the database again.")
        views.append(
            View(
                image_id=image_id,
                name=photograph.path.name,
                path=photograph.developed or photograph.path,
                mask_path=None,
                sha256=photograph.sha256,
                orientation=_AS_STORED,
                camera_id=camera_ids.setdefault(entry.camera_id, len(camera_ids)),
                camera=entry.camera,
                focal_is_prior=entry.focal_is_prior,
                pose=None,
            )
        )
    return views


def _warn_of_turned(photographs: list[Photograph]) -> None:
    turned = [photograph.path.name for photograph in photographs if photograph.exif.orientation != _AS_STORED]
    if turned:
        logger.warning(
            "EXIF would turn %d images (%s ...); here they stay as stored, as COLMAP reads them.", len(turned), turned[0]
        )
