"""Diffusion: one unit for each equation.

`x_t = alpha_t * x_0 + sigma_t * noise`, with t in [0, 1]: t = 0 is the data, t = 1 the noise.
Schedules give alpha and sigma; a scaling says what the network predicts; only `Denoiser` knows
both; losses and samplers call `D(x_t, t)`, the estimate of x_0.
"""
