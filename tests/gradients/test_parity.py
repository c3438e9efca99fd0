"""Gradients of images against PyTorch's own, sample by sample, of a timm ViT with the same weights."""

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.gradients.image_losses import DIMS
from tests.weights.upstream import randomize, upstream

pytestmark = pytest.mark.parity
WIDTH = 128


def torch_gradients(model, images, head, temperature=15):
    """[B, D, D + 1]: of each image's KL divergence, at the last attention's output projection, by autograd."""
    torch = upstream("torch")
    mean, std = np.asarray([0.485, 0.456, 0.406], np.float32), np.asarray([0.229, 0.224, 0.225], np.float32)
    x = torch.from_numpy(((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2).copy()).double()
    model, found = model.double(), []
    kernel, bias = (torch.from_numpy(np.array(part)).double() for part in head)
    layer = model.blocks[-1].attn.proj
    for image in x:
        embedding = torch.nn.functional.normalize(model.forward_features(image[None])[:, 0], dim=-1)
        log_p = torch.log_softmax((embedding @ kernel + bias) / temperature, dim=-1)
        gradients = torch.autograd.grad(-log_p.mean(), (layer.weight, layer.bias))
        found.append(torch.cat([gradients[0], gradients[1][:, None]], dim=1).numpy())
    return np.stack(found)


def test_kl_gradients_are_those_of_pytorch(tmp_path):
    from safetensors.torch import save_file

    vit = upstream("timm.models.vision_transformer")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": WIDTH, "depth": 2, "num_heads": 2, "num_classes": 0}
    model = randomize(vit.VisionTransformer(**sizes), scale=0.1)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    ours = hb.load_encoder(str(tmp_path / "model.safetensors"), family="dino")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    truth = torch_gradients(model, images, hb.gradients.build_head("kl", 0, WIDTH, DIMS["kl"]))
    factors = hb.gradients.features(ours, images, projection="none")
    delta, inputs = factors[:, :WIDTH], factors[:, WIDTH : 2 * WIDTH + 1]
    unit = truth / np.linalg.norm(truth, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(np.einsum("bd,be->bde", delta, inputs), unit, atol=2e-5)
