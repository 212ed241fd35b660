"""Plain networks. They know nothing of diffusion, Lightning or configs.

Parameter names follow diffusers' `AutoencoderKL` and `UNet2DConditionModel`, so that a state dict
moves between the two without renaming (tests/reference/test_networks.py shows equal outputs).
"""
