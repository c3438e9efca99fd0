"""Evaluation of whole images with a frozen encoder: k-NN, few-shot and linear classification, and image retrieval."""

from hummingbird.retrieval.recognition.evaluate import evaluate, measure

__all__ = ["evaluate", "measure"]
