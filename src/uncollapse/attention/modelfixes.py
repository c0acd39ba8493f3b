"""Every fix that acts inside a model."""

from uncollapse.attention.temperature import Temperature

ModelFix = Temperature
"""A fix that acts inside a model: `patch` puts it on."""
