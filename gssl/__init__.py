"""gssl: does GAN pretraining, self-supervision or a ready-made model pay, for my images and my few labels?"""

__version__ = "0.1.0"
