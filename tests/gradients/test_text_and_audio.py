"""Encoders of text and sound: outputs and gradients of published architectures against PyTorch, and what is read."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from hummingbird.errors import UserError
from hummingbird.gradients.door import Door, find_layer
from hummingbird.gradients.heads import build_head
from hummingbird.weights.random_sequences import random_arrays
from hummingbird.weights.sequences import load_sequence_model
from tests.weights.upstream import randomize, relative_error, upstream

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 90, (3, 24))
MASK = np.arange(24) < np.array([[24], [9], [3]])
SOUND = RNG.normal(size=(2, 48, 32)).astype(np.float32)
WIDTH = 32


def bert(folder):
    """With the prefix and the names of norms that the published file has."""
    from safetensors.torch import save_file as save_torch

    transformers = upstream("transformers")
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    settings = transformers.BertConfig(vocab_size=90, max_position_embeddings=40, **sizes)
    model = randomize(transformers.BertModel(settings, add_pooling_layer=True)).double()
    legacy = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {f"bert.{name}": x.float().contiguous() for name, x in model.state_dict().items()}
    for old, new in legacy.items():
        state = {name.replace(old, new): x for name, x in state.items()}
    save_torch(state, folder / "model.safetensors")
    settings.save_pretrained(folder)
    return model, model.encoder.layer[-1].attention.output.dense


def t5(folder, gated=False):
    """With a decoder, as the published file has; its buckets reach the largest distance."""
    transformers = upstream("transformers")
    sizes = {"d_model": WIDTH, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 90}
    kind = "gated-gelu" if gated else "relu"
    settings = transformers.T5Config(**sizes, relative_attention_max_distance=16, feed_forward_proj=kind)
    model = randomize(transformers.T5Model(settings))
    model.save_pretrained(folder)
    return model.encoder.double(), model.encoder.block[-1].layer[0].SelfAttention.o


def ssast(folder):
    """The weights of an AST, written as SSAST's authors publish theirs."""
    torch, transformers = upstream("torch"), upstream("transformers")
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 48}
    settings = transformers.ASTConfig(
        **sizes, patch_size=8, frequency_stride=8, time_stride=8, max_length=48, num_mel_bins=32
    )
    model = randomize(transformers.ASTModel(settings)).double()
    state, parts = {}, dict(model.named_parameters())
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "layernorm": "norm",
    }
    for name, x in parts.items():
        for theirs, ours in names.items():
            if name == theirs or name.startswith(f"{theirs}."):
                state[f"module.v.{ours}{name.removeprefix(theirs)}"] = x
    for i, layer in enumerate(model.encoder.layer if hasattr(model, "encoder") else model.layers):
        inner = dict(layer.named_parameters())
        for kind in ("weight", "bias"):
            found = {name: next(x for n, x in inner.items() if n.endswith(f"{name}.{kind}")) for name in AST}
            at = f"module.v.blocks.{i}"
            state[f"{at}.attn.qkv.{kind}"] = torch.cat([found[f"{x}_proj"] for x in "qkv"])
            state |= {f"{at}.{AST[name]}.{kind}": x for name, x in found.items() if AST[name]}
    state |= {"module.p_input_fdim": torch.tensor([32.0]), "module.mask_embed": torch.zeros(1, 1, 64)}
    torch.save({name: x.detach().float() for name, x in state.items()}, folder / "SSAST-Base-Patch-400.pth")
    last = (model.encoder.layer if hasattr(model, "encoder") else model.layers)[-1]
    return model, next(m for n, m in last.named_modules() if n.endswith("o_proj"))


