"""Training of networks: the only folder that imports torch (extra ``train``).

===============  =================================================================================
``config``       the settings of one training, read from a YAML file
``data``         the volumes, crops and phantoms among them
``shapes``       how large the maps of a U-Net are: arithmetic without a network
``crops``        annotated crops in memory, of files and of phantoms made on the fly
``targets``      signed distances, where they are valid, and weights that balance a class
``near``         their distances, up to where they are told
``augment``      what is done to a patch so that a network does not depend on it
``sampler``      the batch of a step, which depends on the seed and the step alone
``network``      the U-Net in torch, and as it is exported
``graph``        the same as an ONNX graph
``losses``       how far a network is from the target
``optimisers``   how weights follow from gradients
``trainer``      a step, and the checkpoint from which training goes on to the same weights
``memory``       what the allocator keeps while training goes on
``export``       from a checkpoint to an ONNX file with its card
===============  =================================================================================
"""
