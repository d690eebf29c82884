"""mutransfer: which learning rate to train the big model with, and how sure you can be."""
