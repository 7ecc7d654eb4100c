"""Networks, one kind a file: `Settings`, `Encoder`, `Decoder` and `Discriminator`.

An encoder maps images [n, C, H, W] in [0, 1] to its outputs by name: z [n, latent]. A decoder maps codes to the
logits of an image, and its `forward` to the image in [0, 1] itself. A discriminator maps codes to the logit of
the probability that they were drawn from the prior.
"""