AST = {"q_proj": "", "k_proj": "", "v_proj": "", "o_proj": "attn.proj", "layernorm_before": "norm1"}
AST |= {"layernorm_after": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
ZOO = {"bert": bert, "t5": t5, "t5 1.1": lambda folder: t5(folder, gated=True), "ssast": ssast}


def theirs(torch, name, model, rows):
    """The outputs of PyTorch for some samples."""
    if name == "ssast":
        return model(torch.from_numpy(SOUND[rows]).double()).last_hidden_state
    ids, mask = torch.from_numpy(IDS[rows]), torch.from_numpy(MASK[rows]).long()
    return model(input_ids=ids, attention_mask=mask).last_hidden_state


@pytest.mark.parity
@pytest.mark.parametrize("name", ZOO)
def test_outputs_and_gradients_are_those_of_pytorch(name, tmp_path):
    torch = upstream("torch")
    model, layer = ZOO[name](tmp_path)
    ours = load_sequence_model(str(tmp_path))
    inputs = SOUND if name == "ssast" else {"ids": IDS, "mask": MASK}
    count = len(jax.tree.leaves(inputs)[0])
    with torch.no_grad():
        outputs = theirs(torch, name, model, slice(None)).numpy()
    tokens = jax.jit(ours.network.tokens)(ours.params, *([inputs] if name == "ssast" else [IDS, MASK]))
    real = np.ones(outputs.shape[:2], bool) if name == "ssast" else MASK
    assert relative_error(np.asarray(tokens)[real], outputs[real]) < 2e-5

    head = build_head("kl", 0, outputs.shape[-1], 768)
    kernel, bias = (torch.from_numpy(np.array(part)).double() for part in head)
    parameters = [x for x in (layer.weight, layer.bias) if x is not None]
    gradients = []
    for i in range(count):
        embedding = torch.nn.functional.normalize(theirs(torch, name, model, slice(i, i + 1))[:, 0], dim=-1)
        loss = -torch.log_softmax((embedding @ kernel + bias) / 15, dim=-1).mean()
        found = torch.autograd.grad(loss, parameters)
        gradients.append(np.concatenate([found[0].numpy(), *(x.numpy()[:, None] for x in found[1:])], axis=1))
    mine = sample_gradients(ours, jax.tree.map(lambda x: x[:, None], inputs))
    for one, other in zip(mine, gradients, strict=True):
        assert relative_error(one / np.linalg.norm(one), other / np.linalg.norm(other)) < 2e-4


def sample_gradients(model, inputs):
    """The gradients that the door takes, before they are projected: by a projection that keeps every entry."""
    door = Door(model.network, model.params, model.network.layer)
    return np.asarray(jax.jit(door.gradients)(model.params, inputs)[0])


def test_every_name_of_random_weights_is_an_encoder():
    for name in ("bert_tiny", "t5_tiny", "ssast_tiny"):
        model = load_sequence_model(f"random:{name}")
        assert find_layer(model.params, model.network.layer)["kernel"].ndim == 2
    with pytest.raises(UserError, match=r"random:bert is not known; for text and sound there are bert_base, bert_tiny"):
        load_sequence_model("random:bert")


def test_files_that_are_no_such_encoder_are_refused_in_one_line(tmp_path):
    arrays = random_arrays("bert_tiny")
    lacking = {name: x for name, x in arrays.items() if "1.output.dense" not in name}
    save_file(lacking, tmp_path / "lacking.safetensors")
    with pytest.raises(UserError, match=r"lacking.safetensors: output/dense of Bert is missing"):
        load_sequence_model(str(tmp_path / "lacking.safetensors"))
    mixed = arrays | {"encoder.layer.0.intermediate.dense.weight": np.zeros((3, 3), np.float32)}
    save_file(mixed, tmp_path / "mixed.safetensors")
    with pytest.raises(UserError, match=r"mixed.safetensors: its arrays do not make a Bert"):
        load_sequence_model(str(tmp_path / "mixed.safetensors"))
    save_file({"blocks.0.attn.qkv.weight": np.zeros((3, 1), np.float32)}, tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match=r"is not an encoder of text or sound; BERT, the encoder of T5 and SSAST can"):
        load_sequence_model(str(tmp_path / "vit.safetensors"))
