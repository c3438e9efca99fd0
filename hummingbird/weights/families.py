"""Families of weights: how the files of each project are recognised, and which input its encoders expect.

Names of arrays alone do not distinguish projects: DINO, iBOT, MAE and timm write the same ones, but normalise pixels or
resize positions differently. So a family is chosen by a config beside the file or arrays that only one project saves,
then by the file's name; if a choice that matters is left, the user has to make it.
"""

from __future__ import annotations

import re

from hummingbird.weights.family import Family, always, bare, has, positions_without_cls, relative, scaled

HALF = (0.5, 0.5, 0.5)
SAT_MEAN, SAT_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# Attention heads by width where they are not width / 64; a config, rotary periods or shapes come before this table.
HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}

FAMILIES: dict[str, Family] = {
    "dino": Family(
        ("timm",),
        "DINO and encoders of its shape (CrIBo, Leopart, ...)",
        resize="bicubic_offset",
        possible=bare,
        prefix=r"(^|\.)(teacher|student)\.(module\.)?backbone\.$",
        names=r"dino(?!v?[23])|deitsmall|cribo|leopart|timet",
    ),
    "ibot": Family(
        ("timm",),
        "iBOT",
        resize="bicubic_offset",
        possible=bare,
        sure=has("masked_embed"),
        names=r"ibot",
    ),
    "mae": Family(
        ("timm",),
        "MAE",
        resize="bicubic",
        possible=bare,
        sure=has("decoder_pos_embed", "decoder_embed.weight"),
        names=r"(^|[^a-z])mae([^a-z]|$)",
    ),
    "mocov3": Family(
        ("timm",),
        "MoCo v3; sin-cos positions resized as timm does",
        possible=bare,
        prefix=r"(base|momentum)_encoder\.$",
        names=r"moco",
        heads=((384, 12),),
    ),
    "dinov2": Family(
        ("dinov2", "dinov2_swiglu"),
        "DINOv2 and encoders of its shape (NeCo, Franca, ...)",
        resize="bicubic_offset",
        possible=lambda n: scaled(n) and "register_tokens" not in n and not positions_without_cls(n),
        sure=lambda n: scaled(n) and "mask_token" in n and "register_tokens" not in n and "storage_tokens" not in n,
        names=r"dinov2|franca|neco",
    ),
    "dinov2_registers": Family(
        ("dinov2", "dinov2_swiglu"),
        "DINOv2 with register tokens",
        possible=has("register_tokens"),
        sure=has("register_tokens"),
    ),
    "dinov3": Family(
        ("dinov3", "dinov3_swiglu"),
        "DINOv3 ViTs",
        epsilon=1e-5,
        rotary=100.0,
        possible=has("storage_tokens"),
        sure=has("storage_tokens"),
        names=r"^(?!.*sat-?493m)",
    ),
    "dinov3_sat": Family(
        ("dinov3", "dinov3_swiglu"),
        "DINOv3 ViTs pretrained on satellite images (SAT-493M)",
        SAT_MEAN,
        SAT_STD,
        epsilon=1e-5,
        rotary=100.0,
        possible=has("storage_tokens"),
        sure=has("storage_tokens"),
        names=r"sat-?493m",
    ),
    "timm_dinov3": Family(
        ("timm_dinov3", "timm_dinov3_swiglu"),
        "DINOv3 ViTs in timm's form",
        epsilon=1e-5,
        rotary=100.0,
        possible=has("reg_token"),
        sure=has("reg_token"),
    ),
    "deit": Family(
        ("timm", "deit3"),
        "DeiT and DeiT III, supervised on ImageNet",
        possible=lambda n: "head.weight" in n or "dist_token" in n or positions_without_cls(n),
        sure=lambda n: "dist_token" in n or (positions_without_cls(n) and scaled(n)),
        names=r"deit",
    ),
    "beit": Family(
        ("beit",),
        "BEiT, pretrained or fine-tuned",
        HALF,
        HALF,
        relative="geometric",
        possible=relative,
        names=r"beit(?!_?v2)",
    ),
    "beitv2": Family(
        ("beit",),
        "BEiT v2, pretrained or fine-tuned",
        relative="geometric",
        possible=relative,
        sure=lambda n: any(name.startswith("cls_pt_layers.") for name in n),
        names=r"beit_?v2",
    ),
    "augreg": Family(
        ("timm",),
        "timm's copies of Google's supervised ViTs (AugReg), pixels in [-1, 1]",
        mean=HALF,
        std=HALF,
        possible=lambda n: not scaled(n) and not positions_without_cls(n),
        sure=lambda n: "head.weight" in n and n["head.weight"].shape[0] == 21843,
        names=r"augreg|in21k|orig_in|vit_(tiny|small|base|large|huge)_patch\d+_\d+\.pth",
    ),
    "timm": Family(("timm",), "any plain timm ViT with its config", None, None),
    "clip": Family(
        ("openclip",),
        "CLIP of OpenAI and those trained with its quick GELU",
        CLIP_MEAN,
        CLIP_STD,
        epsilon=1e-5,
        activation="quick_gelu",
        names=r"openai|quickgelu|metaclip|dfn",
    ),
    "openclip": Family(
        ("openclip",),
        "OpenCLIP with the exact GELU (LAION, DataComp, ...)",
        CLIP_MEAN,
        CLIP_STD,
        epsilon=1e-5,
        names=r"laion|datacomp|openclip|open_clip",
    ),
    "siglip": Family(
        ("timm",),
        "SigLIP and SigLIP 2 in OpenCLIP's and timm's form",
        HALF,
        HALF,
        possible=has("attn_pool.latent"),
        sure=has("attn_pool.latent"),
    ),
    "big_vision": Family(
        ("big_vision", "vit_jax"),
        "big_vision and vision_transformer (npz), SigLIP among them",
        HALF,
        HALF,
        activation="gelu_tanh",
        resize="bilinear_corners",
        sure=always,
    ),
    "loca": Family(("loca",), "LOCA (Scenic)", activation="gelu_tanh", resize="bilinear_antialias", sure=always),
    "convnext": Family((), "ConvNeXt and ConvNeXt V2, in the original names, timm's or transformers'"),
    "hf_vit": Family(
        ("hf_vit",),
        "Hugging Face ViTModel (supervised, DINO, MSN, I-JEPA)",
        None,
        None,
        epsilon=1e-12,
        resize="bicubic",
        sure=always,
        model_types=("vit", "ijepa", "vit_msn"),
    ),
    "hf_mae": Family(
        ("hf_vit",),
        "Hugging Face ViTMAEModel",
        epsilon=1e-12,
        resize="bicubic",
        sure=lambda n: False,
        model_types=("vit_mae",),
    ),
    "hf_beit": Family(
        ("hf_beit",),
        "Hugging Face BeitModel",
        HALF,
        HALF,
        epsilon=1e-12,
        resize="bicubic",
        relative="bilinear",
        sure=always,
        model_types=("beit",),
    ),
    "hf_data2vec": Family(
        ("hf_beit",),
        "Hugging Face Data2VecVisionModel",
        None,
        None,
        epsilon=1e-12,
        resize="bicubic",
        relative="bilinear",
        model_types=("data2vec-vision",),
    ),
    "hf_dinov2": Family(
        ("hf_dinov2", "hf_dinov2_swiglu"),
        "Hugging Face Dinov2Model",
        resize="bicubic",
        possible=lambda n: "embeddings.register_tokens" not in n,
        sure=always,
        model_types=("dinov2",),
    ),
    "hf_dinov2_registers": Family(
        ("hf_dinov2", "hf_dinov2_swiglu"),
        "Hugging Face Dinov2WithRegistersModel",
        possible=has("embeddings.register_tokens"),
        sure=has("embeddings.register_tokens"),
        model_types=("dinov2_with_registers",),
    ),
    "hf_dinov3": Family(
        ("hf_dinov3", "hf_dinov3_swiglu"),
        "Hugging Face DINOv3ViTModel",
        epsilon=1e-5,
        rotary=100.0,
        sure=always,
        model_types=("dinov3_vit",),
    ),
    "hf_clip": Family(
        ("hf_clip",),
        "Hugging Face CLIPModel and CLIPVisionModel",
        CLIP_MEAN,
        CLIP_STD,
        epsilon=1e-5,
        activation="quick_gelu",
        resize="bicubic",
        sure=always,
        model_types=("clip", "clip_vision_model"),
    ),
    "hf_siglip": Family(
        ("hf_siglip",),
        "Hugging Face SiglipModel and SiglipVisionModel, SigLIP 2 of fixed size among them",
        HALF,
        HALF,
        activation="gelu_tanh",
        resize="bicubic",
        sure=always,
        model_types=("siglip", "siglip_vision_model"),
    ),
    "hf_siglip2": Family(
        ("hf_siglip2",),
        "Hugging Face Siglip2VisionModel (NaFlex)",
        HALF,
        HALF,
        activation="gelu_tanh",
        resize="bilinear_antialias",
        sure=always,
        model_types=("siglip2", "siglip2_vision_model"),
    ),
}

# Arrays of heads, decoders, text towers and buffers, which patch features do not need.
DROPPED = re.compile(
    r"(head|head_dist|heads?|lm_head|cls_pt_layers|fc|pre_logits|attn_pool|pooler|decoder|decoder_\w+|rope_embed|classifier|predictor|prediction"
    r"|projection_head|projector|dino_head|ibot_head|cls_norm|local_cls_norm|visual_projection|logit_scale|logit_bias"
    r"|MAPHead_0|cross_attention_block|position_predictor|projection_head_for_clustering_prediction|final_norm)([./].*)?"
    r"|(embeddings\.)?mask_token|masked_embed|proj|queue|center|.*\.bias_mask|.*position_ids|.*attn_mask|.*relative_position_index"
)
