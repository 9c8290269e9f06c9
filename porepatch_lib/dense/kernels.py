"""The inner loops of patch match: likeness of windows under a plane, and sweeps over the pixels of one view.

A hypothesis of a pixel is the plane of its surface, as inverse depth w and its derivatives (a, b) along x and y: the inverse
depth of a plane is linear in the image, so a neighbour's plane continues to this pixel by its own derivatives. Pixel (x, y)
of the reference view appears in a source view at the homogeneous place A (x, y, 1) + w t; A (3,3) and t (3,) are a row of
`transforms` (12,). Within a window the homography is replaced by its first-order expansion: at a focal length of 1000 px its
error is below 0.05 px.

After Bleyer et al., PatchMatch Stereo (2011), Galliani et al., Gipuma (2015: checkerboard sweeps), and Schoenberger et al.,
Pixelwise View Selection (2016: bilaterally weighted normalised cross-correlation).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Real = Any  # a float32: in double precision the kernels would take longer

WORST_COST = np.float32(1.0)  # of a source view that does not show the window, or shows something else
_LEAST_VARIANCE = np.float32(0.3)  # grey values squared; flatter windows have no likeness
_LARGEST_STRETCH = np.float32(3.0)  # of the window in a source view
_STEEPEST = np.float32(5.0)  # tangent of the angle between surface and image plane
_FAR_STEPS = 4
_FAST = {"contract", "arcp", "nsz"}  # no reassoc: kernels compiled here and those kept from before then sum in other orders


@njit(cache=True, nogil=True)
def hashed(seed: int, counter: int) -> float:
    """Return a number in [0, 1) that depends on the two arguments only (the finaliser of SplitMix64)."""
    z = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True, fastmath=_FAST)
def prepare_window(
    image: Floats, x: int, y: int, offsets: Floats, spatial: Floats, range_weight: Floats, weight: Floats, weighted: Floats
) -> Real:
    """Fill the weights (K,) of a window, of sum 1, and weights times its normalised grey values (K,).

    `offsets` (K,2) x and y; `spatial` (K,) weight of distance; `range_weight` (256,) weight of difference in grey value. Returns
    the weighted mean of grey values, or -1 where the window is flat.
    """
    height, width = image.shape
    centre = image[y, x]
    total, mean, square = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(len(spatial)):
        column = min(max(x + int(offsets[k, 0]), 0), width - 1)
        row = min(max(y + int(offsets[k, 1]), 0), height - 1)
        value = image[row, column]
        w = spatial[k] * range_weight[int(abs(value - centre))]
        weight[k] = w
        weighted[k] = value
        total += w
        mean += w * value
        square += w * value * value
    mean /= total
    variance = square / total - mean * mean
    if variance < _LEAST_VARIANCE:
        return np.float32(-1.0)
    scale = np.float32(1.0) / np.sqrt(variance)
    for k in range(len(spatial)):
        weight[k] /= total
        weighted[k] = weight[k] * (weighted[k] - mean) * scale
    return mean


@njit(cache=True, nogil=True, fastmath=_FAST)
def source_cost(
    image: Floats,
    width: int,
    height: int,
    transform: Floats,
    x: Real,
    y: Real,
    w: Real,
    a: Real,
    b: Real,
    radius: Real,
    offsets: Floats,
    weight: Floats,
    weighted: Floats,
    mean: Real,
) -> Real:
    """Return 1 - NCC, at most WORST_COST, of the prepared window with a source image (height,width) under plane (w, a, b)."""
    p2 = transform[6] * x + transform[7] * y + transform[8] + transform[11] * w
    if p2 <= 0.0:
        return WORST_COST
    inverse = np.float32(1.0) / p2
    sx = (transform[0] * x + transform[1] * y + transform[2] + transform[9] * w) * inverse
    sy = (transform[3] * x + transform[4] * y + transform[5] + transform[10] * w) * inverse
    third_x, third_y = transform[6] + transform[11] * a, transform[7] + transform[11] * b
    xx = (transform[0] + transform[9] * a - sx * third_x) * inverse
    xy = (transform[1] + transform[9] * b - sx * third_y) * inverse
    yx = (transform[3] + transform[10] * a - sy * third_x) * inverse
    yy = (transform[4] + transform[10] * b - sy * third_y) * inverse
    reach_x, reach_y = abs(xx) + abs(xy), abs(yx) + abs(yy)
    if max(reach_x, reach_y) > _LARGEST_STRETCH:
        return WORST_COST
    reach_x, reach_y = reach_x * radius, reach_y * radius
    if sx < reach_x or sy < reach_y or sx + reach_x >= width - 1 or sy + reach_y >= height - 1:
        return WORST_COST
    first, second, both = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(len(weight)):
        u = sx + xx * offsets[k, 0] + xy * offsets[k, 1]
        v = sy + yx * offsets[k, 0] + yy * offsets[k, 1]
        column, row = np.uint32(u), np.uint32(v)  # unsigned: never counted from the end
        right, below = column + np.uint32(1), row + np.uint32(1)
        du, dv = u - np.float32(column), v - np.float32(row)
        top = image[row, column] + du * (image[row, right] - image[row, column])
        bottom = image[below, column] + du * (image[below, right] - image[below, column])
        value = top + dv * (bottom - top) - mean
        first += weight[k] * value
        second += weight[k] * value * value
        both += weighted[k] * value
    variance = second - first * first
    if variance < _LEAST_VARIANCE:
        return WORST_COST
    return min(WORST_COST, np.float32(1.0) - both / np.sqrt(variance))


@njit(cache=True, nogil=True)
def plane_cost(
    images: Floats,
    sizes: NDArray[np.int32],
    transforms: Floats,
    x: Real,
    y: Real,
    plane: Floats,
    radius: Real,
    offsets: Floats,
    weight: Floats,
    weighted: Floats,
    mean: Real,
    bound: Real,
) -> Real:
    """Return the sum over the source views of their costs; at least `bound` as soon as it reaches that."""
    total = np.float32(0.0)
    for s in range(len(transforms)):
        total += source_cost(
            images[s], sizes[s, 0], sizes[s, 1], transforms[s], x, y, plane[0], plane[1], plane[2], radius, offsets, weight,
            weighted, mean,
        )  # fmt: skip
        if total >= bound:
            return total
    return total


@njit(cache=True, nogil=True)
def sweep(
    reference: Floats,
    images: Floats,
    sizes: NDArray[np.int32],
    transforms: Floats,
    pixels: NDArray[np.int32],
    planes: Floats,
    costs: Floats,
    limits: Floats,
    steps: Floats,
    focal: Real,
    offsets: Floats,
    spatial: Floats,
    range_weight: Floats,
    seed: int,
    explore: bool,
    renew: bool,
) -> None:
    """Improve the planes of `pixels` in place, from planes of pixels of the other colour and at random.

    Args:
        reference: (H,W) grey values of the reference view.
        images, sizes, transforms: source views: (S,Hs,Ws), (S,2) width and height inside, (S,12).
        pixels: (N,2) int32 x and y, all of one colour of the checkerboard.
        planes, costs: (H,W,3), (H,W); costs are infinite where there is no plane.
        limits: (2,) least and largest inverse depth.
        steps: (R,) sizes of random steps, in inverse depth relative to its value.
        focal: focal length in pixels, which makes derivatives tangents of slope.
        offsets, spatial, range_weight: see `prepare_window`.
        seed: of the random steps; the same for the same numbers.
        explore: also try planes from far away and random depths.
        renew: the costs are of other images and planes; find the pixels' own first.
    """
    width = reference.shape[1]
    window = len(offsets)
    weight, weighted = np.empty(window, np.float32), np.empty(window, np.float32)
    radius = np.float32(np.abs(offsets).max())
    trial, best = np.empty(3, np.float32), np.empty(3, np.float32)
    for i in range(len(pixels)):
        x, y = pixels[i, 0], pixels[i, 1]
        mean = prepare_window(reference, x, y, offsets, spatial, range_weight, weight, weighted)
        if mean < 0.0:
            costs[y, x] = np.float32(len(transforms)) * WORST_COST
            continue
        fx, fy = np.float32(x), np.float32(y)
        best[:] = planes[y, x]
        cost = costs[y, x]
        if renew:
            cost = plane_cost(
                images, sizes, transforms, fx, fy, best, radius, offsets, weight, weighted, mean, np.float32(np.inf)
            )
        for direction in range(8 if explore else 4):
            column, row = _best_around(costs, x, y, direction)
            if column < 0:
                continue
            trial[1], trial[2] = planes[row, column, 1], planes[row, column, 2]
            trial[0] = planes[row, column, 0] + trial[1] * np.float32(x - column) + trial[2] * np.float32(y - row)
            if trial[0] < limits[0] or trial[0] > limits[1]:
                continue
            found = plane_cost(images, sizes, transforms, fx, fy, trial, radius, offsets, weight, weighted, mean, cost)
            if found < cost:
                cost = found
                best[:] = trial
        counter = (y * width + x) * 64
        for step in range(len(steps) + (1 if explore else 0)):
            if step < len(steps):
                kind = step % 3
                trial[:] = best
                if kind != 1:
                    trial[0] = best[0] * np.float32(1.0 + steps[step] * (2.0 * hashed(seed, counter) - 1.0))
                if kind != 0:
                    # a change of slope moves the rim of the window as much as a change of depth moves its middle
                    tilt = best[0] * steps[step] / (radius * 0.5)
                    trial[1] = best[1] + np.float32(tilt * (2.0 * hashed(seed, counter + 1) - 1.0))
                    trial[2] = best[2] + np.float32(tilt * (2.0 * hashed(seed, counter + 2) - 1.0))
            else:
                trial[0] = limits[0] + np.float32(hashed(seed, counter)) * (limits[1] - limits[0])
                trial[1] = trial[0] / focal * np.float32(2.0 * hashed(seed, counter + 1) - 1.0)
                trial[2] = trial[0] / focal * np.float32(2.0 * hashed(seed, counter + 2) - 1.0)
            counter += 3
            steep = trial[0] * _STEEPEST / focal
            if trial[0] < limits[0] or trial[0] > limits[1] or abs(trial[1]) > steep or abs(trial[2]) > steep:
                continue
            found = plane_cost(images, sizes, transforms, fx, fy, trial, radius, offsets, weight, weighted, mean, cost)
            if found < cost:
                cost = found
                best[:] = trial
        planes[y, x] = best
        costs[y, x] = cost


@njit(cache=True, nogil=True)
def _best_around(costs: Floats, x: int, y: int, direction: int) -> tuple[int, int]:
    """Return the pixel of least cost of the other colour in a direction, 0..3 near by, 4..7 further away; (-1, -1) for none."""
    height, width = costs.shape
    axis, sign = direction % 2, 1 - 2 * ((direction // 2) % 2)
    best, column, row = np.float32(np.inf), -1, -1
    for k in range(3 if direction < 4 else _FAR_STEPS):
        if direction < 4:
            along, across = (1 if k == 0 else 2), (0 if k == 0 else 2 * k - 3)
        else:
            along, across = 2 * k + 3, 0
        u = x + (sign * along if axis == 0 else across)
        v = y + (sign * along if axis == 1 else across)
        if 0 <= u < width and 0 <= v < height and costs[v, u] < best:
            best, column, row = costs[v, u], u, v
    return column, row


@njit(cache=True, nogil=True)
def polish(
    reference: Floats,
    images: Floats,
    sizes: NDArray[np.int32],
    transforms: Floats,
    pixels: NDArray[np.int32],
    planes: Floats,
    costs: Floats,
    step: Real,
    offsets: Floats,
    spatial: Floats,
    range_weight: Floats,
) -> None:
    """Move the inverse depth of `pixels` in place to the vertex of the parabola through three costs, `step` (relative) apart."""
    weight, weighted = np.empty(len(offsets), np.float32), np.empty(len(offsets), np.float32)
    radius = np.float32(np.abs(offsets).max())
    trial = np.empty(3, np.float32)
    unbounded = np.float32(np.inf)
    for i in range(len(pixels)):
        x, y = pixels[i, 0], pixels[i, 1]
        mean = prepare_window(reference, x, y, offsets, spatial, range_weight, weight, weighted)
        if mean < 0.0:
            continue
        fx, fy = np.float32(x), np.float32(y)
        trial[:] = planes[y, x]
        change = planes[y, x, 0] * np.float32(step)
        trial[0] = planes[y, x, 0] - change
        below = plane_cost(images, sizes, transforms, fx, fy, trial, radius, offsets, weight, weighted, mean, unbounded)
        trial[0] = planes[y, x, 0] + change
        above = plane_cost(images, sizes, transforms, fx, fy, trial, radius, offsets, weight, weighted, mean, unbounded)
        bend = below + above - np.float32(2.0) * costs[y, x]
        if bend <= 0.0:
            continue
        trial[0] = planes[y, x, 0] + change * min(
            max(np.float32(0.5) * (below - above) / bend, np.float32(-1.0)), np.float32(1.0)
        )
        found = plane_cost(images, sizes, transforms, fx, fy, trial, radius, offsets, weight, weighted, mean, costs[y, x])
        if found < costs[y, x]:
            costs[y, x] = found
            planes[y, x, 0] = trial[0]
