"""Training sets compared as a statistician would: the same model on every sampler's choice, in pairs."""

CODE_VERSION = "2"  # raised by hand when the same settings would give other runs or other figures
