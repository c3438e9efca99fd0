"""Arrays to small pictures for the report: label maps, depth, errors, features, attention, as inline images.

Every function takes and returns uint8 RGB arrays [H, W, 3] unless it says otherwise; `data_uri` turns one into the
`data:` address that an HTML page shows without fetching anything.
"""

import base64
import io

import cv2
import matplotlib
import numpy as np
import scipy.linalg

NEUTRAL_CLASSES = ("background", "other", "void", "unlabeled", "unlabelled")
# Lightness and chroma in OKLab of the colours that classes may take, 45 hues each.
RINGS = ((0.68, 0.15), (0.52, 0.13), (0.84, 0.10), (0.60, 0.07), (0.42, 0.09), (0.76, 0.06))
WRONG = np.array([226, 42, 36], np.float32)
CORRECT, MISTAKE, VOID = 0, 1, 2


def data_uri(image: np.ndarray, photo: bool = True) -> str:
    """uint8 [H, W, 3] -> `data:` address: JPEG for photographs, lossless PNG for everything that has flat colours."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8))
    if photo:
        # Full colour resolution: red error pixels on grey must not bleed.
        picture.save(buffer, "JPEG", quality=88, subsampling=0)
    else:
        picture.save(buffer, "PNG")
    return f"data:image/{'jpeg' if photo else 'png'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def fit(array: np.ndarray, longest: int, smooth: bool) -> np.ndarray:
    """Brings [H, W, ...] to a longer side of about `longest` pixels: large arrays shrink (averaged if `smooth`, else
    nearest), small ones grow by a whole factor if not `smooth`, so that edges stay hard at any size in the page."""
    height, width = array.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return array if smooth else array.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    return resize(array, max(1, round(height * scale)), max(1, round(width * scale)), smooth)


def resize(array: np.ndarray, height: int, width: int, smooth: bool = True) -> np.ndarray:
    """[H, W, ...] to [height, width, ...]; `smooth` averages, for photographs, otherwise the nearest pixel is taken."""
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA if smooth else cv2.INTER_NEAREST_EXACT)


def palette(classes: list[str]) -> np.ndarray:
    """Colours uint8 [C, 3] for classes, the same for the same list: each next colour is the one farthest, in OKLab,
    from all before it, so that few classes differ widely and many still differ; a class called background is grey."""
    chosen = [np.array([0.49, 0.0, -0.015])]
    colours = np.zeros((len(classes), 3), np.uint8)
    hues = np.deg2rad(np.arange(20, 380, 8.0))
    candidates = np.array(
        [(lightness, chroma * np.cos(hue), chroma * np.sin(hue)) for lightness, chroma in RINGS for hue in hues]
    )
    for i, name in enumerate(classes):
        if name.lower() in NEUTRAL_CLASSES:
            colours[i] = _oklab_to_srgb(chosen[0])
            continue
        # Differences of lightness count less than those of hue: thin structures hide them.
        apart = (candidates[:, None] - np.array(chosen)) * (0.6, 1.0, 1.0)
        chosen.append(candidates[np.linalg.norm(apart, axis=-1).min(axis=1).argmax()])
        colours[i] = _oklab_to_srgb(chosen[-1])
    return colours


def _oklab_to_srgb(colour: np.ndarray) -> np.ndarray:
    """OKLab [3] to uint8 sRGB [3], clipped into gamut (matrices: B. Ottosson, "OKLab", 2020)."""
    to_cones = [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = np.clip(np.array(to_rgb) @ (np.array(to_cones) @ colour) ** 3, 0, 1)
    gamma = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * gamma).astype(np.uint8)


def css(colour: np.ndarray) -> str:
    """One colour uint8 [3] as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*(int(c) for c in colour))


