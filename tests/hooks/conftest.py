"""What hooks are called with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny


@pytest.fixture(scope="session")
def model():
    return tiny.program(1).model


@pytest.fixture(scope="session")
def state():
    """A state of the tiny run with zeros everywhere."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tiny.program(1).state)


@pytest.fixture(scope="session")
def batch():
    """A batch of the tiny run, as a process reads it."""
    drawn = tiny.batch(0)
    return {"views": dict(drawn.views), "label": drawn.labels, "index": np.arange(len(drawn.labels))}
