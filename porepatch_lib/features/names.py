"""How views are called in files of other programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError

_UPRIGHT = 1
# What pairs of names are joined by in files of matches and lists of pairs.
_JOINTS = re.compile(r"\s+|-{3,}")


def exported_names(views: Sequence[View]) -> dict[int, str]:
    """Return the file name of every view, by image_id, in a folder of exported images.

    It is the view's own name, unless the file had to be written anew as PNG (".png" is appended), or the name holds a blank or
    "---" ("_" instead), which part the names of a pair.

    Raises:
        PorePatchError: if two views would get one name.
    """
    names = {view.image_id: _exported_name(view) for view in views}
    twice = [name for name, count in Counter(name.casefold() for name in names.values()).items() if count > 1]
    if twice:
        clash = " and ".join(view.name for view in views if names[view.image_id].casefold() == twice[0])
        raise PorePatchError(f"The images {clash} would both be exported as {twice[0]}; rename one and capture them again.")
    return names


def known_names(views: Sequence[View]) -> dict[str, View]:
    """Return the views by every name they may have in files of features: their own, and the one we export them by."""
    exported = exported_names(views)
    return {exported[view.image_id]: view for view in views} | {view.name: view for view in views}


def split_pair(text: str, joint: str, known: Mapping[str, View]) -> tuple[View, View] | None:
    """Split "<name><joint><name>" into two known views; a name may hold the joint. None where no split fits.

    Raises:
        PorePatchError: if more than one split fits.
    """
    places = [match.start() for match in re.finditer(f"(?={re.escape(joint)})", text)]
    halves = [(text[:place], text[place + len(joint) :]) for place in places]
    found = {(known[one].image_id, known[two].image_id): (one, two) for one, two in halves if one in known and two in known}
    if len(found) > 1:
        (first, second), (third, fourth) = list(found.values())[:2]
        raise PorePatchError(
            f"'{text}' may be the pair of {first} and {second} or of {third} and {fourth}; rename the images so that no name "
            f"holds '{joint}'."
        )
    return next(((known[one], known[two]) for one, two in found.values()), None)


def view_of(key: str, known: Mapping[str, View], joint: str, where: str) -> View | None:
    """Return the view that `key` names in full, or behind folders that `joint` parts from the name; None where there is none.

    Raises:
        PorePatchError: if that is true of several views; `where` names the file.
    """
    if key in known:
        return known[key]
    found = {view.image_id: view for name, view in known.items() if key.endswith(f"{joint}{name}")}
    if len(found) > 1:
        one, two = list(found.values())[:2]
        raise PorePatchError(f"The image {key} of {where} may be {one.name} or {two.name}; rename one of them.")
    return next(iter(found.values()), None)


def _exported_name(view: View) -> str:
    suffix = view.path.suffix if view.orientation == _UPRIGHT else ".png"
    name = _JOINTS.sub("_", PurePosixPath(view.name).name)
    return name if name.lower().endswith(suffix.lower()) else f"{name}{suffix}"
