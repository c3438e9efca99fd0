"""Arrays to small pictures for the report: label maps, depth, errors, features, attention, as inline images.

Every function takes and returns uint8 RGB arrays [H, W, 3] unless it says otherwise; `data_uri` turns one into the
`data:` address that an HTML page shows without fetching anything.
"""

import base64
import io

import numpy as np
import scipy.linalg

from hummingbird.drawing import hatch

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