def hatch(height: int, width: int) -> np.ndarray:
    """Grey diagonal stripes [H, W, 3]: what the report shows where there is no ground truth."""
    rows, columns = np.indices((height, width))
    stripe = ((rows + columns) // 4) % 2
    return np.repeat(np.where(stripe == 0, 128, 168).astype(np.uint8)[..., None], 3, axis=2)


def colour_labels(labels: np.ndarray, colours: np.ndarray, ignore: int) -> np.ndarray:
    """Class ids int [H, W] in their colours [C, 3]; `ignore` and ids outside the classes are hatched."""
    known = (labels != ignore) & (labels >= 0) & (labels < len(colours))
    painted = colours[np.where(known, labels, 0)]
    return np.where(known[..., None], painted, hatch(*labels.shape))


def colour_values(values: np.ndarray, low: float, high: float, name: str) -> np.ndarray:
    """float [H, W] through Matplotlib's colour map `name` on the fixed scale [low, high]; non-finite is hatched."""
    known = np.isfinite(values)
    unit = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-12), 0, 1)
    painted = np.round(255 * matplotlib.colormaps[name](unit)[..., :3]).astype(np.uint8)
    return np.where(known[..., None], painted, hatch(*values.shape))


def error_codes(prediction: np.ndarray, truth: np.ndarray, ignore: int) -> np.ndarray:
    """Class ids [H, W] twice -> uint8 [H, W]: 0 where they agree, 1 where not, 2 where the truth is void."""
    return np.where(truth == ignore, VOID, np.where(prediction == truth, CORRECT, MISTAKE)).astype(np.uint8)


def paint_errors(codes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`error_codes` over the image: right pixels pale grey, wrong ones red, void hatched."""
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    pale = 168 + 0.33 * grey + np.zeros(3, np.float32)
    red = WRONG * (0.8 + 0.2 * grey / 255)
    painted = np.where((codes == MISTAKE)[..., None], red, pale)
    return np.where((codes == VOID)[..., None], hatch(*codes.shape), np.clip(painted, 0, 255)).astype(np.uint8)


def principal_colours(features: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """PCA of patch features as colours, fitted once over all images so that equal colours mean similar patches.

    Args:
      features: one float array [h, w, D] per image; h and w may differ.

    Returns:
      uint8 [h, w, 3] per image: the three leading components as red, green and blue, each stretched between its 1st
      and 99th percentile, signs fixed by the largest loading so that the same features give the same colours; and the
      share of the variance that the three hold.
    """
    rows = np.concatenate([f.reshape(-1, f.shape[-1]) for f in features]).astype(np.float64)
    rows -= rows.mean(axis=0)
    dim = rows.shape[1]
    kept = min(3, dim)
    variance, axes = scipy.linalg.eigh(rows.T @ rows, subset_by_index=(dim - kept, dim - 1))
    variance, axes = variance[::-1], axes[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(kept)] < 0, -1.0, 1.0)
    scores = rows @ axes
    low, high = np.percentile(scores, (1, 99), axis=0)
    # A component without spread (fewer than three directions in the data) would only amplify rounding.
    spread = np.where(high - low > 1e-6 * max(float((high - low).max()), 1e-12), high - low, np.inf)
    unit = np.full((len(rows), 3), 0.5)
    unit[:, :kept] = np.clip((scores - low) / spread, 0, 1)
    painted = np.round(255 * unit).astype(np.uint8)
    ends = np.cumsum([f.shape[0] * f.shape[1] for f in features])[:-1]
    pictures = [p.reshape(*f.shape[:2], 3) for p, f in zip(np.split(painted, ends), features, strict=True)]
    total = float((rows**2).sum())
    return pictures, float(variance.sum() / total) if total > 0 else 0.0


def overlay_heat(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Attention [h, w] (non-negative) as heat over the image [H, W, 3]; the strongest patch is brightest."""
    height, width = image.shape[:2]
    heat = cv2.resize(np.asarray(weights, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = np.clip(heat / max(float(np.max(weights)), 1e-12), 0, 1)[..., None]
    glow = 255 * matplotlib.colormaps["inferno"](heat[..., 0])[..., :3]
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    strength = 0.25 + 0.6 * heat
    return np.clip((1 - strength) * grey * 0.85 + strength * glow, 0, 255).astype(np.uint8)
