"""UperNet in PyTorch: transformers' heads on MAE's pyramid, with our parameters."""

from tests.weights.upstream import upstream

torch = upstream("torch")
published = upstream("transformers.models.upernet.modeling_upernet")
nn = torch.nn


class Pyramid(nn.Module):
    """MAE's and BEiT's: transposed convolutions enlarge, a maximum halves."""

    def __init__(self, width):
        super().__init__()
        up = lambda: nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
        self.fpn1 = nn.Sequential(up(), nn.BatchNorm2d(width), nn.GELU(), up())
        self.fpn2, self.fpn4 = up(), nn.MaxPool2d(2, 2)

    def forward(self, maps):
        return [self.fpn1(maps[0]), self.fpn2(maps[1]), maps[2], self.fpn4(maps[3])]


class TorchUperNet(nn.Module):
    """Maps [B, D, h, w] to logits and auxiliary logits."""

    def __init__(self, classes, width, channels, auxiliary):
        super().__init__()
        config = published.UperNetConfig(hidden_size=channels, num_labels=classes, auxiliary_channels=auxiliary)
        config.auxiliary_in_channels = width
        self.pyramid = Pyramid(width)
        self.head = published.UperNetHead(config, [width] * 4)
        self.auxiliary = published.UperNetFCNHead(config, [width] * 4)

    def forward(self, maps):
        maps = self.pyramid(maps)
        return self.head(maps), self.auxiliary(maps)


def load(network, variables):
    """Copies the parameters and statistics of our head into the network."""
    params, stats = variables["params"], variables["batch_stats"]
    head, pyramid, pooling = network.head, network.pyramid, params["pooling"]
    _double(pyramid.fpn1[0], params["pyramid"]["up_0"])
    _double(pyramid.fpn1[3], params["pyramid"]["up_1"])
    _double(pyramid.fpn2, params["pyramid"]["up_2"])
    _norm(pyramid.fpn1[1], params["pyramid"]["norm_0"], stats["pyramid"]["norm_0"])
    for i in range(3):
        _unit(head.lateral_convs[i], params[f"lateral_{i}"], stats[f"lateral_{i}"])
        _unit(head.fpn_convs[i], params[f"merge_{i}"], stats[f"merge_{i}"])
    for block, cells in zip(head.psp_modules.blocks, (1, 2, 3, 6), strict=True):
        _unit(block.layers[1], pooling[f"pooled_{cells}"], stats["pooling"][f"pooled_{cells}"])
    _unit(head.bottleneck, pooling["merge"], stats["pooling"]["merge"])
    _unit(head.fpn_bottleneck, params["fuse"], stats["fuse"])
    _unit(network.auxiliary.convs[0], params["auxiliary"], stats["auxiliary"])
    _classifier(head.classifier, params["output"])
    _classifier(network.auxiliary.classifier, params["auxiliary_output"])


def _set(parameter, array):
    with torch.no_grad():
        parameter.copy_(torch.tensor(array))


def _unit(module, params, stats):
    _set(module.conv.weight, params["conv"]["kernel"].transpose(3, 2, 0, 1))
    _norm(module.batch_norm, params["norm"], stats["norm"])


def _norm(module, params, stats):
    for name, array in (("weight", params["scale"]), ("bias", params["bias"])):
        _set(getattr(module, name), array)
    _set(module.running_mean, stats["mean"])
    _set(module.running_var, stats["var"])


def _double(module, params):
    _set(module.weight, params["kernel"].transpose(0, 3, 1, 2))
    _set(module.bias, params["bias"])


def _classifier(module, params):
    _set(module.weight, params["kernel"].T[:, :, None, None])
    _set(module.bias, params["bias"])
